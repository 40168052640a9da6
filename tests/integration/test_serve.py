"""sonde serve: the echo to clients of other making, its limits, and its orderly end."""

import os
import random
import resource
import signal
import socket
import threading
import time
import unittest

from sonde_program import (
    Folder, Serving, check_one_line, engines, read_record, run)

SANITIZED = "SONDE_SANITIZED" in os.environ


def receive(client, length):
    parts = bytearray()
    while len(parts) < length:
        data = client.recv(min(1 << 20, length - len(parts)))
        if not data:
            raise AssertionError("closed after %d of %d bytes" % (len(parts), length))
        parts += data
    return bytes(parts)


def exchange(client, data, slow=False):
    """Sends and receives at once; the received bytes until the server closes."""
    sender = threading.Thread(target=lambda: (client.sendall(data),
                                              client.shutdown(socket.SHUT_WR)))
    sender.start()
    got = bytearray()
    while part := client.recv(5000 if slow else 1 << 20):
        got += part
        if slow:
            time.sleep(0.0005)
    sender.join(60)
    return bytes(got)


class Echo(unittest.TestCase):
    def test_random_data_and_half_close(self):
        data = random.Random(7).randbytes(3_000_000)
        for engine in engines():
            with self.subTest(engine=engine), \
                    Serving("tcp://127.0.0.1:0", "unix:@sonde-test-%d" % os.getpid(), "-e",
                            engine) as server:
                for index in range(2):
                    with server.connect(index) as client:
                        self.assertTrue(exchange(client, data) == data)
                with server.connect() as client:
                    self.assertTrue(exchange(client, data, slow=True) == data)
                done = server.stop()
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_byte_by_byte(self):
        for engine in engines():
            with self.subTest(engine=engine), \
                    Serving("tcp://127.0.0.1:0", "-e", engine, "--answer", "byte") as server:
                with server.connect() as client:
                    for byte in b"one by one":
                        client.sendall(bytes([byte]))
                        self.assertEqual(receive(client, 1), bytes([byte]))
                    data = bytes(range(256)) * 20
                    self.assertTrue(exchange(client, data) == data)

    def test_many_connections(self):
        count = 500
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for engine in engines():
            with self.subTest(engine=engine), \
                    Serving("tcp://127.0.0.1:0", "-e", engine, "--max-connections",
                            "600") as server:
                clients = [server.connect() for _ in range(count)]
                for i, client in enumerate(clients):
                    client.sendall(b"%06d" % i)
                for i, client in enumerate(clients):
                    self.assertEqual(receive(client, 6), b"%06d" % i)
                for client in clients:
                    client.close()

    def test_several_threads(self):
        data = random.Random(8).randbytes(200_000)
        folder = Folder(self)
        with Serving("tcp://127.0.0.1:0", "unix:" + folder.file("socket"), "-t", "3") as server:
            for i in range(30):
                with server.connect(i % 2) as client:
                    self.assertTrue(exchange(client, data) == data)


class Discard(unittest.TestCase):
    def test_everything_is_read_and_nothing_answered(self):
        data = random.Random(9).randbytes(3_000_000)
        for engine in engines():
            path = Folder(self).file("record")
            with self.subTest(engine=engine), \
                    Serving("discard+tcp://127.0.0.1:0", "-e", engine, "--json=" + path) as server:
                host, port = server.address.split("//")[1].split(":")
                with socket.create_connection((host, int(port)), 60) as client:
                    self.assertEqual(exchange(client, data), b"")
                done = run("stream", "tcp://%s:%s" % (host, port), "-n", "1m", "-q", "-w", "0")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(server.stop().returncode, 0)
                metrics = read_record(self, path)["runs"][0]["metrics"]
                self.assertGreater(metrics["server_received_bytes"]["value"], 4_000_000)
                self.assertNotIn("server_bytes_per_send", metrics)


class Limits(unittest.TestCase):
    def test_full_server_refuses_and_says_so(self):
        for engine in engines():
            path = Folder(self).file("record")
            with self.subTest(engine=engine), \
                    Serving("tcp://127.0.0.1:0", "-e", engine, "--max-connections", "3",
                            "--json=" + path) as server:
                clients = [server.connect() for _ in range(3)]
                for client in clients:
                    client.sendall(b"x")
                    self.assertEqual(receive(client, 1), b"x")
                closed = 0
                for _ in range(10):
                    with server.connect() as late:
                        try:
                            closed += late.recv(1) == b""
                        except ConnectionError:
                            closed += 1
                self.assertEqual(closed, 10)
                clients[0].sendall(b"y") # the others never notice
                self.assertEqual(receive(clients[0], 1), b"y")
                for client in clients:
                    client.close()
                self.assertEqual(server.process.stderr.readline(),
                                 "sonde: --max-connections 3 reached: further connections are "
                                 "closed at once\n")
                done = server.stop()
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                record = read_record(self, path)
                self.assertEqual(record["runs"][0]["metrics"]["server_refused"]["value"], 10)
                self.assertIn("--max-connections 3 reached: 10 refused", record["warnings"])

    def test_idle_connection_is_closed(self):
        for engine in engines():
            with self.subTest(engine=engine), \
                    Serving("tcp://127.0.0.1:0", "-e", engine, "--idle-timeout",
                            "300ms") as server:
                with server.connect() as idle, server.connect() as busy:
                    began = time.monotonic()
                    while time.monotonic() - began < 0.6:
                        busy.sendall(b"x")
                        self.assertEqual(receive(busy, 1), b"x")
                        time.sleep(0.02)
                    self.assertEqual(idle.recv(1), b"")

    def test_memory_is_bounded_where_nobody_reads(self):
        """Hundred clients that send and never read: the kernel's buffers fill, sonde's do not."""
        for engine in engines():
            with self.subTest(engine=engine), Serving("tcp://127.0.0.1:0", "-e", engine) as server:
                def resident():
                    with open("/proc/%d/status" % server.process.pid, encoding="ascii") as file:
                        return next(int(line.split()[1]) for line in file
                                    if line.startswith("VmRSS"))
                before = resident()
                clients = [server.connect() for _ in range(100)]
                for client in clients:
                    client.setblocking(False)
                block, stuck_since = b"z" * 65536, time.monotonic()
                while time.monotonic() - stuck_since < 0.5:
                    for client in clients:
                        try:
                            client.send(block)
                            stuck_since = time.monotonic()
                        except BlockingIOError:
                            pass
                # A buffer of 64 KiB a connection, and what a thread each costs (the sanitizer's
                # shadow of its stack too). The kernel took some MiB of each.
                self.assertLess(resident() - before, 128 * 1024 if SANITIZED else 24 * 1024)
                for client in clients:
                    client.close()

    def test_too_few_files(self):
        """For any number of processes that it would start."""
        done = run("serve", "tcp://127.0.0.1:0", preexec_fn=lambda: (
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))))
        self.assertIn("open files", check_one_line(self, done, 1))


class Listening(unittest.TestCase):
    def test_bad_arguments(self):
        for arguments, status, word in (
            ([], 2, "no address"),
            (["tcp://127.0.0.1"], 2, "127.0.0.1"),
            (["tcp://127.0.0.1:70000"], 2, "70000"),
            (["local:"], 2, "local:"),
            (["tcp:"], 2, "tcp://HOST:PORT"),
            (["unix:"], 2, "unix:@NAME"),
            (["sockperf+utp://127.0.0.1:0"], 2, "utp"),
            (["tcp://127.0.0.1:0", "ping+tcp://127.0.0.1:0"], 2, "another sonde serve"),
            (["udp://127.0.0.1:0", "tcp://127.0.0.1:0"], 2, "one process serves one kind"),
            (["discard+udp://127.0.0.1:0"], 2, "discard+tcp://HOST:PORT"),
            (["sonde+udp://127.0.0.1:0"], 2, "write sonde://HOST:PORT"),
            (["iperf3+udp://127.0.0.1:0"], 2, "write iperf3://HOST[:PORT]"),
            (["sonde://127.0.0.1"], 2, "sonde://127.0.0.1: no port: write sonde://HOST:PORT"),
            (["sockperf+udp://127.0.0.1:x"], 2, "sockperf+udp://127.0.0.1:x"),
            (["iperf3://127.0.0.1:x"], 2, "sonde: iperf3://127.0.0.1:x"),
            (["sond://127.0.0.1:0"], 2, "did you mean sonde://HOST:PORT"),
            (["gopher://127.0.0.1:70"], 2, "sonde://HOST:PORT, iperf3://HOST[:PORT]"),
            (["ws://"], 2, "sonde: ws://: no port: write ws://HOST:PORT"),
            (["wss://127.0.0.1/path"], 2, "sonde: wss://127.0.0.1: no port: write wss://HOST:PORT"),
            (["ws+tcp://127.0.0.1"], 2, "sonde: ws+tcp://127.0.0.1: no port"),
            (["ws://user@127.0.0.1:0"], 2, "a server has no user's name"),
            (["ws://127.0.0.1:0", "--cert", "x"], 2, "--cert: no address speaks TLS"),
            (["sonde://127.0.0.1:0", "--resume"], 2, "--resume: no address speaks TLS"),
            (["tcp://127.0.0.1:0", "-e", "epol"], 2, "epoll"),
            (["tcp://127.0.0.1:0", "-e", "null"], 2, "null"),
            (["tcp://127.0.0.1:0", "--max-connections", "0"], 2, "--max-connections"),
            (["unix:/nonexistent/folder/socket"], 1, "No such file"),
            (["unix:" + "x" * 200], 2, ""),
        ):
            with self.subTest(arguments=arguments):
                self.assertIn(word, check_one_line(self, run("serve", *arguments), status))

    def test_a_path_is_said_to_make_no_difference(self):
        for url, every in (("ws://127.0.0.1:0/chat", True), ("wss://127.0.0.1:0/?q=1", True),
                           ("WS://127.0.0.1:0/", False), ("ws://127.0.0.1:0", False)):
            done = run("serve", url, "-d", "10ms")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual("at every path" in done.stderr, every, done.stderr)

    def test_clients_of_other_protocols_are_led_to_sonde_ws(self):
        for command in ("call", "ping", "stream"):
            done = run(command, "ws://127.0.0.1:9000", "-q")
            self.assertIn("sonde ws ws://127.0.0.1:9000", check_one_line(self, done, 2))

    def test_more_time_is_no_advice_where_the_answer_is_wrong(self):
        with Serving("tcp://127.0.0.1:0") as server:
            done = run("ws", server.address, "-d", "300ms", "-w", "0", "-q")
            line = done.stderr.strip()
            self.assertTrue(line.endswith("in the window: a first line that is no HTTP status"), line)

    def test_no_secret_is_offered(self):
        """Which only a server of sonde:// asks for."""
        for command, offered in (("call", True), ("ws", False)):
            self.assertEqual("--secret" in run(command, "--help").stdout, offered)

    def test_nothing_is_offered_that_is_not_taken(self):
        line = check_one_line(self, run("serve", "gopher://127.0.0.1:70"), 2)
        self.assertNotIn("local:", line)
        self.assertNotIn("pipe:", line)

    def test_the_port_of_sockperf(self):
        with Serving("sockperf+udp://127.0.0.7") as server:
            self.assertEqual(server.address, "sockperf+udp://127.0.0.7:11111")
            done = run("ping", "sockperf+udp://127.0.0.7", "-n", "20", "-q", "-w", "0")
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = run("serve", "tcp://127.0.0.1:%d" % taken.getsockname()[1])
            self.assertIn("in use", check_one_line(self, done, 1))

    def test_port_in_use_by_sonde(self):
        for threads in ("1", "2"):
            with Serving("tcp://127.0.0.1:0", "-t", threads) as server:
                done = run("serve", server.address, "-d", "100ms")
                self.assertIn("in use", check_one_line(self, done, 1))

    def test_unix_socket_file(self):
        path = Folder(self).file("socket")
        with Serving("unix:" + path) as server:
            self.assertTrue(os.path.exists(path))
            done = run("serve", "unix:" + path) # somebody listens there
            self.assertIn("another process listens", check_one_line(self, done, 1))
            with server.connect() as client: # and still does
                client.sendall(b"x")
                self.assertEqual(receive(client, 1), b"x")
            self.assertEqual(server.stop().returncode, 0)
        self.assertFalse(os.path.exists(path))

    def test_stale_unix_socket_file(self):
        path = Folder(self).file("socket")
        with Serving("unix:" + path) as server:
            server.process.kill()
            server.process.wait()
        self.assertTrue(os.path.exists(path))
        with Serving("unix:" + path) as server:
            with server.connect() as client:
                client.sendall(b"x")
                self.assertEqual(receive(client, 1), b"x")

    def test_file_that_is_no_socket_is_left_alone(self):
        path = Folder(self).file("precious")
        with open(path, "w", encoding="ascii") as file:
            file.write("data")
        check_one_line(self, run("serve", "unix:" + path), 1)
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), "data")


class End(unittest.TestCase):
    def test_signal_while_busy(self):
        for engine in engines():
            for number in (signal.SIGTERM, signal.SIGINT):
                path = Folder(self).file("record")
                with self.subTest(engine=engine, signal=number), \
                        Serving("tcp://127.0.0.1:0", "-e", engine, "--json=" + path) as server:
                    clients = [server.connect() for _ in range(4)]
                    over = threading.Event()
                    threads = [threading.Thread(target=self.keep_busy, args=(client, over))
                               for client in clients]
                    for thread in threads:
                        thread.start()
                    time.sleep(0.1)
                    done = server.stop(number)
                    over.set()
                    for thread in threads:
                        thread.join(60)
                    for client in clients:
                        client.close()
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(done.stderr, "")
                    self.assertLess(done.seconds, 3)
                    self.assertIn("serve", done.stdout)
                    record = read_record(self, path)
                    self.assertTrue(record["complete"])
                    metrics = record["runs"][0]["metrics"]
                    self.assertEqual(metrics["server_accepted"]["value"], 4)

    @staticmethod
    def keep_busy(client, over):
        try:
            while not over.is_set():
                client.sendall(b"busy" * 1000)
                if not client.recv(65536):
                    return
        except OSError:
            pass

    def test_signal_with_a_peer_that_never_reads(self):
        """Its answer cannot be finished: the server leaves all the same."""
        for engine in engines():
            with self.subTest(engine=engine), Serving("tcp://127.0.0.1:0", "-e", engine) as server:
                with server.connect() as client:
                    client.setblocking(False)
                    stuck_since = time.monotonic()
                    while time.monotonic() - stuck_since < 0.3:
                        try:
                            client.send(b"z" * 65536)
                            stuck_since = time.monotonic()
                        except BlockingIOError:
                            time.sleep(0.01)
                    done = server.stop()
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertLess(done.seconds, 5)

    def test_duration(self):
        done = run("serve", "tcp://127.0.0.1:0", "-d", "200ms")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLess(done.seconds, 5)

    def test_full_disk(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = run("serve", "tcp://127.0.0.1:0", "-d", "50ms", stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard output", done.stderr.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
