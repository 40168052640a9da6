"""iperf3's protocol, both ends, against the real iperf3: `iperf3 -c` against our server, our client
against `iperf3 -s`, and a server among clients that do not behave."""

import contextlib
import json
import os
import queue
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

from sonde_program import SONDE

# Built with the tests: beside the program, or in the folder of the sanitized build.
PEER = next((path for path in (os.path.join(os.path.dirname(SONDE), *folder, "tests", "iperf3_peer")
                               for folder in ([], ["..", "build-test"])) if os.path.exists(path)),
            "build-test/tests/iperf3_peer")
IPERF3 = os.environ.get("IPERF3") or shutil.which("iperf3")  # another version, by hand
PATIENCE_S = 60
COOKIE = b"abcdefghijklmnopqrstuvwxyz2345672345\0"


def setUpModule():
    reason = None
    if IPERF3 is None:
        reason = "there is no iperf3: apt-get install iperf3"
    elif not os.path.exists(PEER):
        reason = "%s was not built (tests=false)" % PEER
    if reason is not None:
        print("test_iperf3: skipped:", reason, file=sys.stderr)
        raise unittest.SkipTest(reason)


class Server:
    """Our server, on a port of its own."""

    def __init__(self, *limits, address="127.0.0.1"):
        self.process = subprocess.Popen(
            [PEER, "server", "tcp://%s:0" % address, *map(str, limits)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.events = queue.SimpleQueue()  # read at once: the server must not wait for us
        self.reader = threading.Thread(target=self.read_events)
        self.reader.start()
        self.port = int(self.event("listening")["address"].rsplit(":", 1)[1])

    def read_events(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put({"event": "over"})

    def event(self, *kinds):
        """The next event of one of these kinds."""
        while True:
            event = self.events.get(timeout=PATIENCE_S)
            if event["event"] in kinds:
                return event
            if event["event"] == "over":
                raise AssertionError("the server has ended: " + self.process.stderr.read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()  # it ends
        self.reader.join(PATIENCE_S)
        errors = self.process.stderr.read()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self.process.stderr.close()
        if self.process.returncode or errors:
            raise AssertionError("the server failed: " + errors)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)


def real_client(port, *arguments, host="127.0.0.1"):
    return subprocess.Popen([IPERF3, "-c", host, "-p", str(port), "-J", *arguments], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            stdin=subprocess.DEVNULL)


def json_of(case, process):
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    case.assertEqual(process.returncode, 0, stdout[-600:] + stderr)
    case.assertEqual(stderr, "")
    record = json.loads(stdout)
    case.assertNotIn("error", record)
    return record


def flows(record, side):
    return record[side]["flows"]


class RealClient(unittest.TestCase):
    """`iperf3 -c` against our server."""

    def run_client(self, *arguments, server=None, host="127.0.0.1"):
        with contextlib.ExitStack() as stack:
            server = server or stack.enter_context(Server())
            record = json_of(self, real_client(server.port, *arguments, host=host))
            event = server.event("finished")
        self.assertEqual(event["why"], "")
        self.check_agreement(event)
        return record, event

    def check_agreement(self, event):
        """Nobody received more than was sent, and what both sides noted is of the same streams."""
        own, its = flows(event, "own"), flows(event, "peer")
        self.assertEqual(len(own), len(its))
        self.assertGreater(sum(flow["bytes"] for flow in own + its), 0)

    def check_streams(self, record, event, sends):
        """The client's own table shows the server's numbers. `sends`: of each stream, whether the
        client does."""
        streams = record["end"]["streams"]
        self.assertEqual(len(streams), len(sends))
        for stream, ours, sending in zip(streams, flows(event, "own"), sends):
            self.assertEqual(stream["sender"]["sender"], sending)
            self.assertEqual(stream["receiver" if sending else "sender"]["bytes"], ours["bytes"])
            self.assertGreater(ours["bytes"], 0)

    def test_tcp(self):
        record, event = self.run_client("-t", "1")
        self.check_streams(record, event, [True])
        self.assertLessEqual(flows(event, "own")[0]["bytes"], flows(event, "peer")[0]["bytes"])
        self.assertEqual(record["end"]["receiver_tcp_congestion"], event["own"]["congestion"])

    def test_reverse(self):
        record, event = self.run_client("-t", "1", "-R")
        self.check_streams(record, event, [False])
        self.assertLessEqual(flows(event, "peer")[0]["bytes"], flows(event, "own")[0]["bytes"])
        self.assertGreaterEqual(flows(event, "own")[0]["retransmits"], 0)

    def test_both_directions(self):
        record, event = self.run_client("-t", "1", "--bidir", "-P", "2")
        self.check_streams(record, event, [True, True, False, False])

    def test_parallel(self):
        record, event = self.run_client("-t", "1", "-P", "4")
        self.check_streams(record, event, [True] * 4)

    def test_numbers_of_bytes_and_blocks(self):
        for arguments in (("-n", "5M"), ("-n", "5M", "-R"), ("-n", "5M", "-P", "3"),
                          ("-k", "40", "-l", "8k"),
                          ("-n", "300000", "-u", "-b", "10M", "-l", "1000")):
            with self.subTest(arguments=arguments):
                record, event = self.run_client(*arguments)
                sent = record["end"]["sum_sent" if "-u" not in arguments else "sum"]["bytes"]
                least = {"5M": 5 << 20, "40": 40 * 8192, "300000": 300000}[arguments[1]]
                self.assertGreaterEqual(sent, least)
                if "-R" in arguments:  # no more than was asked for
                    self.assertEqual(flows(event, "own")[0]["bytes"], least)
                if "-u" in arguments:
                    ours, theirs = flows(event, "own")[0], flows(event, "peer")[0]
                    self.assertLessEqual(ours["messages"] + ours["lost"], theirs["messages"])
                elif "-R" not in arguments:  # all that was sent has arrived
                    self.assertEqual([flow["bytes"] for flow in flows(event, "own")],
                                     [flow["bytes"] for flow in flows(event, "peer")])

    def test_settings(self):
        record, event = self.run_client("-t", "1", "-l", "16k", "-w", "128k", "-N", "-M", "1400",
                                        "-C", "reno", "-S", "32", "-b", "80M")
        self.check_streams(record, event, [True])
        self.assertEqual(event["own"]["congestion"], "reno")
        self.assertLess(flows(event, "own")[0]["bytes"], 12_000_000)

    def test_omitted_time(self):
        for arguments in ((), ("-R",), ("-u", "-b", "20M"), ("-u", "-b", "20M", "-R")):
            with self.subTest(arguments=arguments):
                _, event = self.run_client("-t", "1", "-O", "1", "-b", "20M", *arguments)
                flow = flows(event, "own")[0]
                self.assertLess(flow["bytes"], 4_000_000)  # of 5 in two seconds
                if "-u" in arguments:
                    self.assertGreater(flow["omitted"], 0)

    def test_datagrams(self):
        for arguments in ((), ("-R",), ("--bidir",), ("-P", "4"), ("--udp-counters-64bit",),
                          ("--udp-counters-64bit", "-R"), ("-l", "64")):
            with self.subTest(arguments=arguments):
                rate = "1M" if "-l" in arguments else "10M"
                length = () if "-l" in arguments else ("-l", "1400")
                record, event = self.run_client("-t", "1", "-u", "-b", rate, *length, *arguments)
                size = 64 if "-l" in arguments else 1400
                for ours, theirs in zip(flows(event, "own"), flows(event, "peer")):
                    self.assertEqual(ours["bytes"], size * ours["messages"])
                    self.assertGreater(theirs["messages"] + ours["messages"], 0)
                self.assertEqual(record["start"]["test_start"]["protocol"], "UDP")

    def test_ipv6_and_every_address(self):
        for bind, host in (("[::1]", "::1"), ("[::]", "::1"), ("[::]", "127.0.0.1"),
                           ("0.0.0.0", "127.0.0.2")):
            for arguments in ((), ("-u", "-b", "10M", "-l", "1000", "-P", "2")):
                with self.subTest(bind=bind, host=host, arguments=arguments), \
                        Server(address=bind) as server:
                    self.run_client("-n", "100k", *arguments, server=server, host=host)

    def test_several_at_once(self):
        kinds = (("-R",), ("-u", "-b", "10M", "-P", "3", "-l", "1000"), ("--bidir",),
                 ("-u", "-b", "5M", "-R", "-l", "1000"), ("-u", "-b", "5M", "-P", "2", "-l", "500"),
                 ("-P", "3"))
        with Server() as server:
            clients = [real_client(server.port, "-t", "1", *kind) for kind in kinds]
            records = [json_of(self, client) for client in clients]
            events = [server.event("finished") for _ in clients]
        self.assertEqual([event["why"] for event in events], [""] * len(kinds))
        # Every stream has come to its own test.
        lengths = sorted(len(flows(event, "own")) for event in events)
        self.assertEqual(lengths, [1, 1, 2, 2, 3, 3])
        self.assertTrue(all(record["end"]["streams"] for record in records))

    def test_called_off(self):
        with Server() as server:
            client = real_client(server.port, "-t", "30")
            server.event("interval")
            client.send_signal(2)
            client.communicate(timeout=PATIENCE_S)
            event = server.event("finished")
            self.assertIn(event["why"], ("the client called the test off",
                                         "the client closed the control connection"))
            killed = real_client(server.port, "-t", "30", "-R")
            server.event("interval")
            killed.kill()
            killed.communicate()
            self.assertNotEqual(server.event("finished")["why"], "")
            self.run_client("-n", "1M", server=server)

    def test_limits_are_said(self):
        with Server(8, 1) as server:
            first = real_client(server.port, "-t", "2")
            server.event("accepted")
            second = real_client(server.port, "-n", "1M")
            said = json.loads(second.communicate(timeout=PATIENCE_S)[0])["error"]
            self.assertIn("busy running a test", said)
            json_of(self, first)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def real_server(case):
    """`iperf3 -s` that must not have complained in the end."""
    port = free_port()
    process = subprocess.Popen([IPERF3, "-s", "-B", "127.0.0.1", "-p", str(port), "--forceflush"],
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        process.stdout.readline()  # a line of dashes: it listens
        yield port
    finally:
        time.sleep(0.1)
        process.terminate()
        output = process.communicate(timeout=PATIENCE_S)[0]
    for line in output.splitlines():
        if "error" in line.lower() or "unexpectedly" in line:
            case.assertIn("interrupt - the server has terminated", line, output)


def our_client(port, *words):
    return subprocess.run([PEER, "client", "127.0.0.1", str(port), *words], text=True,
                          capture_output=True, timeout=PATIENCE_S, check=False)


class RealServer(unittest.TestCase):
    """Our client against `iperf3 -s`."""

    def client(self, port, *words):
        # It serves one at a time, and is gone for a moment after each.
        done = our_client(port, "patience_ms=10000", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)

    def test_streams(self):
        with real_server(self) as port:
            for words in ((), ("reverse",), ("bidirectional",), ("streams=4",),
                          ("bidirectional", "streams=2"), ("length=16384", "nodelay", "tos=32"),
                          ("window=131072", "mss=1400", "congestion=reno"), ("rate=80000000",)):
                with self.subTest(words=words):
                    record = self.client(port, "ms=500", *words)
                    own, its = flows(record, "own"), flows(record, "peer")
                    self.assertEqual(len(own), len(its))
                    for ours, theirs in zip(own, its):
                        self.assertGreater(ours["bytes"], 0)
                        self.assertGreater(theirs["bytes"], 0)
                        # Within what was on its way.
                        self.assertLess(abs(ours["bytes"] - theirs["bytes"]), 100 << 20)
                        self.assertGreaterEqual(ours["retransmits"] + theirs["retransmits"], -1)

    def test_numbers_of_bytes(self):
        with real_server(self) as port:
            for words in ((), ("reverse",), ("streams=3",)):
                with self.subTest(words=words):
                    record = self.client(port, "bytes=5000000", *words)
                    self.assertGreaterEqual(
                        sum(flow["bytes"] for flow in flows(record, "own")), 5_000_000)

    def test_omitted_time(self):
        with real_server(self) as port:
            record = self.client(port, "ms=1000", "omit_ms=1000", "rate=20000000")
            for side in ("own", "peer"):
                self.assertLess(flows(record, side)[0]["bytes"], 4_000_000)

    def test_datagrams(self):
        with real_server(self) as port:
            for words in ((), ("reverse",), ("bidirectional", "streams=2"), ("wide",),
                          ("wide", "reverse"), ("streams=4",)):
                with self.subTest(words=words):
                    record = self.client(port, "udp", "ms=500", "rate=10000000", "length=1400",
                                         *words)
                    for ours, theirs in zip(flows(record, "own"), flows(record, "peer")):
                        self.assertEqual(ours["bytes"], 1400 * ours["messages"])
                        self.assertGreater(theirs["messages"], 0)

    def test_one_after_the_other(self):
        with real_server(self) as port:
            for _ in range(10):
                self.client(port, "bytes=1000")

    def test_busy(self):
        with real_server(self) as port:
            with subprocess.Popen([IPERF3, "-c", "127.0.0.1", "-p", str(port), "-t", "2",
                                   "--forceflush"], text=True, stdout=subprocess.PIPE) as first:
                while "connected to" not in first.stdout.readline():
                    self.assertIsNone(first.poll())
                done = our_client(port, "bytes=1")
                self.assertEqual(done.returncode, 1)
                self.assertIn("the server is busy running a test", done.stderr)
                first.stdout.read()
            self.assertEqual(first.returncode, 0)


class FakeServer:
    """Answers a client with these bytes, a second time after each time it was heard."""

    def __init__(self, *answers, close=True):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", self.port))
        self.answers, self.close = answers, close
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        client, _ = self.listener.accept()
        with client, self.listener, self.datagrams:
            for answer in self.answers:
                if not client.recv(65536):
                    return
                client.sendall(answer)
            if not self.close:
                while client.recv(65536):
                    pass


class BadServers(unittest.TestCase):
    def check(self, expected, *answers, close=True, words=()):
        server = FakeServer(*answers, close=close)
        done = our_client(server.port, "deadline_ms=500", *words)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(expected, done.stderr)
        self.assertIn("127.0.0.1:%d" % server.port, done.stderr)
        server.thread.join(PATIENCE_S)

    def test_each_has_a_name(self):
        self.check("no answer in time: PARAM_EXCHANGE is due", close=False)
        self.check("closed the control connection: PARAM_EXCHANGE is due", b"")
        self.check("is it an iperf3 server?", b"SSH-2.0-OpenSSH\r\n")
        self.check("the server is busy running a test", b"\xff")
        self.check("that congestion control is not available there",
                   b"\x09", b"\xfe" + struct.pack(">ii", 134, 2))
        self.check("for a reason of its own (iperf3's error 9999)",
                   b"\x09", b"\xfe" + struct.pack(">ii", 9999, 0))
        self.check("the server was terminated", b"\x09", b"\x0b")
        self.check("sent 16 (IPERF_DONE) where CREATE_STREAMS is due", b"\x09", b"\x10")
        self.check("closed the control connection: why it refuses", b"\x09", b"\xfe\0\0")
        self.check("no datagram came back", b"\x09", b"\x0a", close=False, words=("udp",))

    def test_nobody_there(self):
        done = our_client(free_port())
        self.assertEqual(done.returncode, 1)
        self.assertIn("Connection refused: start one there: iperf3 -s", done.stderr)


def frame(text):
    return struct.pack(">I", len(text)) + text


class Hostile(unittest.TestCase):
    """Clients that do not behave; a good one beside them is served."""

    def good(self, server, *arguments):
        record = json_of(self, real_client(server.port, "-n", "1M", *arguments))
        self.assertGreaterEqual(record["end"]["sum_sent"]["bytes"], 1 << 20)

    def answer(self, server, *messages):
        """What the server says to somebody who says all this, until it closes."""
        with server.connect() as client:
            try:
                for message in messages:
                    client.sendall(message)
            except OSError:
                pass
            said = b""
            try:
                while part := client.recv(4096):
                    said += part
            except ConnectionResetError:
                pass
            return said

    def check_refused(self, server, reason, *messages):
        said = self.answer(server, *messages)
        self.assertEqual(said[-9:-4], b"\xfe" + struct.pack(">i", reason), said)

    def test_wrong_messages(self):
        with Server(0, 0, 500) as server:
            good = COOKIE
            self.check_refused(server, 106, b"GET / HTTP/1.0\r\n\r\n" + b" " * 40)
            self.check_refused(server, 106, b"\0" * 37)
            for body in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\1\0\1", frame(b"no JSON"),
                         frame(b"[]"), frame(b'{"tcp":true,"tcp":true}'),
                         frame(b'{"num":"1"}'), frame(b"[" * 60000)):
                self.check_refused(server, 114, good, body)
            self.check_refused(server, 6, good, frame(b'{"tcp":true,"parallel":100000}'))
            self.check_refused(server, 7, good, frame(b'{"tcp":true,"len":1000000000}'))
            self.check_refused(server, 131, good, frame(b'{"sctp":true}'))
            self.check_refused(server, 110, good, frame(b'{"tcp":true}'), b"\x04")
            self.check_refused(server, 110, good, frame(b'{"tcp":true}'), b"\x63")
            # Too little, and too slowly.
            self.check_refused(server, 106, good[:20])
            self.check_refused(server, 114, good, frame(b'{"tcp":true}')[:9])
            self.check_refused(server, 204, good, frame(b'{"tcp":true}'))
            self.good(server)

    def start_test(self, server, parameters=b'{"tcp":true,"time":60}', cookie=COOKIE):
        """A control connection and a data connection of a test that runs."""
        control = server.connect()
        control.sendall(cookie)
        self.assertEqual(control.recv(1), b"\x09")
        control.sendall(frame(parameters))
        self.assertEqual(control.recv(1), b"\x0a")
        data = server.connect()
        data.sendall(cookie)
        running = b""
        while len(running) < 2:
            running += control.recv(2)
        self.assertEqual(running, b"\x01\x02")
        return control, data

    def test_wrong_results(self):
        with Server(0, 0, 500) as server:
            for body in (b"\0\0\0\0", b"\0\x10\0\0", frame(b"{}"),
                         frame(b'{"cpu_util_total":0,"cpu_util_user":0,"cpu_util_system":0,'
                               b'"sender_has_retransmits":0,"streams":7}')):
                control, data = self.start_test(server)
                with control, data:
                    control.sendall(b"\x04")
                    self.assertEqual(control.recv(1), b"\x0d")
                    control.sendall(body)
                    self.assertEqual(control.recv(9)[:5], b"\xfe" + struct.pack(">i", 117))
                self.assertIn("results: ", server.event("finished")["why"])
            control, data = self.start_test(server)
            with control, data:
                control.sendall(b"\x04")
                self.assertEqual(control.recv(1), b"\x0d")
                self.assertIn("results did not come in time", server.event("finished")["why"])

    def test_a_cookie_cannot_be_taken_over(self):
        with Server() as server:
            control, data = self.start_test(server)
            with control, data:
                self.assertEqual(self.answer(server, COOKIE), b"\xff")  # it has its streams
                self.good(server)

    def test_beside_those_who_do_nothing(self):
        with Server(16, 4, 10000) as server:
            idle = [server.connect() for _ in range(20)]      # more than it remembers
            half = [server.connect() for _ in range(5)]
            for client in half:
                client.sendall(COOKIE[:9])
            control, data = self.start_test(server, b'{"tcp":true,"reverse":true}')
            stuck = server.connect()  # asks for streams and makes none
            stuck.sendall(COOKIE[1:-1] + b"x\0" + frame(b'{"tcp":true,"parallel":8}'))
            try:
                self.good(server)
                self.good(server, "-R", "-P", "2")
            finally:
                for client in [*idle, *half, control, data, stuck]:
                    client.close()

    def test_a_slow_one(self):
        with Server(0, 0, 10000) as server, server.connect() as slow:
            over = threading.Event()

            def drip():
                for byte in COOKIE + frame(b'{"tcp":true}'):
                    slow.sendall(bytes([byte]))
                    if over.wait(0.05):
                        return

            thread = threading.Thread(target=drip)
            thread.start()
            self.good(server)
            over.set()
            thread.join()

    def test_a_flood(self):
        with Server(64, 0, 10000) as server:
            flood = []
            for number in range(2000):
                client = socket.socket()
                client.settimeout(PATIENCE_S)
                client.connect(("127.0.0.1", server.port))
                flood.append(client)
                if number % 3 == 0:
                    client.sendall(b"%036d\0" % number)
            try:
                self.good(server)
                self.assertEqual(flood[1].recv(10), b"\xff")  # one of the first gave way
            finally:
                for client in flood:
                    client.close()
            self.good(server)

    def test_datagrams_of_strangers(self):
        with Server() as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.9", 0))
            stranger.settimeout(0.3)
            with server.connect() as control:
                control.sendall(COOKIE + frame(b'{"udp":true}'))
                self.assertEqual(control.recv(1), b"\x09")
                self.assertEqual(control.recv(1), b"\x0a")
                for hello in (b"9876", b"6789", b"x", b"y" * 1000):
                    stranger.sendto(hello, ("127.0.0.1", server.port))
                with self.assertRaises(TimeoutError):
                    stranger.recv(100)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as known:
                    known.bind(("127.0.0.1", 0))
                    known.settimeout(PATIENCE_S)
                    known.sendto(b"junk", ("127.0.0.1", server.port))
                    known.sendto(b"9876", ("127.0.0.1", server.port))
                    self.assertEqual(known.recv(100), b"6789")

    def test_turns(self):
        """Greetings name no test: of one host, one test at a time waits for them."""
        with Server() as server, server.connect() as first, server.connect() as second, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
            for number, client in enumerate((first, second)):
                client.sendall(b"%036d\0" % number + frame(b'{"udp":true}'))
                self.assertEqual(client.recv(1), b"\x09")
                server.event("accepted")
            self.assertEqual(first.recv(1), b"\x0a")
            second.settimeout(0.2)
            with self.assertRaises(TimeoutError):
                second.recv(1)
            second.settimeout(PATIENCE_S)
            stream.settimeout(PATIENCE_S)
            stream.sendto(b"\x15\xcd\x5b\x07", ("127.0.0.1", server.port))
            self.assertEqual(stream.recv(100), b"\xb1\x68\xde\x3a")
            self.assertEqual(first.recv(1), b"\x01")
            self.assertEqual(second.recv(1), b"\x0a")

    def test_one_that_holds_the_turn(self):
        """Datagrams of one host: a test that never greets does not stop the next one for long."""
        with Server() as server, server.connect() as holder:
            holder.sendall(COOKIE + frame(b'{"udp":true}'))
            self.assertEqual(holder.recv(1), b"\x09")
            self.assertEqual(holder.recv(1), b"\x0a")
            record = json_of(self, real_client(server.port, "-u", "-n", "100k", "-b", "10M"))
            self.assertGreaterEqual(record["end"]["sum"]["bytes"], 100 << 10)


if __name__ == "__main__":
    unittest.main()
