"""The control channel where something is short, or an end does not do its part: what is said, how
soon, and that others are served meanwhile."""

import json
import os
import re
import resource
import select
import signal
import socket
import struct
import threading
import time
import unittest

from sonde_program import Folder, Serving, check_one_line, end, engines, run, start
from test_control import LOCAL, Client, data_hello, secret_file, until


def open_files(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def busy_seconds(pid):
    """How long its threads have run or waited for a CPU."""
    spent_ns = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task), encoding="ascii") as file:
            spent_ns += sum(int(field) for field in file.read().split()[:2])
    return spent_ns / 1e9


class FewFiles(unittest.TestCase):
    def serves(self, serving):
        done = run("call", serving.address, "-n", "100", "-q")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_with_the_usual_limit(self):
        for limit in ("1024:1024", "1024:20000", "200:200"):
            with Serving(LOCAL, "--max-connections", "100",
                         prefix=["prlimit", "--nofile=" + limit]) as serving:
                self.serves(serving)
                held = [serving.connect() for _ in range(200)]
                self.serves(serving)
                for one in held:
                    one.close()
                done = serving.stop()
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_with_too_low_a_limit(self):
        done = run("serve", LOCAL, "--max-connections", "100", prefix=["prlimit", "--nofile=150"])
        self.assertIn("--max-connections", check_one_line(self, done, 1))

    def test_out_of_files(self):
        """No further file, and nobody who could make room: it waits, and goes on later."""
        with Serving(LOCAL) as serving:
            pid = serving.process.pid
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(pid), before[1]))
            with serving.connect():
                time.sleep(0.2)
                busy_s, began_s = busy_seconds(pid), time.monotonic()
                time.sleep(1)
                busy_s = busy_seconds(pid) - busy_s
                self.assertLess(busy_s, (time.monotonic() - began_s) / 2)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            self.serves(serving)
            self.assertEqual(serving.stop().returncode, 0)

    def test_it_cannot_wait_any_more(self):
        """As many as are there may not be waited for: it ends, and says why."""
        with Serving(LOCAL) as serving:
            pid = serving.process.pid
            held = [serving.connect() for _ in range(50)]
            until(lambda: open_files(pid) > 50)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (30, 30))
            until(lambda: serving.process.poll() is not None)
            for one in held:
                one.close()
            stderr = serving.process.communicate()[1]
            self.assertEqual(stderr.splitlines(),
                             ["sonde: serve: cannot wait for clients: Invalid argument"])
            self.assertEqual(serving.process.returncode, 1)


def framed(message):
    text = json.dumps(message).encode()
    return struct.pack(">I", len(text)) + text


class Between:
    """Passes on what a client and a server say on the control channel: `change(message, kept)` gives
    what the client hears instead of what the server said: messages, and None for the end."""

    def __init__(self, serving, change):
        self.serving, self.change, self.heard = serving, change, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "sonde://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.serve, daemon=True)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for thread in self.threads:
            thread.join()

    def serve(self):
        client, _ = self.listener.accept()
        server = self.serving.connect()
        up = threading.Thread(target=self.pass_up, args=(client, server), daemon=True)
        up.start()
        self.threads.append(up)
        with client, server, server.makefile("rb") as source:
            try:
                while head := source.read(4):
                    message = json.loads(source.read(struct.unpack(">I", head)[0]))
                    for one in self.change(message):
                        if one is None:
                            client.shutdown(socket.SHUT_RDWR)
                            return
                        client.sendall(framed(one))
            except OSError:
                pass

    def pass_up(self, client, server):
        with client.makefile("rb") as source:
            try:
                while head := source.read(4):
                    text = source.read(struct.unpack(">I", head)[0])
                    self.heard.append(json.loads(text)["message"])
                    server.sendall(head + text)
                server.shutdown(socket.SHUT_WR)
            except OSError:
                pass


BOOM = {"message": "error", "code": "limit", "subject": "", "what": "boom", "hint": "a hint"}


class WhatThePeerSays(unittest.TestCase):
    """Why the server gave up is said, and it is asked nothing more."""

    def said_at(self, kind, answer, *arguments):
        folder = Folder(self)
        with Serving(LOCAL) as serving, Between(
                serving, lambda message: answer if message["message"] == kind else [message]) as to:
            done = run("stream", to.address, "-d", "300ms", "-w", "0s", "-q",
                       "--json=" + folder.file("result"), *arguments)
        line = check_one_line(self, done, 1)
        self.assertIn("boom", line)
        self.assertIn("a hint", line)
        return to.heard

    def test_in_place_of_an_answer(self):
        for answer in ([BOOM, None], [BOOM]):
            for kind in ("ready", "connected", "going", "synced", "record"):
                heard = self.said_at(kind, answer)
                self.assertEqual("finish" in heard, kind == "record", heard)
            heard = self.said_at("attached", answer, "--observe", "server")
            self.assertNotIn("finish", heard)

    def test_in_the_middle(self):
        going = {"message": "going"}
        for arguments in ((), ("--observe", "server")):
            self.said_at("going", [going, BOOM, None], *arguments)


class HalfTls(unittest.TestCase):
    def test_ctrl_c_ends_the_waiting(self):
        """A server that says a byte of a TLS record now and then."""
        secret = secret_file(Folder(self), "secret", "x" * 40)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = start("call", "sonde://127.0.0.1:%d" % listener.getsockname()[1],
                           "--secret", secret, "-n", "1", "-q")
            server, _ = listener.accept()
            with server:
                server.recv(4096)
                server.sendall(b"\x16\x03\x03\x40\x00")
                for number in range(100):
                    if client.poll() is not None:
                        break
                    if number == 10:
                        client.send_signal(signal.SIGINT)
                    try:
                        server.sendall(b"\0")
                    except OSError:
                        break
                    time.sleep(0.05)
                self.assertLess(number, 90)
            done = end(client, time.monotonic())
        self.assertIn("interrupted", done.stderr)
        self.assertNotIn("TLS", done.stderr)


class Unread(unittest.TestCase):
    def test_answers_do_not_pile_up(self):
        """Who asks for ever and takes no answer is not heard for ever."""
        question = framed({"message": "sync"}) * 1000
        with Serving(LOCAL) as serving:
            with Client(serving) as client:
                client.hello()
                ready = client.prepare()
                with socket.create_connection(("127.0.0.1", ready["port"])) as data:
                    data.sendall(data_hello(ready["token"], 0))
                    self.assertEqual(client.receive()["message"], "connected")
                    client.socket.setblocking(False)
                    sent = 0
                    while sent < 64 << 20 and select.select([], [client.socket], [], 1)[1]:
                        sent += client.socket.send(question)
                    self.assertLess(sent, 64 << 20)
                    self.assertEqual(serving.stop().returncode, 0)


class EarlyEnd(unittest.TestCase):
    def test_a_data_connection_that_has_ended_before_it_is_served(self):
        """Its run begins as any other; that the connection is lost is for the client to say."""
        with Serving(LOCAL) as serving:
            for engine in engines():
                for workload in ("call", "stream"):
                    with Client(serving) as client:
                        client.hello()
                        ready = client.prepare(engine=engine, workload=workload, connections=2)
                        data = [socket.create_connection(("127.0.0.1", ready["port"]))
                                for _ in range(2)]
                        for number, one in enumerate(data):
                            one.sendall(data_hello(ready["token"], number))
                            one.close()
                        self.assertEqual(client.receive()["message"], "connected")


class WhatTheServerSays(unittest.TestCase):
    """A line on standard error names the client and what would help, and how many were left out."""

    def test_lines(self):
        def stranger(serving):
            with Client(serving) as client:
                client.send("hello", version_least=8, version_most=9, program="x")
                self.assertEqual(client.receive()["message"], "error")
                self.assertTrue(client.is_closed())
                return "client %s:%d" % client.socket.getsockname()

        with Serving(LOCAL) as serving:
            names = [stranger(serving) for _ in range(20)]
            time.sleep(1.1)
            names.append(stranger(serving))
            lines = serving.stop().stderr.splitlines()
        said = "control channel: the client speaks versions 8 to 9 of it, the server 1"
        self.assertEqual(lines[0], "sonde: %s: %s" % (names[0], said))
        told = 0
        for line in lines:
            match = re.fullmatch("sonde: (.*): %s(?: \\(and ([0-9]+) more\\))?" % said, line)
            self.assertIsNotNone(match, line)
            self.assertIn(match[1], names)
            told += 1 + int(match[2] or 0)
        self.assertEqual(told, len(names))

    def test_hint(self):
        secrets = [secret_file(Folder(self), "secret", letter * 40) for letter in "xy"]
        with Serving(LOCAL, "--secret", secrets[0]) as serving:
            done = run("call", serving.address, "--secret", secrets[1], "-n", "1", "-q")
            self.assertEqual(done.returncode, 1)
            done = serving.stop()
        self.assertRegex(done.stderr, "client 127.0.0.1:[0-9]+: .*differ: --secret must name")


if __name__ == "__main__":
    unittest.main(verbosity=2)
