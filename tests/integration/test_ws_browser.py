"""`sonde serve ws://` as a browser's WebSocket sees it: headless Chromium, with a page that talks to
several servers of ours and says what it saw."""

import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

from sonde_program import PATIENCE_S, Serving, checked_record, engines, metric

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser",
                                                    "google-chrome")) if path), None)
# Asks nobody anything but the page's server and ours.
FLAGS = ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--no-default-browser-check", "--disable-background-networking", "--disable-sync",
         "--disable-component-update", "--disable-default-apps", "--disable-extensions",
         "--disable-breakpad", "--no-proxy-server", "--no-pings")
MIB = 1 << 20

PAGE = r"""<!DOCTYPE html><meta charset="utf-8"><title>running</title><script>
'use strict';
const open = (url, protocols) => new Promise(resolve => {
  const socket = new WebSocket(url, protocols || []);
  socket.binaryType = 'arraybuffer';
  socket.got = [];
  socket.onmessage = event => {
    const waiting = socket.waiting;
    socket.waiting = null;
    if (waiting) waiting(event.data); else socket.got.push(event.data);
  };
  socket.closed = new Promise(closed => {
    socket.onclose = event => {
      const all = {code: event.code, clean: event.wasClean, reason: event.reason,
                   opened: socket.opened || false};
      closed(all);
      resolve(socket);
    };
  });
  socket.onopen = () => { socket.opened = true; resolve(socket); };
});
const next = socket => socket.got.length ? Promise.resolve(socket.got.shift())
                                         : new Promise(take => { socket.waiting = take; });
const same = (a, b) => {
  const x = new Uint8Array(a), y = new Uint8Array(b);
  return x.length === y.length && x.every((byte, i) => byte === y[i]);
};
const bytes = (length, random) => {
  const data = new Uint8Array(length);
  for (let i = 0; i < length; i += 65536) {
    const piece = data.subarray(i, Math.min(i + 65536, length));
    if (random) crypto.getRandomValues(piece); else piece.fill(97);
  }
  return data;
};
/* Echoes of all kinds and lengths; what came back wrong. */
async function echoes(url) {
  const socket = await open(url), wrong = [];
  const texts = ['', 'x', 'ä€𝄞'.repeat(1000), 'y'.repeat(125), 'y'.repeat(126), 'z'.repeat(65536),
                 'long '.repeat(MIB / 5)];
  const lengths = [0, 1, 125, 126, 65535, 65536, MIB];
  let count = 0;
  for (const text of texts) {
    socket.send(text);
    if (await next(socket) !== text) wrong.push('text ' + text.length);
    count++;
  }
  for (const random of [false, true]) for (const length of lengths) {
    const data = bytes(length, random);
    socket.send(random ? data : data.buffer);
    if (!same(await next(socket), data)) wrong.push('binary ' + length);
    count++;
  }
  socket.send(new Blob(['a ', 'blob']));
  if (!same(await next(socket), new TextEncoder().encode('a blob'))) wrong.push('blob');
  for (let i = 0; i < 100; i++) socket.send('number ' + i);
  for (let i = 0; i < 100; i++) if (await next(socket) !== 'number ' + i) wrong.push('order ' + i);
  socket.binaryType = 'blob';
  socket.send(new Uint8Array([1, 2, 3]));
  if (!same(await (await next(socket)).arrayBuffer(), [1, 2, 3])) wrong.push('as a blob');
  count += 102;
  const extensions = socket.extensions;
  socket.close(1000);
  return {wrong, count, extensions, protocol: socket.protocol, close: await socket.closed};
}
async function closes(url, code, reason) {
  const socket = await open(url);
  if (code) socket.close(code, reason || ''); else socket.close();
  return socket.closed;
}
async function tooLong(url) {
  const socket = await open(url);
  socket.send('x'.repeat(2000));
  return socket.closed;
}
async function many(url, count) {
  const sockets = await Promise.all(Array.from({length: count}, () => open(url)));
  const right = await Promise.all(sockets.map(async (socket, i) => {
    socket.send('client ' + i);
    const answer = await next(socket);
    socket.close(1000);
    return answer === 'client ' + i && (await socket.closed).code === 1000;
  }));
  return right.filter(one => one).length;
}
/* From a document without an origin. */
const fromNowhere = url => new Promise(resolve => {
  const frame = document.createElement('iframe');
  frame.sandbox = 'allow-scripts';
  frame.srcdoc = '<script>const s = new WebSocket(' + JSON.stringify(url) + ');' +
    's.onopen = () => s.send("nowhere"); s.onclose = e => parent.postMessage(e.code, "*");' +
    's.onmessage = e => s.close(e.data === "nowhere" ? 4001 : 4002);<\/script>';
  addEventListener('message', event => resolve(event.data), {once: true});
  document.body.append(frame);
});
addEventListener('load', async () => {
  const result = {};
  try {
    const plan = await (await fetch('/plan')).json();
    for (const [name, url] of Object.entries(plan.echoes)) result[name] = await echoes(url);
    const url = Object.values(plan.echoes)[0];
    result.codes = {};
    for (const code of [0, 1000, 3000, 3456, 4999]) {
      result.codes[code] = await closes(url, code, code ? 'because' : '');
    }
    result.many = await many(url, 50);
    result.tooLong = await tooLong(plan.small);
    result.nowhere = await fromNowhere(url);
    const asked = await open(plan.asked, ['chat', 'superchat']);
    result.asked = {protocol: asked.protocol, close: await Promise.race([asked.closed,
                    new Promise(after => setTimeout(after, 2000, 'still open'))])};
  } catch (problem) {
    result.problem = String(problem) + problem.stack;
  }
  document.title = 'done';
  await fetch('/result', {method: 'POST', body: JSON.stringify(result)});
});
</script><body>""".replace("MIB", str(MIB))


class Page:
    """A web server for the page, its plan and its result."""

    def __init__(self, plan):
        outer = self
        self.done = threading.Event()
        self.result = None

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, text, kind="text/html"):
                data = text.encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                if self.path == "/plan":
                    self.answer(json.dumps(plan), "application/json")
                else:
                    self.answer(PAGE if self.path == "/" else "")

            def do_POST(self):
                outer.result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer("")
                outer.done.set()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/" % self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(PATIENCE_S)


class Browser:
    """Chromium with a profile of its own; it and its children end with the block."""

    def __init__(self, url):
        self.url = url

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="sonde-browser-", ignore_cleanup_errors=True)
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")}
        environment.update(HOME=self.profile.name, XDG_CONFIG_HOME=self.profile.name,
                           XDG_CACHE_HOME=self.profile.name, XDG_RUNTIME_DIR=self.profile.name)
        self.log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [BROWSER, *FLAGS, *root, "--user-data-dir=" + self.profile.name + "/profile", self.url],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True)
        return self

    def said(self):
        self.log.seek(0)
        return self.log.read()[-2000:]

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # the session that it leads
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE_S)
        self.log.close()
        self.profile.cleanup()


@unittest.skipUnless(BROWSER, "no Chromium is installed (tools/bootstrap test)")
class AgainstABrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers, cls.records = {}, {}
        stack = []
        try:
            plan = {"echoes": {}}
            for engine in engines():
                for deflate in ("no", "yes"):
                    server = Serving("ws://127.0.0.1:0", "-e", engine, "--json",
                                     *(("--agree-deflate",) if deflate == "yes" else ()))
                    stack.append(server)
                    cls.servers[engine, deflate] = server
                    plan["echoes"]["%s %s" % (engine, deflate)] = server.address + "/a?b=c"
            for name in ("small", "asked"):
                server = Serving("ws://127.0.0.1:0", "--json", "--max-message", "1000")
                stack.append(server)
                cls.servers[name] = server
                plan[name] = server.address
            with Page(plan) as page, Browser(page.url) as browser:
                if not page.done.wait(2 * PATIENCE_S):
                    raise AssertionError("the page did not report: " + browser.said())
            cls.seen = page.result
            for name, server in cls.servers.items():
                cls.records[name] = server.stop()
        finally:
            for server in stack:
                server.__exit__()

    def record(self, name):
        done = self.records[name]
        self.assertEqual(done.returncode, 0, done.stderr)
        return checked_record(self, done.stdout)["runs"][0]

    def test_the_page_came_to_its_end(self):
        self.assertNotIn("problem", self.seen)

    def test_echoes(self):
        for engine, deflate in (name for name in self.servers if isinstance(name, tuple)):
            with self.subTest(engine=engine, deflate=deflate):
                seen = self.seen["%s %s" % (engine, deflate)]
                self.assertEqual(seen["wrong"], [])
                self.assertEqual(seen["protocol"], "")
                self.assertEqual(seen["close"],
                                 {"code": 1000, "clean": True, "reason": "", "opened": True})
                one = self.record((engine, deflate))
                self.assertGreaterEqual(metric(one, "server_messages"), seen["count"])
                self.assertEqual(one["errors"], [])

    def test_deflate_is_what_the_browser_negotiated(self):
        for engine in engines():
            self.assertEqual(self.seen[engine + " no"]["extensions"], "")
            self.assertTrue(re.fullmatch(r"permessage-deflate(; .*)?",
                                         self.seen[engine + " yes"]["extensions"]))

    def test_close_codes(self):
        for code, seen in self.seen["codes"].items():
            with self.subTest(code=code):
                # 1005 is how a browser calls a close frame without a code.
                self.assertEqual((seen["code"], seen["clean"], seen["opened"]),
                                 (int(code) or 1005, True, True))

    def test_many_at_a_time(self):
        self.assertEqual(self.seen["many"], 50)

    def test_a_message_that_is_too_long(self):
        self.assertEqual((self.seen["tooLong"]["code"], self.seen["tooLong"]["opened"]),
                         (1009, True))
        one = self.record("small")
        self.assertEqual([(error["phase"], error["name"], error["count"])
                          for error in one["errors"]],
                         [("server protocol", "a message longer than is allowed", 1)])

    def test_any_origin_is_served(self):
        self.assertEqual(self.seen["nowhere"], 4001)

    def test_a_subprotocol_is_not_agreed_to(self):
        """RFC 6455, section 4.2.2: the answer names none then, and a browser fails the connection."""
        self.assertEqual(self.seen["asked"]["protocol"], "")
        self.assertEqual((self.seen["asked"]["close"]["code"],
                          self.seen["asked"]["close"]["opened"]), (1006, False))
        one = self.record("asked")
        self.assertEqual(metric(one, "server_upgraded"), 1)
        self.assertEqual([(error["phase"], error["name"]) for error in one["errors"]],
                         [("server receive", "the connection ended without a close frame")])


if __name__ == "__main__":
    unittest.main()
