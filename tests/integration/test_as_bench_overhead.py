"""`sonde as bench-overhead` against web servers: its lines, its table and its complaints."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from sonde_program import PATIENCE_S, Folder, check_one_line, run

PAYLOAD = os.urandom(1 << 18) * 4

LIGHTTPD = """server.document-root = "{folder}/www"
server.bind = "127.0.0.1"
server.port = {port}
"""
NGINX = """daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""
SERVERS = {"lighttpd": (LIGHTTPD, ["-D", "-f"]), "nginx": (NGINX, ["-c"])}

NUMBER = r"([0-9.]+(?:e[+-][0-9]+)?)"
LINES = [
    r"Total job count: (\d+)",
    r"Total successful runs: (\d+)",
    "Total data fetched: " + NUMBER + " MiB",
    "Data fetched per job: " + NUMBER + " MiB",
    "Average socket creation time: " + NUMBER + " us",
    "Average job setup time: " + NUMBER + " us",
    "Average time spent receiving data: " + NUMBER + " s",
    "Average download speed across all jobs: " + NUMBER + " MiB/s",
    "Average run time: " + NUMBER + " s",
    r"Memory usage statistics \(averaged over (\d+) runs, (\d+) samples\): min: " + NUMBER +
    " MiB avg: " + NUMBER + " MiB max: " + NUMBER + " MiB",
    "Peak virtual memory: " + NUMBER + " MiB",
]
ROW = re.compile(r"^\| Linux \([^)]+\) (.+?) \| " + NUMBER + r" us \| " + NUMBER + r" us \| " +
                 NUMBER + " s @ " + NUMBER + r" MiB/s \| " + NUMBER + r" s \| " + NUMBER +
                 r" MiB \|$")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Web:
    """A web server of the system's, with the payload."""

    def __init__(self, case, name, payload=PAYLOAD):
        program = shutil.which(name)
        if program is None:
            case.skipTest("no " + name)
        folder = Folder(case)
        root = folder.file("www")
        os.mkdir(root)
        os.chmod(os.path.dirname(root), 0o755)
        if payload is not None:
            with open(os.path.join(root, "testpayload"), "wb") as file:
                file.write(payload)
        self.port = free_port()
        configuration, arguments = SERVERS[name]
        path = folder.file("server.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(configuration.format(folder=os.path.dirname(root), port=self.port))
        self.process = subprocess.Popen([program, *arguments, path], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        case.addCleanup(self.stop)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), PATIENCE_S).close()
                break
            except ConnectionRefusedError:
                case.assertIsNone(self.process.poll())
                case.assertLess(time.monotonic(), until)
                time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)


def bench(*arguments, **environment):
    return run("as", "bench-overhead", *arguments, env={**os.environ, **environment})


class BenchOverhead(unittest.TestCase):
    def check_block(self, block, connections, iterations, mib_each):
        lines = block.strip().splitlines()
        self.assertEqual(len(lines), len(LINES), block)
        found = []
        for line, pattern in zip(lines, LINES):
            match = re.fullmatch(pattern, line)
            self.assertIsNotNone(match, line)
            found.append([float(group) for group in match.groups()])
        self.assertEqual(found[0], [connections * iterations])
        self.assertEqual(found[1], [iterations])
        self.assertAlmostEqual(found[3][0], mib_each, delta=0.01)  # and the head of the answer
        self.assertAlmostEqual(found[2][0] / (found[3][0] * found[0][0]), 1, places=4)
        for single in found[4:9] + found[10:]:
            self.assertGreater(single[0], 0)
        self.assertEqual(found[9][0], iterations)
        self.assertLessEqual(found[9][2], found[9][3])
        self.assertLessEqual(found[9][3], found[9][4])
        # The mean of the rates is at least the rate in the mean time.
        self.assertGreaterEqual(found[7][0] * 1.002, found[3][0] / found[6][0])
        return found

    def check(self, name):
        web = Web(self, name)
        done = bench("127.0.0.1", str(web.port), ITERATIONS="2", NO_CONNECTIONS="8")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stderr)
        parts = re.split(r"^:: Running 2 iterations of (\w+)$", done.stdout, flags=re.M)
        self.assertEqual(parts[0], "")
        self.assertEqual([parts[1], parts[3]], ["overhead_threaded", "overhead_async"])
        second, table = parts[4].split("\n\n", 1)
        blocks = [self.check_block(block, 8, 2, 1) for block in (parts[2], second)]
        rows = [ROW.match(line) for line in table.strip().splitlines()[2:]]
        self.assertEqual([row.group(1) for row in rows], ["Threaded", "`poll()`-based"])
        for row, block in zip(rows, blocks):
            numbers = [float(group) for group in row.groups()[1:]]
            self.assertEqual(numbers, [block[4][0], block[5][0], block[6][0], block[7][0],
                                       block[8][0], block[9][3]])

    def test_lighttpd(self):
        self.check("lighttpd")

    def test_nginx(self):
        self.check("nginx")

    def test_no_payload(self):
        web = Web(self, "nginx", payload=None)
        done = bench("127.0.0.1", str(web.port), ITERATIONS="1", NO_CONNECTIONS="2")
        check_one_line(self, done, 1)
        self.assertIn("404", done.stderr)

    def test_no_server(self):
        done = bench("127.0.0.1", str(free_port()), ITERATIONS="1")
        self.assertIn("refused", check_one_line(self, done, 1).lower())

    def test_wrong_words(self):
        for arguments, environment, said in (
                (["localhost"], {}, "localhost"), (["::1"], {}, "::1"),
                (["127.0.0.1", "0"], {}, "0"), (["127.0.0.1", "65536"], {}, "65536"),
                (["127.0.0.1", "80x"], {}, "80x"), (["127.0.0.1", "80", "x"], {}, "x"),
                ([], {"ITERATIONS": "0"}, "ITERATIONS"), ([], {"ITERATIONS": "-1"}, "ITERATIONS"),
                ([], {"NO_CONNECTIONS": "many"}, "NO_CONNECTIONS"),
                ([], {"NO_CONNECTIONS": "1000000"}, "NO_CONNECTIONS")):
            with self.subTest(arguments=arguments, environment=environment):
                done = bench(*arguments, **environment)
                self.assertIn(said, check_one_line(self, done, 2))
                self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
