"""`sonde http` against web servers that many use: each request that it counts stands in their logs,
and none that it does not."""

import collections
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from http_servers import LIGHTTPD, NGINX, Lighttpd, Nginx, Python, errors, finished, http_record
from sonde_program import SONDE, Folder, check_one_line, engines, metric, run
from test_tls import Certificates

SMALL, BIG = b"s" * 200, os.urandom(300000)
FILES = {"small": SMALL, "big": BIG, "a": b"a", "b": b"bb", "empty": b""}

WAYS = (  # options, and whether connections stay
    (("-c", "1"), True),
    (("-c", "8"), True),
    (("-c", "8", "-t", "2"), True),
    (("-c", "8", "--pipeline", "4"), True),
    (("-c", "3", "--pipeline", "128"), True),
    (("-c", "4", "--no-keep-alive"), False),
    (("-c", "8", "--rate", "4k"), True),
    (("-c", "4", "--pipeline", "4", "--rate", "10k", "--arrival", "poisson"), True),
    (("-c", "4", "--no-keep-alive", "--rate", "2k"), False),
    (("-c", "4", "--http", "1.0"), True),
    (("-c", "4", "--buffer", "64k", "--keep-body"), True),
)


class Servers(unittest.TestCase):
    def counted(self, server, count, body, *arguments, path="/small", url=None):
        """A run by count: every one of them in order, and in the server's log."""
        one = http_record(self, (url or server.url) + path, "-n", str(count), *arguments)
        self.assertEqual(one["errors"], [])
        self.assertEqual(metric(one, "requests"), count)
        self.assertEqual(metric(one, "requests_failed"), 0)
        self.assertEqual(metric(one, "status_2xx"), count)
        self.assertEqual(metric(one, "body_bytes"), count * len(body))
        if isinstance(server, Nginx):
            asked = server.asked(count)
            self.assertEqual(len(asked), count)
            self.assertEqual({line.target for line in asked}, {path})
            self.assertEqual(sum(int(line.body) for line in asked), metric(one, "body_bytes"))
            server.forget()
        return one


@unittest.skipUnless(NGINX, "nginx is not installed")
class NginxTest(Servers):
    def test_each_request_stands_in_the_log(self):
        """Also with connections that end all the time, in the middle of what was asked."""
        for most in ("10", "100000"):
            server = Nginx(self, FILES, settings="keepalive_requests %s;" % most)
            for engine in engines():
                for way, stays in WAYS:
                    with self.subTest(most=most, engine=engine, way=way):
                        one = self.counted(server, 300, SMALL, *way, "-e", engine)
                        dialed = metric(one, "connections_dialed")
                        if not stays:
                            self.assertEqual(dialed, 300)
                            self.assertEqual(metric(one, "server_ended_first"), 300)
                        elif most == "10" and "1.0" not in way:
                            self.assertGreaterEqual(dialed, 300 // 10 - 8)
                            self.assertEqual(metric(one, "client_ended_first"), 0)
                        elif most != "10":
                            self.assertEqual(dialed, 0)
                self.counted(server, 60, BIG, "-c", "4", "-e", engine, path="/big")

    def test_what_is_asked_again_was_not_answered(self):
        server = Nginx(self, FILES, settings="keepalive_requests 5;")
        for engine in engines():
            with self.subTest(engine=engine):
                one = self.counted(server, 400, SMALL, "-c", "2", "--pipeline", "8", "-e", engine)
                self.assertGreater(metric(one, "requests_repeated"), 100)

    def test_a_window(self):
        """By duration: all that was answered within the window and around it is in the log."""
        server = Nginx(self, FILES)
        for engine in engines():
            with self.subTest(engine=engine):
                one = http_record(self, server.url + "/small", "-c", "4", "-d", "300ms", "-w", "0",
                                  "-e", engine)
                self.assertEqual(one["errors"], [])
                self.assertEqual(len(server.asked(finished(one))), finished(one))
                server.forget()

    def test_a_rate(self):
        server = Nginx(self, FILES, settings="keepalive_requests 50;")
        for engine in engines():
            for way in ("--keep-alive", "--no-keep-alive"):
                with self.subTest(engine=engine, way=way):
                    one = http_record(self, server.url + "/small", "-c", "8", "-d", "500ms", "-w",
                                      "0", "--rate", "1k", "-e", engine, way)
                    self.assertEqual(one["errors"], [])
                    count = metric(one, "requests")
                    self.assertIn(count, range(100, 520))
                    self.assertEqual(len(server.asked(finished(one))), finished(one))
                    server.forget()

    def test_statuses_and_heads(self):
        server = Nginx(self, FILES)
        for engine in engines():
            with self.subTest(engine=engine):
                one = http_record(self, server.url + "/none", "-n", "20", "-e", engine,
                                  status=1)
                self.assertEqual(errors(one), {("answer", "status 404 Not Found"): 20})
                self.assertEqual((metric(one, "requests"), metric(one, "requests_failed"),
                                  metric(one, "status_4xx")), (0, 20, 20))
                one = http_record(self, server.url + "/none", "-n", "20", "--expect-status",
                                  "404", "-e", engine)
                self.assertEqual((one["errors"], metric(one, "requests")), ([], 20))
                one = http_record(self, server.url + "/big", "-n", "20", "-X", "HEAD", "-e",
                                  engine, "--pipeline", "4")
                self.assertEqual((one["errors"], metric(one, "requests"),
                                  metric(one, "body_bytes")), ([], 20, 0))
                self.assertEqual({line.method for line in server.asked(60)[40:]}, {"HEAD"})
                server.forget()

    def test_a_digest(self):
        server = Nginx(self, FILES)
        right, wrong = hashlib.sha256(BIG).hexdigest(), hashlib.sha256(SMALL).hexdigest()
        for engine in engines():
            with self.subTest(engine=engine):
                one = http_record(self, server.url + "/big", "-n", "12", "-c", "3", "-e", engine,
                                  "--expect-body-sha256", right.upper())
                self.assertEqual((one["errors"], metric(one, "requests")), ([], 12))
                one = http_record(self, server.url + "/big", "-n", "12", "-c", "3", "-e", engine,
                                  "--expect-body-sha256", wrong, status=1)
                self.assertEqual(errors(one), {
                    ("answer", "a body with another SHA-256 than expected"): 12})

    def test_a_list_of_requests(self):
        server = Nginx(self, FILES)
        names = Folder(self).file("urls")
        with open(names, "w", encoding="ascii") as file:
            file.write("# a mixture\nweight=7 /a\nweight=2 HEAD /b\n%s/small?x=1\n" % server.url)
        for engine in engines():
            for depth in ("1", "16"):
                with self.subTest(engine=engine, depth=depth):
                    one = http_record(self, server.url, "--urls", names, "-n", "2000", "-c", "4",
                                      "--pipeline", depth, "-e", engine)
                    self.assertEqual((one["errors"], metric(one, "requests")), ([], 2000))
                    asked = collections.Counter((line.method, line.target)
                                                for line in server.asked(2000))
                    self.assertEqual(sum(asked.values()), 2000)
                    for what, share in ((("GET", "/a"), 0.7), (("HEAD", "/b"), 0.2),
                                        (("GET", "/small?x=1"), 0.1)):
                        self.assertAlmostEqual(asked.pop(what) / 2000, share, delta=0.06)
                    self.assertFalse(asked)
                    server.forget()

    def test_through_tls(self):
        holder = tempfile.TemporaryDirectory(prefix="sonde-")
        self.addCleanup(holder.cleanup)
        files = Certificates(holder.name)
        server = Nginx(self, FILES, (files.cert, files.key), settings="keepalive_requests 10;")
        named = server.secure_url.replace("127.0.0.1", "localhost")
        for engine in engines():
            for trust in (("--cacert", files.ca), ("--insecure",), ("--cacert", files.ca,
                                                                    "--resume")):
                for way in (("-c", "4"), ("-c", "4", "--pipeline", "4"),
                            ("-c", "4", "--no-keep-alive")):
                    with self.subTest(engine=engine, trust=trust, way=way):
                        one = self.counted(server, 100, SMALL, *trust, *way, "-e", engine,
                                           url=named)
                        dialed = metric(one, "connections_dialed")
                        resumed = metric(one, "tls_resumed")
                        self.assertEqual(one["tls"]["handshakes"],
                                         dialed + (0 if "--no-keep-alive" in way else 4))
                        if "--resume" in trust:
                            self.assertGreater(resumed, dialed * 0.8 - 2)
                        else:
                            self.assertEqual(resumed, 0)
            done = run("http", named + "/small", "-n", "5", "-q", "-e", engine)
            self.assertIn("certificate", check_one_line(self, done, 1))

    @unittest.skipIf("SONDE_SANITIZED" in os.environ, "the leak check cannot run under strace")
    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_its_calls_are_those_that_strace_saw(self):
        """One send, one receive a request; no more are counted than are made."""
        server = Nginx(self, FILES, settings="keepalive_requests 100000;")
        for engine in ("threads", "poll", "epoll"):
            with self.subTest(engine=engine):
                seen = Folder(self).file("strace")
                one = http_record(self, server.url + "/small", "-n", "500", "-c", "1", "-e", engine,
                                  prefix=["strace", "-f", "-c", "-U", "name,calls", "-o", seen])
                with open(seen, encoding="ascii") as file:
                    calls = {name: int(count) for name, count in
                             re.findall(r"(\w+) +(\d+)$", file.read(), re.MULTILINE)}
                own = {row["name"]: row["calls"]
                       for row in one["processes"][0]["engine_calls"]["syscalls"]}
                self.assertEqual(own["sendto"], 500)
                for name in ("sendto", "recvfrom"):  # what came before and behind, strace saw too
                    self.assertIn(calls[name] - own[name], range(3))
                self.assertLessEqual(own["recvfrom"], 1010)


@unittest.skipUnless(LIGHTTPD, "lighttpd is not installed")
class LighttpdTest(Servers):
    def test_each_request_stands_in_the_log(self):
        """It writes its log when it ends: the sum of all runs."""
        server = Lighttpd(self, FILES, settings="server.max-keep-alive-requests = 10")
        count = 0
        for engine in engines():
            for way, _ in WAYS:
                with self.subTest(engine=engine, way=way):
                    self.counted(server, 200, SMALL, *way, "-e", engine)
                    count += 200
        asked = server.asked(count)
        self.assertEqual(len(asked), count)
        self.assertEqual({(line.target, line.status) for line in asked}, {("/small", "200")})


class PythonTest(unittest.TestCase):
    def test_bodies_arrive(self):
        for size in (0, 5, 16384, 16385, 400000):
            body = os.urandom(size)
            path = Folder(self).file("body")
            with open(path, "wb") as file:
                file.write(body)
            for engine in engines():
                for way in ((), ("--pipeline", "3"), ("--no-keep-alive",)):
                    with self.subTest(size=size, engine=engine, way=way):
                        server = Python(self)
                        one = http_record(self, server.url + "up?x", "-n", "12", "-c", "2",
                                          "--body", path, "-H", "X-Own: yes", "-e", engine, *way)
                        self.assertEqual((one["errors"], metric(one, "requests")), ([], 12))
                        self.assertEqual(len(server.asked), 12)
                        for method, target, headers, came in server.asked:
                            self.assertEqual((method, target, headers["X-Own"], came == body),
                                             ("POST", "/up?x", "yes", True))
                        self.assertGreater(metric(one, "request_bytes"), 12 * size)
                        server.stop()

    def test_old_servers(self):
        """HTTP/1.0, which ends each connection: the others are dialed in their place."""
        for engine in engines():
            for way in (("-c", "2"), ("-c", "2", "--pipeline", "4"), ("--no-keep-alive",),
                        ("--http", "1.0")):
                with self.subTest(engine=engine, way=way):
                    server = Python(self, protocol="HTTP/1.0")
                    one = http_record(self, server.url, "-n", "30", "-e", engine, *way)
                    self.assertEqual((one["errors"], metric(one, "requests")), ([], 30))
                    self.assertEqual(len(server.asked), 30)
                    server.stop()


if __name__ == "__main__":
    unittest.main()
