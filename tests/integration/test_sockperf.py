"""The wire format of sockperf against Debian's sockperf, in both roles, over UDP and TCP."""

import re
import shutil
import socket
import struct
import subprocess
import time
import unittest

from sonde_program import PATIENCE_S, Folder, Serving, metric, read_record, run
from test_ping import COUNTS, counts, ping

SOCKPERF = shutil.which("sockperf")
PROTOCOLS = ("udp", "tcp")


def free_port(protocol):
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class RealServer:
    """A `sockperf server`."""

    def __init__(self, protocol):
        self.port = free_port(protocol)
        self.address = "sockperf+%s://127.0.0.1:%d" % (protocol, self.port)
        self.process = subprocess.Popen(
            [SOCKPERF, "server", *(["--tcp"] if protocol == "tcp" else []), "-i", "127.0.0.1", "-p",
             str(self.port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while not self.listens(protocol):
            assert time.monotonic() < end and self.process.poll() is None
            time.sleep(0.02)

    def listens(self, protocol):
        with open("/proc/net/" + protocol, encoding="ascii") as file:
            return "0100007F:%04X " % self.port in file.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@unittest.skipUnless(SOCKPERF, "without sockperf")
class SondeAgainstTheirServer(unittest.TestCase):
    def test_round_trips(self):
        for protocol in PROTOCOLS:
            with RealServer(protocol) as server:
                for engine in ("threads", "epoll", "uring"):
                    for size in ("14", "64", "1400"):
                        with self.subTest(protocol=protocol, engine=engine, size=size):
                            one = ping(self, server.address, "-e", engine, "-m", size, "-n", "500")
                            self.assertEqual(metric(one, "round_trips"), 500)
                            self.assertEqual(counts(one), dict.fromkeys(COUNTS, 0))

    def test_several_in_flight(self):
        for protocol in PROTOCOLS:
            with self.subTest(protocol=protocol), RealServer(protocol) as server:
                one = ping(self, server.address, "--burst", "8", "-n", "800")
                self.assertEqual(metric(one, "round_trips"), 800)
                one = ping(self, server.address, "--rate", "2k", "-n", "400")
                self.assertEqual(metric(one, "round_trips"), 400)
                self.assertEqual(counts(one), dict.fromkeys(COUNTS, 0))


@unittest.skipUnless(SOCKPERF, "without sockperf")
class TheirClientsAgainstSonde(unittest.TestCase):
    """They sleep for two seconds before each test: as few of them as tell the cases apart."""

    def client(self, server, mode, *arguments):
        protocol = "tcp" if "tcp" in server.address else "udp"
        port = server.address.rsplit(":", 1)[1]
        done = subprocess.run(
            [SOCKPERF, mode, *(["--tcp"] if protocol == "tcp" else []), "-i", "127.0.0.1", "-p",
             port, "-t", "1", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def check(self, text):
        """Their own summary of what was wrong: nothing."""
        wrong = re.search(r"# dropped messages = (\d+); # duplicated messages = (\d+); "
                          r"# out-of-order messages = (\d+)", text)
        self.assertIsNotNone(wrong, text)
        self.assertEqual(wrong.groups(), ("0", "0", "0"), text)

    def served(self, protocol, engine):
        folder = Folder(self)
        path = folder.file("json")
        return path, Serving("--json=" + path, "-e", engine,
                             "sockperf+%s://127.0.0.1:0" % protocol)

    def test_ping_pong(self):
        for protocol, engine in (("udp", "threads"), ("tcp", "threads"), ("udp", "uring"),
                                 ("tcp", "epoll")):
            with self.subTest(protocol=protocol, engine=engine):
                path, serving = self.served(protocol, engine)
                with serving as server:
                    text = self.client(server, "ping-pong", "-m", "64")
                    self.check(text)
                    self.assertEqual(server.stop().returncode, 0)
                sent, received = map(int, re.search(
                    r"SentMessages=(\d+); ReceivedMessages=(\d+)", text).groups())
                one = read_record(self, path)["runs"][0]
                self.assertGreaterEqual(metric(one, "server_answers"), received)
                self.assertLessEqual(metric(one, "server_messages"), sent)
                self.assertEqual(metric(one, "server_invalid"), 0)

    def test_under_load(self):
        for protocol in PROTOCOLS:
            with self.subTest(protocol=protocol):
                path, serving = self.served(protocol, "epoll")
                with serving as server:
                    self.check(self.client(server, "under-load", "-m", "100", "--mps", "2000",
                                           "--reply-every", "5"))
                    self.assertEqual(server.stop().returncode, 0)
                one = read_record(self, path)["runs"][0]
                # One in five wants an answer.
                self.assertGreater(metric(one, "server_silent"), 0)
                self.assertAlmostEqual(
                    metric(one, "server_silent") / metric(one, "server_answers"), 4, delta=0.5)

    def test_throughput(self):
        for protocol in PROTOCOLS:
            with self.subTest(protocol=protocol):
                path, serving = self.served(protocol, "epoll")
                with serving as server:
                    text = self.client(server, "throughput", "-m", "1000")
                    self.assertIn("Message Rate is", text)
                    self.assertEqual(server.stop().returncode, 0)
                one = read_record(self, path)["runs"][0]
                self.assertEqual(metric(one, "server_answers"), 0)
                self.assertEqual(metric(one, "server_silent"), metric(one, "server_messages"))
                self.assertGreater(metric(one, "server_messages"), 0)
                self.assertEqual(metric(one, "server_invalid"), 0)


class Hostile(unittest.TestCase):
    """What is no request is not answered, and an answer is never longer than its request."""

    @staticmethod
    def message(flags, length, size, sequence=9):
        head = struct.pack(">QHI", sequence, flags, length)
        return (head + b"x" * size)[:size]

    def test_datagrams(self):
        for engine in ("threads", "poll", "epoll", "uring"):
            with self.subTest(engine=engine), \
                    Serving("-e", engine, "sockperf+udp://127.0.0.1:0") as server, \
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE_S)
                client.connect(("127.0.0.1", int(server.address.rsplit(":", 1)[1])))
                for bad in (b"", b"\0", self.message(3, 64, 13), self.message(3, 65, 64),
                            self.message(3, 63, 64), self.message(3, 65507, 64),
                            self.message(3, 0xffffffff, 64), self.message(2, 64, 64),
                            self.message(0x8003, 64, 64), self.message(1, 64, 64),
                            self.message(7, 64, 64)):
                    client.send(bad)
                client.send(self.message(3, 64, 64))
                # The first that comes back is the answer to the only request.
                self.assertEqual(client.recv(65536), self.message(2, 64, 64))
                client.setblocking(False)
                with self.assertRaises(BlockingIOError):
                    client.recv(65536)

    def test_streams(self):
        for bad in (self.message(3, 13, 14), self.message(3, 65508, 14),
                    self.message(2, 64, 14), self.message(0x4003, 64, 14)):
            with self.subTest(bad=bad), Serving("sockperf+tcp://127.0.0.1:0") as server, \
                    socket.create_connection(
                        ("127.0.0.1", int(server.address.rsplit(":", 1)[1])), PATIENCE_S) as client:
                request = self.message(3, 30, 30)
                for byte in request[:-1]:
                    client.send(bytes([byte]))
                client.send(request[-1:] + bad)
                heard = b""
                while data := client.recv(65536):
                    heard += data
                self.assertEqual(heard, self.message(2, 30, 30))


if __name__ == "__main__":
    unittest.main()
