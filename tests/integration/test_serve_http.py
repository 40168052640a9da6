"""`sonde serve http://`: real clients (curl, Python's, wrk, ab, h2load) and raw sockets on every engine
and through TLS; files, and what must not be one; limits, slow clients, and how it ends."""

import concurrent.futures
import functools
import hashlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

import sonde_program
from sonde_program import (PATIENCE_S, Folder, Serving, check_one_line, checked_record, metric, run)

engines = functools.cache(sonde_program.engines)  # asked once: it runs the program
LINE = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"
K = 1024
SIZES = {"0": 0, "1": 1, "200": 200, "16k": 16 * K, "16385": 16385, "100000": 100000,
         "1.5m": 1536 * K, "5m": 5120 * K}


def made(size):
    """The body of /bytes/SIZE."""
    return (LINE * (size // len(LINE) + 1))[:size]


class Server(Serving):
    """`sonde serve` of one http address, on a free port."""

    def __init__(self, *arguments, address="http://127.0.0.1:0", **options):
        super().__init__(address, *arguments, **options)
        self.secure = self.address.startswith("https:")

    def connection(self):
        host, port = self.address.split("//")[1].rsplit(":", 1)
        if self.secure:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection(host, int(port), timeout=PATIENCE_S,
                                               context=context)
        return http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)

    def get(self, *arguments, **options):
        """One request on a connection of its own: status, headers, body."""
        connection = self.connection()
        connection.request(*arguments, **options)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    def record(self, case):
        done = self.stop()
        case.assertEqual(done.returncode, 0, done.stderr)
        return checked_record(case, done.stdout)["runs"][0]


def on_servers(*arguments, schemes=("http",), files=False):
    """A test on every engine; with `files`, of the case's self.root."""
    def decorate(test):
        @functools.wraps(test)
        def on_each(case):
            root = ("--root", case.root) if files else ()
            for engine in engines():
                for scheme in schemes:
                    with case.subTest(engine=engine, scheme=scheme), \
                            Server("-e", engine, "--json", *arguments, *root,
                                   address=scheme + "://127.0.0.1:0") as server:
                        test(case, server)
        return on_each
    return decorate


BOTH = ("http", "https")


def all_of(client):
    pieces = []
    while piece := client.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def talk(server, request):
    """What comes back until the server ends the connection, which the client does not."""
    with server.connect() as client:
        client.sendall(request)
        return all_of(client)


GET = b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Bodies(unittest.TestCase):
    @on_servers(schemes=BOTH)
    def test_sizes_and_bytes_on_one_connection(self, server):
        connection = server.connection()
        total = 0
        for kind in ("bytes", "chunked"):
            for text, size in SIZES.items():
                connection.request("GET", "/%s/%s" % (kind, text))
                answer = connection.getresponse()
                body = answer.read()
                self.assertEqual(answer.status, 200)
                self.assertEqual(len(body), size)
                self.assertEqual(hashlib.sha256(body).digest(),
                                 hashlib.sha256(made(size)).digest(), (kind, text))
                length = answer.headers["Content-Length"]
                self.assertEqual(length, str(size) if kind == "bytes" else None)
                self.assertRegex(answer.headers["Date"],
                                 r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
                total += size
                connection.request("HEAD", "/%s/%s" % (kind, text))
                answer = connection.getresponse()
                self.assertEqual((answer.status, answer.read()), (200, b""))
                self.assertEqual(answer.headers["Content-Length"], length)
        connection.close()
        one = server.record(self)
        self.assertEqual(metric(one, "server_requests"), 4 * len(SIZES))
        self.assertEqual(metric(one, "server_body_bytes"), total)
        self.assertGreater(metric(one, "server_bytes"), total)
        self.assertEqual(metric(one, "server_accepted"), 1)
        self.assertEqual(one["errors"], [])

    @on_servers(schemes=BOTH)
    def test_read_until_close(self, server):
        for text, size in SIZES.items():
            status, headers, body = server.get("GET", "/close/" + text)
            self.assertEqual((status, body == made(size)), (200, True), text)
            self.assertEqual(headers["Connection"], "close")
            self.assertNotIn("Content-Length", headers)

    @on_servers(schemes=BOTH)
    def test_many_at_a_time(self, server):
        """Long bodies to several clients at once, some of them slow."""
        def client(number):
            connection = server.connection()
            connection.request("GET", "/bytes/3m" if number % 2 else "/chunked/3m")
            answer = connection.getresponse()
            if number % 3 == 0:
                time.sleep(0.2)
            body = answer.read()
            connection.close()
            return body == made(3 << 20)
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            self.assertEqual(list(pool.map(client, range(9))), [True] * 9)

    @on_servers(schemes=BOTH)
    def test_delay_status_and_uploads(self, server):
        began = time.monotonic()
        self.assertEqual(server.get("GET", "/delay/50ms")[::2], (200, b"done\n"))
        self.assertGreaterEqual(time.monotonic() - began, 0.05)
        self.assertEqual(server.get("GET", "/delay/1ms/bytes/70000")[2], made(70000))
        self.assertEqual(server.get("GET", "/delay/1ms/status/503")[0], 503)
        for status in (200, 204, 301, 404, 418, 503, 599):
            self.assertEqual(server.get("GET", "/status/%d" % status)[0], status)
        for method in ("POST", "PUT"):
            status, _, body = server.get(method, "/", body=b"x" * 300000)
            self.assertEqual((status, body), (200, b"300000 bytes received\n"))
        self.assertEqual(server.get("POST", "/bytes/7", body=b"x")[2], made(7))
        status, headers, _ = server.get("DELETE", "/bytes/7")
        self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD, POST, PUT"))

    @on_servers(schemes=BOTH)
    def test_ctrl_c_in_the_middle(self, server):
        """What is under way is finished, what is idle is closed."""
        idle = server.connection()
        idle.connect()
        busy = server.connection()
        busy.request("GET", "/delay/300ms/bytes/200k")
        time.sleep(0.1)
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(busy.getresponse().read(), made(200 * K))
        stdout, _ = server.process.communicate(timeout=PATIENCE_S)
        self.assertEqual(server.process.returncode, 0)
        self.assertEqual(metric(checked_record(self, stdout)["runs"][0], "server_requests"), 1)


class Connections(unittest.TestCase):
    def answers(self, data):
        """(status, body) of answers with a length."""
        found, at = [], 0
        while at < len(data):
            body = data.index(b"\r\n\r\n", at) + 4
            head = data[at:body]
            length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
            at = body + length
            self.assertGreaterEqual(len(data), at)
            found.append((int(head.split()[1]), data[body:at]))
        return found

    @on_servers()
    def test_pipelined_requests(self, server):
        paths = [(b"/bytes/200", made(200)), (b"/bytes/100k", made(100 * K)),
                 (b"/status/404", b"404 Not Found\n"), (b"/delay/30ms", b"done\n"),
                 (b"/bytes/16k", made(16 * K)), (b"/bytes/0", b"")] * 20
        requests = b"".join(GET % path for path, _ in paths[:-1]) + LAST % paths[-1][0]
        found = self.answers(talk(server, requests))
        self.assertEqual([body for _, body in found], [body for _, body in paths])
        self.assertEqual(metric(server.record(self), "server_requests"), len(paths))

    @on_servers()
    def test_thousands_of_pipelined_requests_while_nothing_is_read(self, server):
        """More answers than any buffer holds: the server stops to read, and goes on."""
        with server.connect() as client:
            sender = threading.Thread(target=client.sendall,
                                      args=(GET % b"/bytes/16k" * 3000 + LAST % b"/bytes/1",))
            sender.start()
            time.sleep(0.3)
            data = all_of(client)
            sender.join()
        self.assertEqual(len(self.answers(data)), 3001)

    @on_servers()
    def test_byte_by_byte(self, server):
        with server.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in LAST % b"/bytes/5":
                client.send(bytes([byte]))
            self.assertEqual(self.answers(all_of(client)), [(200, made(5))])

    @on_servers()
    def test_versions_and_keep_alive(self, server):
        old = talk(server, b"GET /bytes/5 HTTP/1.0\r\n\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", old)
        self.assertTrue(old.endswith(b"\r\n\r\n" + made(5)))
        kept = talk(server, b"GET /bytes/5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                            b"GET /bytes/6 HTTP/1.0\r\n\r\n")
        self.assertIn(b"\r\nConnection: keep-alive\r\n", kept)
        self.assertEqual([len(body) for _, body in self.answers(kept)], [5, 6])
        chunked = talk(server, b"GET /chunked/50k HTTP/1.0\r\n\r\n")
        self.assertNotIn(b"chunked", chunked.split(b"\r\n\r\n")[0])
        self.assertTrue(chunked.endswith(b"\r\n\r\n" + made(50 * K)))

    @on_servers()
    def test_the_clients_end_comes_before_the_answer(self, server):
        with server.connect() as client:
            client.sendall(GET % b"/delay/20ms/bytes/300k")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(self.answers(all_of(client)), [(200, made(300 * K))])

    @on_servers()
    def test_continue_is_said(self, server):
        with server.connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                           b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            self.assertEqual(client.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(b"abc")
            self.assertEqual(self.answers(all_of(client)), [(200, b"3 bytes received\n")])

    @on_servers("--max-body", "1000")
    def test_broken_requests_are_refused_and_counted(self, server):
        broken = {b"GET / HTTP/1.1\r\n\r\n": 400, b"GET /\r\n": 400,
                  b"GET / HTTP/2.0\r\nHost: h\r\n\r\n": 505,
                  b"BREW-A-POT-OF-COFFEE-AT-ONCE / HTTP/1.1\r\n": 501,
                  b"GET /" + b"x" * 20000: 414, GET[:-2] % b"/" + b"X: " + b"y" * 70000: 431,
                  b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n": 413,
                  b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n": 400}
        for request, status in broken.items():
            answer = talk(server, GET % b"/bytes/3" + request)
            found = self.answers(answer)
            self.assertEqual(found[0], (200, made(3)))
            self.assertEqual(found[1][0], status, request[:80])
            self.assertIn(b"\r\nConnection: close\r\n", answer)
        one = server.record(self)
        self.assertEqual(metric(one, "server_rejected"), len(broken))
        self.assertEqual(sum(error["count"] for error in one["errors"]), len(broken))
        self.assertEqual(metric(one, "server_requests"), len(broken))

    def test_what_is_no_size_is_said(self):
        with Server() as server:
            for path in ("/bytes/", "/bytes/x", "/bytes/-1", "/bytes/2t", "/bytes/1/2", "/status/1",
                         "/status/99999", "/delay/", "/delay/x", "/delay/2h", "/delay/1ms/x",
                         "/delay/1ms/delay/1ms", "/bytes/%00", "/%2e%2e", "/bytes/%zz"):
                self.assertEqual(server.get("GET", path)[0], 400, path)
            self.assertEqual(server.get("GET", "/x")[0], 404)
            self.assertIn(b"/chunked/SIZE", server.get("GET", "/?a=b")[2])

    @on_servers("--max-requests", "3", "--idle-timeout", "300ms")
    def test_limits(self, server):
        data = talk(server, GET % b"/bytes/1" * 5)
        self.assertEqual(len(self.answers(data)), 3)
        self.assertEqual(data.count(b"Connection: close"), 1)
        began = time.monotonic()
        self.assertEqual(talk(server, b"GET / HT"), b"")
        self.assertGreaterEqual(time.monotonic() - began, 0.25)
        # A delay is not idle.
        self.assertIn(b"done", talk(server, GET % b"/delay/500ms"))
        self.assertEqual(metric(server.record(self), "server_idle_closed"), 2)

    def test_a_thousand_idle_connections(self):
        for engine in engines():
            count = 200 if engine == "threads" else 1000
            with self.subTest(engine=engine), Server("-e", engine) as server:
                clients = [server.connect() for _ in range(count)]
                try:
                    for client in clients:
                        client.sendall(GET % b"/bytes/100")
                    for client in clients:
                        self.assertTrue(client.recv(1000).endswith(made(100)))
                    self.assertEqual(server.get("GET", "/bytes/9")[2], made(9))
                finally:
                    for client in clients:
                        client.close()
                self.assertEqual(server.stop().returncode, 0)

    @on_servers()
    def test_clients_that_go_away(self, server):
        for path in (b"/bytes/1t", b"/chunked/1t", b"/close/1t", b"/delay/1h"):
            with server.connect() as client:
                client.sendall(GET % path)
                if b"delay" not in path:
                    client.recv(100)
        self.assertEqual(server.get("GET", "/bytes/9")[2], made(9))
        began = time.monotonic()
        server.record(self)
        self.assertLess(time.monotonic() - began, 20)


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = Folder(self)
        self.root = self.folder.file("root")
        os.makedirs(os.path.join(self.root, "sub"))
        os.mkdir(os.path.join(self.root, "empty"))
        self.contents = {}
        for name, size in (("small.txt", 1000), ("none.json", 0), ("large.bin", 3000000),
                           ("sub/index.html", 50), ("sub/a b.css", 20000)):
            self.contents[name] = os.urandom(size)
            self.write(name, self.contents[name])
        self.write("../secret", b"secret")

    def write(self, name, data):
        with open(os.path.join(self.root, name), "wb") as file:
            file.write(data)

    @on_servers(schemes=BOTH, files=True)
    def test_files_are_what_they_are(self, server):
        connection = server.connection()
        for _ in range(2):
            for name, data in self.contents.items():
                connection.request("GET", "/" + name.replace(" ", "%20") + "?query")
                answer = connection.getresponse()
                self.assertEqual((answer.status, answer.read() == data), (200, True), name)
                self.assertEqual(answer.headers["Content-Length"], str(len(data)))
        for path in ("/sub", "/sub/", "//sub/./"):
            self.assertEqual(server.get("GET", path)[2] if path[1] != "/" else
                             self.contents["sub/index.html"], self.contents["sub/index.html"])
        self.assertEqual(server.get("GET", "/small.txt")[1]["Content-Type"],
                         "text/plain; charset=utf-8")
        self.assertEqual(server.get("GET", "/none.json")[1]["Content-Type"],
                         "application/json")
        status, headers, body = server.get("HEAD", "/large.bin")
        self.assertEqual((status, headers["Content-Length"], body), (200, "3000000", b""))
        self.assertEqual(server.get("GET", "/empty/")[0], 404)
        self.assertEqual(server.get("GET", "/absent")[0], 404)
        self.assertEqual(server.get("GET", "/small.txt/x")[0], 404)
        self.assertEqual(server.get("GET", "/bytes/9")[2], made(9))
        self.assertIn(b"sonde serves", server.get("GET", "/")[2])
        connection.close()
        self.assertEqual(server.record(self)["errors"], [])

    def test_nothing_leads_out(self):
        os.symlink("../secret", os.path.join(self.root, "out"))
        os.symlink("/etc", os.path.join(self.root, "etc"))
        os.symlink("small.txt", os.path.join(self.root, "within"))
        os.mkfifo(os.path.join(self.root, "fifo"))
        with Server("--root", self.root) as server:
            for path in (b"/../secret", b"/sub/../../secret", b"/%2e%2e/secret", b"/..%2fsecret",
                         b"/sub/%2E%2E/%2e%2e/secret", b"/out", b"/etc/passwd", b"//etc/passwd",
                         b"/etc", b"///proc/self/environ", b"/fifo", b"/small.txt%00.html",
                         b"/.%2e/secret", b"/" + b"x" * 300):
                answer = talk(server, LAST % path)
                self.assertIn(int(answer.split()[1]), (400, 403, 404), path)
                self.assertNotIn(b"secret", answer.split(b"\r\n\r\n")[1])
                self.assertNotIn(b"root:", answer)
            self.assertEqual(server.get("GET", "/within")[2], self.contents["small.txt"])

    @on_servers(schemes=BOTH, files=True)
    def test_a_file_that_shrinks_ends_the_connection(self, server):
        self.write("shrinks", bytes(50 << 20))
        connection = server.connection()
        connection.request("GET", "/shrinks")
        answer = connection.getresponse()
        answer.read(1000)
        os.truncate(os.path.join(self.root, "shrinks"), 100)
        with self.assertRaises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
            answer.read()
            raise http.client.IncompleteRead(b"") if server.secure and \
                answer.length else AssertionError("whole")
        connection.close()
        self.assertEqual(server.get("GET", "/small.txt")[2], self.contents["small.txt"])
        one = server.record(self)
        self.assertIn("a file became shorter while it was sent",
                      [error["name"] for error in one["errors"]])

    def test_a_file_that_is_replaced_is_seen(self):
        with Server("--root", self.root) as server:
            self.assertEqual(server.get("GET", "/small.txt")[2], self.contents["small.txt"])
            self.write("small.txt", b"new")
            os.remove(os.path.join(self.root, "large.bin"))
            deadline = time.monotonic() + PATIENCE_S
            while server.get("GET", "/small.txt")[2] != b"new":
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.1)

    def test_wrong_roots(self):
        for root in (self.folder.file("absent"), os.path.join(self.root, "small.txt")):
            done = run("serve", "http://127.0.0.1:0", "--root", root)
            self.assertIn("--root", check_one_line(self, done, 1))


class Clients(unittest.TestCase):
    def needs(self, program):
        if not shutil.which(program):
            self.skipTest("%s is not installed" % program)

    def load(self, server, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_curl(self):
        self.needs("curl")
        for engine in engines():
            for scheme in ("http", "https"):
                with self.subTest(engine=engine, scheme=scheme), \
                        Server("-e", engine, address=scheme + "://127.0.0.1:0") as server:
                    for path, size in (("/bytes/20m", 20 << 20), ("/chunked/3m", 3 << 20),
                                       ("/close/1m", 1 << 20)):
                        done = subprocess.run(["curl", "-sk", server.address + path],
                                              capture_output=True, timeout=PATIENCE_S, check=True)
                        self.assertEqual(done.stdout, made(size), path)

    def test_unix_sockets(self):
        self.needs("curl")
        path = Folder(self).file("http.sock")
        with Server(address="http+unix:" + path):
            done = subprocess.run(["curl", "-s", "--unix-socket", path, "http://h/bytes/123"],
                                  capture_output=True, timeout=PATIENCE_S, check=True)
            self.assertEqual(done.stdout, made(123))

    def test_wrk(self):
        self.needs("wrk")
        for engine in engines():
            with self.subTest(engine=engine), \
                    Server("-e", engine, "--json") as server:
                text = self.load(server, "wrk", "-c", "20", "-t", "1", "-d", "1",
                                 server.address + "/bytes/200")
                self.assertNotIn("Non-2xx", text)
                self.assertNotIn("Socket errors", text)
                asked = int(re.search(r"(\d+) requests in", text).group(1))
                answered = metric(server.record(self), "server_requests")
                self.assertGreaterEqual(answered, asked)
                self.assertLessEqual(answered, asked + 20)

    def test_ab(self):
        self.needs("ab")
        for kept in ((), ("-k",)):
            for engine in engines():
                with self.subTest(engine=engine, kept=kept), \
                        Server("-e", engine, "--json") as server:
                    text = self.load(server, "ab", "-q", "-n", "300", "-c", "10", *kept,
                                     server.address + "/bytes/20000")
                    self.assertRegex(text, r"Failed requests: +0\n")
                    self.assertRegex(text, r"Complete requests: +300\n")
                    self.assertRegex(text, r"HTML transferred: +6000000 bytes")
                    self.assertGreaterEqual(metric(server.record(self), "server_requests"), 300)

    def test_h2load(self):
        self.needs("h2load")
        for engine in engines():
            with self.subTest(engine=engine), Server("-e", engine) as server:
                text = self.load(server, "h2load", "--h1", "-n", "3000", "-c", "10", "-m", "8",
                                 server.address + "/bytes/200")
                self.assertIn("3000 succeeded, 0 failed, 0 errored", text)


class Words(unittest.TestCase):
    def test_one_kind_is_served(self):
        done = run("serve", "http://127.0.0.1:0", "ws://127.0.0.1:0")
        self.assertIn("is a WebSocket server", check_one_line(self, done, 2))

    def test_addresses_that_cannot_be(self):
        for address in ("http+udp://127.0.0.1:0", "http://u@127.0.0.1:0", "http://127.0.0.1",
                        "http+pipe:", "https+unix:/tmp/x"):
            check_one_line(self, run("serve", address), 2)

    def test_tls_options_want_tls(self):
        done = run("serve", "http://127.0.0.1:0", "--cert", "/tmp/x", "--key", "/tmp/y")
        self.assertIn("https://", check_one_line(self, done, 2))


if __name__ == "__main__":
    unittest.main()
