"""`sonde ping`: every transport through every engine, exact counts of calls, and a network that
loses, repeats and reorders."""

import os
import re
import select
import shutil
import socket
import threading
import time
import unittest

from sonde_program import (PATIENCE_S, Folder, Misbehaving, Serving, answers_too_much, check_one_line,
                           checked_record, closes_at_once, echoes, end, engines, metric,
                           never_answers, read_record, run, start)

TRANSPORTS = ("tcp:", "udp:", "unix:", "unix-dgram:", "local:", "pipe:")
DATAGRAMS = ("udp:", "unix-dgram:")
COUNTS = ("lost", "duplicated", "out_of_order", "late", "invalid")


def ping_record(case, *arguments, stderr="", **options):
    """`sonde ping --json` that has to succeed."""
    done = run("ping", "--json", "-q", *arguments, **options)
    case.assertEqual(done.returncode, 0, done.stderr)
    case.assertEqual(done.stderr, stderr)
    record = checked_record(case, done.stdout)
    case.assertTrue(record["complete"])
    return record


def ping(case, *arguments, **options):
    return ping_record(case, *arguments, **options)["runs"][0]


def counts(one):
    return {name: metric(one, "messages_" + name) for name in COUNTS}


def calls_of(one, role):
    process = next(p for p in one["processes"] if p["role"] == role)
    return {c["name"]: c["calls"] - c["errors"].get("EAGAIN", 0)
            for c in process["engine_calls"]["syscalls"]}


class Transports(unittest.TestCase):
    NOTHING = dict.fromkeys(COUNTS, 0)

    def check(self, one, count):
        self.assertEqual(metric(one, "round_trips"), count)
        self.assertEqual(metric(one, "messages_sent"), count)
        self.assertEqual(counts(one), self.NOTHING)
        self.assertEqual(one["histograms"]["response_time"]["count"], count)
        self.assertEqual(one["histograms"]["service_time"]["count"], count)

    def test_each_engine(self):
        for engine in engines():
            for transport in TRANSPORTS:
                for size in ("1", "64", "9000"):
                    with self.subTest(engine=engine, transport=transport, size=size):
                        self.check(ping(self, transport, "-e", engine, "-m", size, "-n", "500"),
                                   500)

    def test_several_connections(self):
        for engine in engines():
            for transport in TRANSPORTS:
                with self.subTest(engine=engine, transport=transport):
                    self.check(ping(self, transport, "-e", engine, "-c", "5", "-n", "1000"), 1000)

    def test_bursts(self):
        for engine in engines():
            for transport in TRANSPORTS:
                with self.subTest(engine=engine, transport=transport):
                    self.check(ping(self, transport, "-e", engine, "--burst", "10", "-n", "995"),
                               995)

    def test_a_schedule(self):
        for engine in engines():
            for transport in TRANSPORTS:
                with self.subTest(engine=engine, transport=transport):
                    # --high: what has waited for a CPU must not overflow a socket all at once.
                    one = ping(self, transport, "-e", engine, "-r", "2k", "--burst", "2", "-n",
                               "400", "--high", "64")
                    self.check(one, 400)
                    self.assertEqual(one["histograms"]["send_lag"]["count"], 400)

    def test_spinning(self):
        for engine in engines():
            for transport in TRANSPORTS:
                with self.subTest(engine=engine, transport=transport):
                    self.check(ping(self, transport, "-e", engine, "--busy-poll", "-n", "200"), 200)

    def test_the_default_is_threads(self):
        self.assertEqual(ping(self, "-n", "10")["label"], "threads")

    def test_the_null_engine(self):
        self.check(ping(self, "-e", "null", "--burst", "7", "-n", "1000"), 1000)

    def test_text_has_what_was_lost_and_how_times_spread(self):
        done = run("ping", "udp:", "-n", "3000", "-q")
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("round trips/s", "p50", "p99.9", "p25", "p99.999", "deviation", "lost",
                     "duplicated", "out of order"):
            self.assertIn(word, done.stdout)


class Servers(unittest.TestCase):
    def test_serve(self):
        folder = Folder(self)
        for address in ("udp://127.0.0.1:0", "udp://[::1]:0", "ping+udp://127.0.0.1:0",
                        "unix-dgram:" + folder.file("d"), "ping+tcp://127.0.0.1:0",
                        "ping+unix:" + folder.file("s"), "tcp://127.0.0.1:0",
                        "sockperf+udp://127.0.0.1:0", "sockperf+tcp://127.0.0.1:0"):
            for engine in engines():
                with self.subTest(address=address, engine=engine), \
                        Serving("--json=" + folder.file("json"), "-e", engine, "-m", "64",
                                address) as server:
                    one = ping(self, server.address, "-n", "300", "--burst", "3")
                    self.assertEqual(metric(one, "round_trips"), 300)
                    self.assertEqual(counts(one), dict.fromkeys(COUNTS, 0))
                    done = server.stop()
                    self.assertEqual(done.returncode, 0, done.stderr)
                    if address.startswith("tcp"):
                        continue
                    served = read_record(self, folder.file("json"))["runs"][0]
                    self.assertEqual(metric(served, "server_messages"), 300)
                    self.assertEqual(metric(served, "server_answers"), 300)
                    self.assertEqual(metric(served, "server_invalid"), 0)

    def test_an_answer_is_not_answered(self):
        """Of one byte and of many: else two servers could be set on each other, or one on itself."""
        folder = Folder(self)
        with Serving("udp://127.0.0.1:0", "--json=" + folder.file("json")) as server, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(("127.0.0.1", int(server.address.rsplit(":", 1)[1])))
            for message in (b"\0", b"\x7f", b"message", bytes(9000)):
                client.send(message)
                answer = client.recv(65536)
                self.assertEqual(answer, bytes([message[0] | 0x80]) + message[1:])
                client.send(answer)
                client.send(b"")
            client.send(b"the next")
            self.assertEqual(client.recv(65536)[1:], b"he next") # and nothing before it
            server.stop()
        served = read_record(self, folder.file("json"))["runs"][0]
        self.assertEqual(metric(served, "server_answers"), 5)
        self.assertEqual(metric(served, "server_invalid"), 8)

    def test_one_process_serves_one_kind(self):
        line = check_one_line(self, run("serve", "tcp://127.0.0.1:0", "udp://127.0.0.1:0"), 2)
        self.assertIn("another sonde serve", line)

    def test_any_server_that_echoes(self):
        with Misbehaving(echoes) as server:
            self.assertEqual(metric(ping(self, server.address, "-n", "100"), "round_trips"), 100)

    def test_servers_that_do_not_answer_well(self):
        for handle, reason in ((answers_too_much, "an answer to a message that was never sent"),
                               (closes_at_once, "closed the connection")):
            with self.subTest(reason=reason), Misbehaving(handle) as server:
                done = run("ping", server.address, "-n", "100", "-q")
                self.assertIn(reason, check_one_line(self, done, 1))

    def test_a_stream_that_never_answers(self):
        with Misbehaving(never_answers) as server:
            done = run("ping", server.address, "-d", "200ms", "-w", "0", "--drain", "100ms", "-q")
            self.assertEqual(done.returncode, 1)

    def test_nobody_listens_to_datagrams(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        done = run("ping", "udp://127.0.0.1:%d" % port, "-n", "5", "--timeout", "20ms", "--json",
                   "-q")
        self.assertEqual(done.returncode, 1)
        one = checked_record(self, done.stdout)["runs"][0]
        self.assertIn("ECONNREFUSED", {error["name"] for error in one["errors"]})

    def test_what_was_lost_was_sent(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            address = "udp://127.0.0.1:%d" % free.getsockname()[1]
        for arguments in (("--timeout", "10ms"), ("--rate", "20k")):
            with self.subTest(arguments=arguments):
                done = run("ping", address, "-d", "300ms", "--json", "-q", *arguments)
                self.assertEqual(done.returncode, 1)
                one = checked_record(self, done.stdout)["runs"][0]
                self.assertLessEqual(metric(one, "messages_lost"), metric(one, "messages_sent"))
                errors = [error for process in one["processes"]
                          for call in process["engine_calls"]["syscalls"]
                          for error in call["errors"]]
                self.assertIn("ECONNREFUSED", errors)
                self.assertNotIn("other", errors)

    def test_a_server_of_datagrams_that_ends(self):
        """Nobody says that it is gone: that no answer came any more fails the run."""
        for arguments in ((), ("--rate", "2000")):
            with self.subTest(arguments=arguments), Serving("udp://127.0.0.1:0") as server:
                client = start("ping", server.address, "-d", "2", "-w", "0", "--timeout", "100ms",
                               "-i", "200ms", "--json", "-q", *arguments)
                time.sleep(0.8)
                server.process.kill()
                done = end(client, time.monotonic())
                self.assertIn("nothing was answered after", check_one_line(self, done, 1))
                one = checked_record(self, done.stdout)["runs"][0]
                self.assertFalse(one["complete"])
                self.assertGreater(metric(one, "round_trips"), 0)

    def test_wrong_options(self):
        for arguments, word in ((("-m", "1", "--burst", "200"), "--burst"),
                                (("-m", "10", "sockperf+udp://127.0.0.1:1"), "14 bytes"),
                                (("-m", "100k"), "--receive-buffer"),
                                (("--burst", "9", "--high", "8"), "--high"),
                                (("sockperf+utp://127.0.0.1:1",), "utp")):
            with self.subTest(arguments=arguments):
                self.assertIn(word, check_one_line(self, run("ping", *arguments), 2))


class Relay:
    """Between a client of datagrams and a server: `treat(number, message)` gives what to send on
    instead of the number-th message to the server, as a list; held back is what it returns later."""

    def __init__(self, server_address, treat):
        host, port = server_address.rsplit("//", 1)[1].rsplit(":", 1)
        self.server = (host, int(port))
        self.treat = treat
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for one in (self.front, self.back):
            one.bind(("127.0.0.1", 0))
        self.address = "udp://127.0.0.1:%d" % self.front.getsockname()[1]
        self.over = threading.Event()
        self.number = 0
        self.thread = threading.Thread(target=self.relay, daemon=True)
        self.thread.start()

    def relay(self):
        client = None
        while not self.over.is_set():
            for ready in select.select([self.front, self.back], [], [], 0.05)[0]:
                data, peer = ready.recvfrom(65536)
                if ready is self.back:
                    self.front.sendto(data, client)
                    continue
                client = peer
                self.number += 1
                for message in self.treat(self.number, data):
                    self.back.sendto(message, self.server)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(PATIENCE_S)
        self.front.close()
        self.back.close()


class Lossy(unittest.TestCase):
    """Exactly what a relay does to the messages is what the client counts."""

    def relayed(self, treat, *arguments):
        with Serving("udp://127.0.0.1:0") as server, Relay(server.address, treat) as relay:
            one = ping(self, relay.address, "--timeout", "300ms", *arguments)
            return one, relay.number

    def test_lost(self):
        for engine in engines():
            with self.subTest(engine=engine):
                one, number = self.relayed(
                    lambda number, data: [] if number % 20 == 0 else [data], "-n", "100", "-e",
                    engine)
                self.assertEqual(number, 100)
                self.assertEqual(counts(one), {**dict.fromkeys(COUNTS, 0), "lost": 5})
                self.assertEqual(metric(one, "round_trips"), 95)
                self.assertEqual(one["histograms"]["response_time"]["count"], 95)
                # In no latency: none has waited for the timeout.
                self.assertLess(one["histograms"]["service_time"]["max"], 300e6)

    def test_lost_beside_a_schedule(self):
        one, number = self.relayed(lambda number, data: [] if number % 10 == 0 else [data],
                                   "-n", "500", "-r", "1000")
        self.assertEqual(number, 500)
        self.assertEqual(counts(one), {**dict.fromkeys(COUNTS, 0), "lost": 50})
        self.assertEqual(metric(one, "round_trips"), 450)

    def test_lost_at_the_end_of_a_window(self):
        one, number = self.relayed(lambda number, data: [] if number > 20 else [data],
                                   "-d", "200ms", "-w", "0", "--timeout", "600ms")
        self.assertEqual(number, 21)
        self.assertEqual(metric(one, "messages_lost"), 1)
        self.assertEqual(metric(one, "unfinished"), 0)

    def test_duplicated(self):
        # The last but two at the latest: a copy that comes after the end is not seen.
        one, _ = self.relayed(
            lambda number, data: [data, data] if number % 10 == 5 else [data], "-n", "100")
        self.assertEqual(counts(one), {**dict.fromkeys(COUNTS, 0), "duplicated": 10})
        self.assertEqual(metric(one, "round_trips"), 100)

    def test_reordered(self):
        held = []

        def treat(number, data):
            """The third of each ten goes behind the seventh."""
            if number % 10 == 3:
                held.append(data)
                return []
            return [data, held.pop()] if number % 10 == 7 else [data]

        one, _ = self.relayed(treat, "--burst", "10", "-n", "200")
        self.assertEqual(counts(one), {**dict.fromkeys(COUNTS, 0), "out_of_order": 20})
        self.assertEqual(metric(one, "round_trips"), 200)

    def test_late(self):
        held = []

        def treat(number, data):
            """The fifth waits until the client has given it up and goes on."""
            if number == 5:
                held.append(data)
                return []
            return [held.pop(), data] if number == 6 else [data]

        one, _ = self.relayed(treat, "-n", "20")
        self.assertEqual(counts(one), {**dict.fromkeys(COUNTS, 0), "lost": 1, "late": 1})
        self.assertEqual(metric(one, "round_trips"), 19)

    def test_all_of_it_with_one_byte_numbers(self):
        held = []

        def treat(number, data):
            place = number % 20
            if place == 2:
                return []
            if place == 4:
                held.append(data)
                return []
            return {9: lambda: [data, held.pop()], 12: lambda: [data, data]}.get(
                place, lambda: [data])()

        one, number = self.relayed(treat, "-m", "1", "--burst", "20", "-n", "600")
        self.assertEqual(number, 600)
        self.assertEqual(counts(one), {"lost": 30, "duplicated": 30, "out_of_order": 30, "late": 0,
                                       "invalid": 0})
        self.assertEqual(metric(one, "round_trips"), 570)

    def test_what_is_no_answer(self):
        one, _ = self.relayed(lambda number, data: [data + b"!", data] if number < 11 else [data],
                              "-n", "50")
        self.assertEqual(counts(one), {**dict.fromkeys(COUNTS, 0), "invalid": 10})
        self.assertEqual(metric(one, "round_trips"), 50)


class Stamps(unittest.TestCase):
    PARTS = ("send_call", "network", "wake_up")
    SO_TIMESTAMPING = 37
    SOFTWARE = 1 << 3 | 1 << 4 # of what is received, and reported

    @classmethod
    def setUpClass(cls):
        """The kernel begins to stamp some time after the first socket has asked for it, by a worker
        of its own. A socket that lasts has asked, and has seen that it does."""
        cls.holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        cls.addClassCleanup(cls.holder.close)
        cls.holder.bind(("127.0.0.1", 0))
        cls.holder.setsockopt(socket.SOL_SOCKET, cls.SO_TIMESTAMPING, cls.SOFTWARE)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            cls.holder.sendto(b"?", cls.holder.getsockname())
            if any(kind == cls.SO_TIMESTAMPING and any(data[:16])
                   for _, kind, data in cls.holder.recvmsg(1, 256)[1]):
                return
        raise RuntimeError("the kernel does not stamp")

    def test_they_add_up(self):
        for transport in ("udp:", "tcp:"):
            for engine in engines():
                with self.subTest(transport=transport, engine=engine):
                    one = ping(self, transport, "-e", engine, "--stamps", "-n", "2000")
                    histograms = one["histograms"]
                    # The kernel stamps already: one in flight, and none is missing.
                    self.assertEqual(metric(one, "round_trips_unstamped"), 0)
                    for part in self.PARTS:
                        self.assertEqual(histograms[part]["count"], 2000, part)
                    if metric(one, "clock_regressions") == 0:
                        # The same instants: only that two clocks are read, one after the other.
                        summed = sum(histograms[part]["mean"] for part in self.PARTS)
                        whole = histograms["service_time"]["mean"]
                        self.assertAlmostEqual(summed / whole, 1, delta=0.1)
                    for part in ("wake_up", "application", "send_call"):
                        self.assertGreater(histograms["server_" + part]["count"], 0, part)

    def test_none_are_asked_for(self):
        one = ping(self, "udp:", "-n", "20")
        self.assertNotIn("round_trips_unstamped", one["metrics"])

    def test_the_text(self):
        done = run("ping", "udp:", "--stamps", "-n", "500", "-q")
        self.assertEqual(done.returncode, 0, done.stderr)
        for row in ("send call", "network and peer", "wake-up (server)", "application (server)",
                    "network, both ways", "sum"):
            self.assertIn(row, done.stdout)

    def test_the_text_with_another_sonde(self):
        with Serving("sonde://127.0.0.1:0") as server:
            address = server.address.replace("sonde://", "sonde+udp://")
            done = run("ping", address, "--stamps", "-n", "500", "-q")
        self.assertEqual(done.returncode, 0, done.stderr)
        split = done.stdout[done.stdout.index("by the kernel's time stamps"):]
        for row in ("wake-up (server)", "application (server)", "network, both ways"):
            self.assertEqual(done.stdout.count(row), 1, row) # in no table of percentiles
            self.assertIn(row, split)

    def test_where_there_are_none(self):
        for transport in ("unix:", "unix-dgram:", "local:", "pipe:"):
            with self.subTest(transport=transport):
                line = check_one_line(self, run("ping", transport, "--stamps", "-n", "20"), 2)
                self.assertIn("--stamps", line)
                self.assertIn(transport[:-1], line)

    def test_several_in_flight(self):
        """Only of the latest send the kernel's stamp is known."""
        one = ping(self, "udp:", "--stamps", "--burst", "2", "-n", "20")
        for part in self.PARTS:
            self.assertLessEqual(one["histograms"][part]["count"], 10)
            self.assertEqual(one["histograms"][part]["count"],
                             20 - metric(one, "round_trips_unstamped"))


def strace_only(test):
    test = unittest.skipIf("SONDE_SANITIZED" in os.environ,
                           "the leak check cannot run under strace")(test)
    return unittest.skipUnless(shutil.which("strace"), "strace is not installed")(test)


class Counts(unittest.TestCase):
    """One send and one receive for each message, at both ends: as sonde counts them and as strace
    sees them."""

    NAMES = {"pipe:": ("write", "read"), None: ("sendto", "recvfrom")}

    def test_the_own_count(self):
        for transport in TRANSPORTS:
            send, receive = self.NAMES.get(transport, self.NAMES[None])
            with self.subTest(transport=transport):
                one = ping(self, transport, "-n", "1000")
                # The server is cut when the client has ended: its last moves may lie beyond.
                self.assertEqual(calls_of(one, "client")[send], 1000)
                self.assertEqual(calls_of(one, "client")[receive], 1000)
                self.assertLessEqual(calls_of(one, "server")[send], 1000)

    def test_a_look_is_one_call(self):
        """Spinning with stamps: those are asked for with each message, and not with each look."""
        one = ping(self, "udp:", "-e", "threads", "--busy-poll", "--stamps", "-n", "1000")
        process = next(p for p in one["processes"] if p["role"] == "client")
        calls = {c["name"]: c["calls"] for c in process["engine_calls"]["syscalls"]}
        self.assertLessEqual(calls["recvmmsg"], 2 * 1000)

    @strace_only
    def test_strace(self):
        for transport in TRANSPORTS:
            send, receive = self.NAMES.get(transport, self.NAMES[None])
            with self.subTest(transport=transport):
                folder = Folder(self)
                done = run("ping", transport, "-m", "61", "-n", "1000", "-q",
                           prefix=["strace", "-f", "-qq", "-o", folder.file("strace"), "-e",
                                   "trace=%s,%s" % (send, receive)])
                self.assertEqual(done.returncode, 0, done.stderr)
                with open(folder.file("strace"), encoding="utf-8") as file:
                    lines = file.read().splitlines()
                for name in (send, receive):
                    # Moves of 61 bytes, whichever thread is in the middle of one: both ends.
                    moved = sum(re.search(r"\b%s(\(| resumed>).* = 61$" % name, line) is not None
                                for line in lines)
                    self.assertEqual(moved, 2000, name)


@strace_only
class Waiting(unittest.TestCase):
    def test_nothing_but_sends_and_receives(self):
        """Blocking: no other call lies between the first send and the last receive."""
        folder = Folder(self)
        with Serving("udp://127.0.0.1:0") as server:
            done = run("ping", server.address, "-m", "61", "-n", "500", "-q",
                       prefix=["strace", "-f", "-qq", "-o", folder.file("strace")])
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(folder.file("strace"), encoding="utf-8") as file:
            begun = [match for line in file if (match := re.match(r"(\d+) +(\w+)\(", line))]
        worker = next(match[1] for match in begun if match[2] == "sendto")
        names = [match[2] for match in begun if match[1] == worker]
        first = names.index("sendto")
        last = len(names) - 1 - names[::-1].index("sendto")
        between = names[first:last + 1]
        others = {name for name in between} - {"sendto", "recvfrom"}
        # Once: the socket is made to block. A cut of the window reads the thread's own times.
        self.assertLessEqual(others, {"setsockopt", "fcntl", "getrusage", "openat", "read",
                                      "close"})


if __name__ == "__main__":
    unittest.main()
