"""The control channel: sonde's workloads through sonde://HOST:PORT and sonde+udp://HOST:PORT against
sonde serve, and strangers at its door."""

import concurrent.futures
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
import unittest

import sonde_program
from sonde_program import (Folder, Serving, PATIENCE_S, check_failed_record, check_one_line, end,
                           engines, metric, read_record, run, start, checked_record)

LOCAL = "sonde://127.0.0.1:0"
MOVED = 20 << 20
JUNK = 10000
AT_ONCE = 50


def secret_file(folder, name, text):
    path = folder.file(name)
    with open(path, "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        file.write(text)
    return path


def process(one, role):
    found = [entry for entry in one["processes"] if entry["role"] == role]
    return found[0]


def calls(entry, *names, counts="engine_calls"):
    rows = [row for row in entry[counts]["syscalls"] if row["name"] in names]
    return sum(row["bytes"] for row in rows)


def per_second(entry, *names):
    return calls(entry, *names) * 1e9 / entry["engine_calls"]["window_ns"]


def children(pid):
    """Processes that this one has started and that are still there."""
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/children" % (pid, task), encoding="ascii") as file:
                found += file.read().split()
        except FileNotFoundError:  # the thread has ended meanwhile
            pass
    return found


def until(condition):
    """Waits for it, as long as nothing takes unless it hangs."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end_s:
            raise AssertionError("it never came true")
        time.sleep(0.02)


def about_the_same(test, one, other):
    """The two ends are cut one after the other: on a busy machine their parts differ by what passed
    meanwhile, which has no bound that a test could know. What is counted twice, or in one of two
    parts only, differs by more than this."""
    test.assertGreater(one, other / 1.9)
    test.assertLess(one, other * 1.9)


# What this end sees of its own server's process, and of no other's.
OF_OWN_SERVER = {"server_" + name for name in (
    "memory_average", "memory_peak", "virtual_peak", "calls_per_mib", "switches_per_gib",
    "cpu_ns_per_gib", "waited_ns_per_gib")}


class Client:
    """A client of Python's own that says what it likes."""

    def __init__(self, serving):
        self.socket = serving.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send_text(self, text):
        self.socket.sendall(struct.pack(">I", len(text)) + text.encode())

    def send(self, message, **fields):
        self.send_text(json.dumps({"message": message, **fields}))

    def read(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def receive(self):
        (length,) = struct.unpack(">I", self.read(4))
        return json.loads(self.read(length))

    def hello(self):
        self.send("hello", version_least=1, version_most=1, program="a test")
        return self.receive()

    def prepare(self, **fields):
        message = {"workload": "call", "engine": "epoll", "transport": "tcp", "options": {},
                   "wire": {}, "connections": 1, "threads": 1, "observe": False}
        message.update(fields)
        self.send("prepare", **message)
        return self.receive()

    def is_closed(self):
        return is_closed(self.socket)


def is_closed(client):
    """Waits for the end of a connection, or for something to be said on it."""
    client.settimeout(PATIENCE_S)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def is_open(client):
    """Nothing has been said and it has not ended, though there was time for that."""
    return not select.select([client], [], [], 0.3)[0]


def data_hello(token, flow):
    return b"sOnd" + bytes([1, 0, 0, 0]) + struct.pack(">II", flow, 0) + bytes.fromhex(token)


class Runs(unittest.TestCase):
    def record(self, *arguments):
        done = run("call", "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        return checked_record(self, done.stdout)

    def test_both_ends_are_in_the_record(self):
        with Serving(LOCAL) as serving:
            for engine in engines():
                with self.subTest(engine):
                    record = self.record(serving.address, "-e", engine, "-n", "3000", "-m", "10",
                                         "-c", "3", "--high", "50")
                    one = record["runs"][0]
                    client, server = process(one, "client"), process(one, "server")
                    self.assertEqual(metric(one, "calls"), 3000)
                    for end_of_run in (client, server):
                        self.assertEqual(end_of_run["engine_calls"]["source"], "engine")
                        self.assertEqual(end_of_run["cpu_operations"] > 0, True)
                    self.assertEqual(server["name"], "sonde-server")
                    self.assertIn("received_size", one["histograms"])
                    received = one["histograms"]["server_received_size"]
                    self.assertEqual(received["role"], "server")
                    if engine != "uring":  # whose transfers are no calls
                        self.assertEqual(calls(client, "sendto"), 30000)
                        self.assertEqual(calls(server, "recvfrom"), 30000)
                        self.assertEqual(calls(server, "sendto"), 30000)
                        self.assertEqual(calls(client, "recvfrom"), 30000)
                    self.assertIn("server_received_bytes_per_second", one["metrics"])
                    self.assertIn("server_kernel", record["machine"])
            done = serving.stop()
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in done.stderr.splitlines():
            self.assertRegex(line, r"^sonde: session \d+: client 127\.0\.0\.1:\d+, call over tcp "
                                   r"\(\w+\), 3 connections, .*, received 30,000 bytes")

    def test_it_is_the_same_kind_of_record_as_with_an_own_server(self):
        with Serving(LOCAL) as serving:
            here = self.record("-d", "0.3", "--high", "8")
            there = self.record(serving.address, "-d", "0.3", "--high", "8")
        for key in ("metrics", "histograms"):
            self.assertEqual(here["runs"][0][key].keys() - OF_OWN_SERVER,
                             there["runs"][0][key].keys())
        for role in ("client", "server"):
            self.assertEqual(process(here["runs"][0], role).keys(),
                             process(there["runs"][0], role).keys())
        one = there["runs"][0]
        # Per second of its own window, the server received what the client sent in its.
        about_the_same(self, metric(one, "server_received_bytes_per_second"),
                       metric(one, "calls_per_second"))

    def test_text_and_csv_show_both(self):
        with Serving(LOCAL) as serving:
            text = run("call", serving.address, "-n", "2000", "-q")
            table = run("call", serving.address, "-n", "2000", "--csv=-")
        self.assertEqual(text.returncode, 0, text.stderr)
        self.assertRegex(text.stdout, r"(?m)^  server sonde-server +\d+ ")
        self.assertIn("server (own count)", text.stdout)
        self.assertEqual(table.returncode, 0, table.stderr)
        self.assertIn("server", table.stdout)

    def test_quiet_has_no_line_for_what_came_to_its_end(self):
        with Serving(LOCAL, "-q") as serving:
            self.assertEqual(run("call", serving.address, "-n", "2000", "-q").returncode, 0)
            done = serving.stop()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("  1 sessions served in ", done.stdout)

    def test_options_of_its_server_have_an_effect(self):
        with Serving(LOCAL) as serving:
            record = self.record(serving.address, "-n", "500", "--answer", "byte", "-m", "1",
                                 "--server-threads", "2", "-c", "4", "--server-engine", "poll")
            refused = run("call", serving.address, "-n", "5", "--server-engine", "null")
        self.assertEqual(record["warnings"], [warning for warning in record["warnings"]
                                              if "no effect" not in warning])
        names = [row["name"]
                 for row in process(record["runs"][0], "server")["engine_calls"]["syscalls"]]
        self.assertTrue({"poll", "ppoll"} & set(names), names)
        self.assertIn("no such engine that serves", check_one_line(self, refused, 1))

    def test_the_server_observes_itself(self):
        with Serving(LOCAL) as serving:
            record = self.record(serving.address, "-d", "2", "--observe", "server", "-m", "1",
                                 "--high", "8")
        one = record["runs"][0]
        if one["observation"].startswith("none"):
            self.skipTest(one["observation"])
        server = process(one, "server")
        self.assertIn("server (pid %d)" % server["pid"], one["observation"])
        seen, client = server["kernel_calls"], process(one, "client")
        self.assertEqual(seen["source"], "bpf")
        self.assertFalse(client["kernel_calls"]["available"])
        # What the kernel saw it receive is what the client finished meanwhile, but for those in
        # flight at the edges of each of the parts.
        received = calls(server, "recvfrom", counts="kernel_calls")
        about_the_same(self, received, seen["operations"])
        self.assertIsNotNone(one["probe_effect"]["ratio"])

    def test_both_ends_observe(self):
        with Serving(LOCAL) as serving:
            record = self.record(serving.address, "-d", "1", "-o", "self,server", "--high", "8",
                                 "--probe", "syscalls")
        one = record["runs"][0]
        if one["observation"].startswith("none"):
            self.skipTest(one["observation"])
        for role in ("client", "server"):
            self.assertTrue(process(one, role)["kernel_calls"]["available"], one["observation"])

    def test_two_clients_at_once(self):
        with Serving(LOCAL) as serving:
            with concurrent.futures.ThreadPoolExecutor() as pool:
                both = [pool.submit(run, "call", "--json", serving.address, "-d", "1", "-m", size,
                                    "--high", "4") for size in ("100", "1000")]
                done = [one.result() for one in both]
        for one, size in zip(done, (100, 1000)):
            self.assertEqual(one.returncode, 0, one.stderr)
            measured = checked_record(self, one.stdout)["runs"][0]
            self.assertTrue(measured["complete"])
            server = process(measured, "server")
            sent = calls(process(measured, "client"), "sendto")
            self.assertEqual(sent % size, 0)
            about_the_same(self, per_second(server, "recvfrom") * measured["window_ns"] / 1e9, sent)
        pids = [process(json.loads(one.stdout)["runs"][0], "server")["pid"] for one in done]
        self.assertNotEqual(*pids)

    def test_one_after_the_other_and_several_engines_of_one_client(self):
        with Serving(LOCAL) as serving:
            record = self.record(serving.address, "-e", "epoll,poll", "-d", "0.2", "--high", "4",
                                 "--repeat", "2", "--warmup-runs", "0")
            self.assertEqual(len(record["runs"]), 4)
            until(lambda: children(serving.process.pid) == [])

    def test_nobody_is_there(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        line = check_one_line(self, run("call", "sonde://127.0.0.1:%d" % port, "-n", "1"), 1)
        self.assertIn("sonde://127.0.0.1:%d" % port, line)
        self.assertIn("sonde serve", line)

    def test_an_echo_server_is_no_sonde(self):
        with Serving("tcp://127.0.0.1:0") as serving:
            port = serving.address.rsplit(":", 1)[1]
            line = check_one_line(self, run("call", "sonde://127.0.0.1:" + port, "-n", "1"), 1)
        self.assertIn("control", line + "control")

    def test_null_speaks_to_nobody(self):
        check_one_line(self, run("call", LOCAL.replace(":0", ":1"), "-e", "null"), 2)


class Pings(unittest.TestCase):
    def record(self, *arguments):
        done = run("ping", "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return checked_record(self, done.stdout)

    def test_both_ends_count_the_same(self):
        with Serving(LOCAL) as serving:
            for engine in engines():
                for address in (serving.address, over_udp(serving)):
                    with self.subTest(engine=engine, address=address):
                        one = self.record(address, "-e", engine, "-n", "300", "-c", "3",
                                          "-m", "100")["runs"][0]
                        self.assertEqual(metric(one, "round_trips"), 300)
                        self.assertEqual(metric(one, "server_messages"), 300)
                        self.assertEqual(metric(one, "server_answers"), 300)
                        self.assertEqual(metric(one, "messages_lost"), 0)
                        self.assertEqual(metric(one, "messages_invalid"), 0)
            until(lambda: children(serving.process.pid) == [])

    def test_the_same_kind_of_record_as_with_an_own_server(self):
        with Serving(LOCAL) as serving:
            for own, far in (("tcp:", serving.address), ("udp:", over_udp(serving))):
                here = self.record(own, "-n", "50", "-m", "32")["runs"][0]
                there = self.record(far, "-n", "50", "-m", "32")["runs"][0]
                for key in ("metrics", "histograms"):
                    self.assertEqual(here[key].keys() - OF_OWN_SERVER, there[key].keys())

    def test_the_servers_part_by_stamps_comes_back(self):
        with Serving(LOCAL) as serving:
            for address in (serving.address, over_udp(serving)):
                one = self.record(address, "-n", "2000", "--stamps")["runs"][0]
                parts = {"server_wake_up", "server_application", "server_send_call"}
                self.assertLessEqual(parts, one["histograms"].keys(), address)


class Streams(unittest.TestCase):
    """Every byte is accounted for, by both ends."""

    def run_of(self, *arguments):
        done = run("stream", "--json", "--verify", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return checked_record(self, done.stdout)["runs"][0]

    def check_sums(self, one, client_sent, server_sent):
        self.assertEqual(metric(one, "bytes_lost"), 0)
        self.assertEqual(metric(one, "sent_bytes"), client_sent)
        self.assertEqual(metric(one, "server_received_bytes"), client_sent)
        self.assertEqual(metric(one, "server_sent_bytes"), server_sent)
        self.assertEqual(metric(one, "received_bytes"), server_sent)

    def test_directions_and_engines(self):
        with Serving(LOCAL) as serving:
            for engine in engines():
                for course, client_sent in (((), MOVED), (("-R",), 0), (("--bidir",), MOVED // 2)):
                    with self.subTest(engine=engine, course=course):
                        one = self.run_of(serving.address, "-e", engine, "-n", str(MOVED), "-P",
                                          "2", *course)
                        self.check_sums(one, client_sent, MOVED - client_sent)
            until(lambda: children(serving.process.pid) == [])

    def test_rows_of_both_ends(self):
        with Serving(LOCAL) as serving:
            one = self.run_of(serving.address, "-n", str(MOVED), "-P", "2", "--bidir")
        rows = {(row["role"], row["what"]): row["metrics"] for row in one["flows"]}
        pids = {row["role"]: row["pid"] for row in one["flows"]}
        self.assertEqual(pids["server"], process(one, "server")["pid"])
        for number in (1, 2, 3, 4):
            what = "stream %d to the %s" % (number, "server" if number % 2 else "client")
            client = rows["client", what]
            server = rows["server", what]
            for key, other in (("sent_bytes", "received_bytes"), ("received_bytes", "sent_bytes")):
                self.assertEqual(client[key]["value"], server[other]["value"], (number, key))
            sender = client if number % 2 else server
            self.assertEqual(client["sent_bytes"]["value"] > 0, bool(number % 2))
            self.assertGreater(sender["rtt_ns"]["value"], 0)
            self.assertIsNotNone(sender["retransmits"]["value"])

    def test_by_duration(self):
        with Serving(LOCAL) as serving:
            for course in ((), ("-R",), ("--bidir",)):
                with self.subTest(course=course):
                    one = self.run_of(serving.address, "-d", "0.5", *course)
                    self.assertEqual(metric(one, "bytes_lost"), 0)
                    # The rate is that of the receiving ends, each over its own time.
                    seconds = process(one, "server")["cpu_window_ns"] / 1e9
                    here = metric(one, "received_bytes") * 1e9 / one["window_ns"]
                    there = metric(one, "server_received_bytes") / seconds
                    self.assertAlmostEqual(metric(one, "bytes_per_second") / (here + there), 1,
                                           delta=1e-6)
                    self.assertIsNotNone(metric(one, "server_cpu_ns_per_gib"))

    def test_options_reach_the_server(self):
        with Serving(LOCAL) as serving:
            for pacing in ("kernel", "timer"):
                one = self.run_of(serving.address, "-R", "-d", "0.5", "--rate", "80M", "--pacing",
                                  pacing, "--window", "256k", "--dscp", "8", "--mss", "1000")
                # Ten times as much, not to speak of what it is without the option.
                self.assertLess(metric(one, "bytes_per_second"), 1e8)
            one = self.run_of(serving.address, "-n", "1m", "-l", "1000", "-R")
            self.assertLessEqual(metric(one, "server_bytes_per_send"), 1000)

    def test_from_several_sources(self):
        with Serving(LOCAL) as serving:
            one = self.run_of(serving.address, "-n", "1m", "-P", "2", "--source",
                              "127.0.0.2,127.0.0.3")
        self.check_sums(one, 1 << 20, 0)

    def test_datagrams(self):
        with Serving(LOCAL) as serving:
            for engine in engines():
                with self.subTest(engine):
                    one = self.run_of(over_udp(serving), "-e", engine, "-n", "2m", "--rate", "20M",
                                      "-P", "2", "--batch", "4")
                    sent, arrived = metric(one, "sent_datagrams"), metric(one, "arrived_datagrams")
                    self.assertGreater(arrived, 0)
                    self.assertEqual(arrived + metric(one, "lost_datagrams"), sent)
                    self.assertEqual(metric(one, "sent_bytes") -
                                     metric(one, "server_received_bytes"),
                                     metric(one, "bytes_lost"))
            until(lambda: children(serving.process.pid) == [])

    def test_datagrams_of_the_server(self):
        with Serving(LOCAL) as serving:
            for engine in engines():
                for direction in ("-R", "--bidir"):
                    with self.subTest(engine=engine, direction=direction):
                        one = self.run_of(over_udp(serving), "-e", engine, "-n", "2m", "--rate",
                                          "20M", "-P", "2", "--batch", "4", direction)
                        sent = metric(one, "server_sent_datagrams")
                        arrived = metric(one, "client_arrived_datagrams")
                        self.assertGreater(arrived, 0)
                        self.assertEqual(arrived + metric(one, "client_lost_datagrams"), sent)
            until(lambda: children(serving.process.pid) == [])

    def test_what_does_not_fit_is_refused(self):
        with Serving(LOCAL) as serving:
            check_one_line(self, run("call", over_udp(serving), "-n", "1"), 2)
            check_one_line(self, run("stream", over_udp(serving), "-Z", "msg"), 2)
            line = check_one_line(self, run("ping", over_udp(serving), "--source", "127.0.0.2"), 2)
            self.assertIn("--source", line)

    def test_the_server_observes_itself(self):
        with Serving(LOCAL) as serving:
            one = self.run_of(serving.address, "-d", "2", "--observe", "server")
        if one["observation"].startswith("none"):
            self.skipTest(one["observation"])
        seen = process(one, "server")["kernel_calls"]
        self.assertGreater(seen["operations"], 0)
        self.assertGreater(calls(process(one, "server"), "recvfrom", counts="kernel_calls"), 0)
        self.assertEqual(metric(one, "bytes_lost"), 0)

    def test_there_is_one_hello(self):
        """Behind it all is payload, in both directions."""
        stream = {"workload": "stream", "engine": "epoll"}
        with Serving(LOCAL) as serving:
            for options in ({"verify": "yes"}, {"reverse": "yes"}):
                with Client(serving) as client:
                    client.hello()
                    ready = client.prepare(options=options, **stream)
                    with socket.create_connection(("127.0.0.1", ready["port"]), PATIENCE_S) as data:
                        data.sendall(data_hello(ready["token"], 0))
                        self.assertEqual(client.receive()["message"], "connected")
                        self.assertTrue(is_open(data), "it waits until both begin")
                        client.send("cut", part="none", gate="keep")
                        client.send("go")
                        self.assertEqual(client.receive()["message"], "going")
                        if "reverse" in options:
                            self.assertEqual(data.recv(4, socket.MSG_WAITALL), bytes(range(4)))
                        else:
                            data.sendall(bytes(range(200)))
                        data.shutdown(socket.SHUT_WR)
                        received = 0
                        while piece := data.recv(1 << 20):
                            received += len(piece)
                        client.send("sync")
                        self.assertEqual(client.receive()["message"], "synced")
                        client.send("finish", counters=[], window_ns=1)
                        record = client.receive()
                    self.assertEqual(record["run"].get("errors", []), [])
                    whole = record["totals"]["whole"]
                    self.assertIn(received + 4 if received else 200, whole)


class Doors(unittest.TestCase):
    """Data connections over UDP: who gets an answer."""

    def setUp(self):
        serving = Serving(LOCAL)
        self.serving = serving.__enter__()
        self.addCleanup(serving.__exit__, None, None, None)
        self.client = Client(self.serving)
        self.addCleanup(self.client.socket.close)
        self.client.hello()
        ready = self.client.prepare(workload="ping", transport="udp", connections=2)
        self.assertEqual(ready["message"], "ready", ready)
        self.token, self.to = bytes.fromhex(ready["token"]), ("127.0.0.1", ready["port"])

    def caller(self, address="127.0.0.1"):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(one.close)
        one.bind((address, 0))
        return one

    def ask(self, one, data):
        one.sendto(data, self.to)
        if not select.select([one], [], [], PATIENCE_S)[0]:
            raise AssertionError("no answer")
        return one.recv(1 << 16)

    def hears_nothing(self, one, *all_data):
        for data in all_data:
            one.sendto(data, self.to)
        return is_open(one)

    def challenge(self, one, number):
        answer = self.ask(one, knock(CALL, number, self.token))
        self.assertEqual(answer[:16], knock(CHALLENGE, number, b""))
        self.assertEqual(len(answer), 32, "no more than what came")
        return answer[16:]

    def let_in(self, number):
        one = self.caller()
        secret = self.challenge(one, number)
        self.assertEqual(self.ask(one, knock(ECHO, number, secret)),
                         knock(WELCOME, number, secret))
        return one, secret

    def test_strangers_hear_nothing(self):
        right = knock(CALL, 0, self.token)
        self.assertTrue(self.hears_nothing(self.caller("127.0.0.2"), right), "another address")
        wrong = bytes([self.token[0] ^ 1]) + self.token[1:]
        one = self.caller()
        self.assertTrue(self.hears_nothing(
            one, knock(CALL, 0, wrong), knock(CALL, 2, self.token), knock(CALL, 2**32 - 1, wrong),
            right[:31], right + b"x", b"", b"x" * 1400, knock(ECHO, 0, self.token),
            knock(WELCOME, 0, self.token), knock(CHALLENGE, 0, self.token),
            data_hello(self.token.hex(), 0)))
        self.challenge(one, 0)

    def test_a_token_serves_once_for_each_number(self):
        first = self.caller()
        secret = self.challenge(first, 0)
        other = self.caller()
        self.assertTrue(self.hears_nothing(other, knock(CALL, 0, self.token),
                                           knock(ECHO, 0, secret)), "from another port")
        self.assertEqual(self.challenge(first, 0), secret, "what was lost is said again")
        self.assertTrue(self.hears_nothing(first, knock(ECHO, 0, self.token), b"x" * 1000),
                        "before it has proved where it is")
        self.assertEqual(self.ask(first, knock(ECHO, 0, secret)), knock(WELCOME, 0, secret))
        self.assertEqual(self.ask(first, knock(ECHO, 0, secret)), knock(WELCOME, 0, secret))
        self.assertTrue(self.hears_nothing(other, knock(CALL, 0, self.token),
                                           knock(ECHO, 0, secret)), "a replay")
        self.assertNotEqual(self.challenge(self.caller(), 1), secret)

    def test_only_who_was_let_in_is_served(self):
        inside = [self.let_in(number) for number in (0, 1)]
        late = self.caller()
        late.sendto(b"left behind", self.to)
        inside[0][0].sendto(knock(ECHO, 0, inside[0][1]), self.to)  # its welcome might be lost
        self.client.send("sync")
        self.assertEqual(self.client.receive()["message"], "connected")
        for one, _ in inside:
            while not is_open(one):
                one.recv(100)
            for size in (1, 32, 1000):
                self.assertEqual(self.ask(one, b"m" * size), b"\xed" + b"m" * (size - 1))
        for stranger in (late, self.caller(), self.caller("127.0.0.2")):
            self.assertTrue(self.hears_nothing(stranger, b"m" * 100, knock(CALL, 0, self.token)))
        self.client.send("finish", counters=[], window_ns=1)
        self.assertEqual(self.client.receive()["message"], "record")

    def test_sync_before_all_are_in(self):
        self.let_in(0)
        self.client.send("sync")
        self.assertIn("out of turn", self.client.receive()["what"])
        until(lambda: children(self.serving.process.pid) == [])

    def test_the_token_is_of_no_use_over_tcp(self):
        port = int(self.serving.address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as data:
            data.sendall(data_hello(self.token.hex(), 0))
            self.assertTrue(is_closed(data))


CALL, CHALLENGE, ECHO, WELCOME = range(4)


def knock(kind, number, token):
    return b"sOkn" + bytes([1, kind, 0, 0]) + struct.pack(">II", number, 0) + token


def over_udp(serving):
    return serving.address.replace("sonde://", "sonde+udp://")


class Secrets(unittest.TestCase):
    def setUp(self):
        self.folder = Folder(self)
        self.right = secret_file(self.folder, "right", "the very secret of this test\n")
        self.wrong = secret_file(self.folder, "wrong", "quite another one of those\n")

    def test_right_and_wrong(self):
        with Serving(LOCAL, "--secret", self.right) as serving:
            right = run("call", "--json", serving.address, "-n", "100", "--secret", self.right)
            wrong = run("call", serving.address, "-n", "100", "--secret", self.wrong)
            without = run("call", serving.address, "-n", "100")
            again = run("call", "--json", serving.address, "-n", "100", "--secret", self.right)
            done = serving.stop()
        for one in (right, again):
            self.assertEqual(one.returncode, 0, one.stderr)
            self.assertTrue(checked_record(self, one.stdout)["complete"])
        self.assertIn("the secrets of the two ends differ", check_one_line(self, wrong, 1))
        self.assertIn("the server wants a secret", check_one_line(self, without, 1))
        self.assertRegex(done.stderr, r"sonde: client 127\.0\.0\.1:\d+: the secrets of the two ends")

    def test_a_secret_where_the_server_has_none(self):
        with Serving(LOCAL) as serving:
            done = run("call", serving.address, "-n", "100", "--secret", self.right)
        self.assertIn("--secret", check_one_line(self, done, 1))

    def test_other_hosts_need_one(self):
        for arguments in (["serve", "sonde://0.0.0.0:0"], ["serve", "sonde://[::]:0"],
                          ["call", "sonde://192.0.2.1:7000", "-n", "1"]):
            line = check_one_line(self, run(*arguments), 2)
            self.assertIn("needs a secret", line)

    def test_files_that_are_none(self):
        os.chmod(self.right, 0o644)
        for arguments in (["serve", LOCAL], ["call", "sonde://127.0.0.1:1"]):
            line = check_one_line(self, run(*arguments, "--secret", self.right), 2)
            self.assertIn("mode 644", line)

    def test_what_is_said_is_not_to_be_read(self):
        """A recording of a connection, played to the server again, gets nowhere."""
        said = []
        with Serving(LOCAL, "--secret", self.right) as serving:
            port = int(serving.address.rsplit(":", 1)[1])
            with socket.create_server(("127.0.0.1", 0)) as listener:
                client = start("call", "sonde://127.0.0.1:%d" % listener.getsockname()[1], "-n",
                               "1", "--secret", self.right)
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
                with near, far:
                    while len(said) < 4:
                        ready, _, _ = select.select([near, far], [], [], PATIENCE_S)
                        for one in ready:
                            data = one.recv(65536)
                            if one is near:
                                said.append(data)
                            (far if one is near else near).sendall(data)
                        if any(not data for data in said):
                            break
                client.kill()
                client.communicate()
            self.assertNotIn(b"hello", b"".join(said))
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as replay:
                for data in said:
                    try:
                        replay.sendall(data)
                    except OSError:
                        break
                replay.settimeout(PATIENCE_S)
                heard = b""
                try:
                    while data := replay.recv(65536):
                        heard += data
                except ConnectionResetError:
                    pass
            self.assertNotIn(b"ready", heard)
            until(lambda: children(serving.process.pid) == [])
            self.assertEqual(run("call", serving.address, "-n", "10", "--secret", self.right,
                                 "-q").returncode, 0)


class Tokens(unittest.TestCase):
    def test_a_token_serves_once(self):
        with Serving(LOCAL) as serving, Client(serving) as client:
            self.assertEqual(client.hello()["message"], "hello")
            ready = client.prepare(connections=2)
            self.assertEqual(ready["message"], "ready", ready)
            token = ready["token"]
            opened = []

            def connect(use, flow, cut=32):
                data = socket.create_connection(("127.0.0.1", ready["port"]), PATIENCE_S)
                self.addCleanup(data.close)
                data.sendall(data_hello(use, flow)[:cut])
                opened.append(data)
                return data

            first = connect(token, 0)
            self.assertTrue(is_open(first))
            self.assertTrue(is_closed(connect(token, 0)), "the same number again")
            self.assertTrue(is_closed(connect(token, 2)), "a number too high")
            self.assertTrue(is_closed(connect(token, 0xffffffff)))
            other = ("0" if token[0] != "0" else "1") + token[1:]
            self.assertTrue(is_closed(connect(other, 1)), "another token")
            self.assertTrue(is_closed(connect(token, 1, cut=31)), "cut: it has to hurry")
            second = connect(token, 1)
            self.assertEqual(client.receive()["message"], "connected")
            self.assertTrue(is_closed(connect(token, 1)), "a replay")
            self.assertTrue(is_closed(connect(token, 0)), "a replay")
            for data in (first, second):
                data.sendall(b"echo")
                self.assertEqual(data.recv(4), b"echo")

    def test_tokens_differ(self):
        tokens = set()
        with Serving(LOCAL) as serving:
            for _ in range(20):
                with Client(serving) as client:
                    client.hello()
                    tokens.add(client.prepare()["token"])
        self.assertEqual(len(tokens), 20)
        self.assertTrue(all(len(token) == 32 for token in tokens))

    def test_its_run_is_over(self):
        with Serving(LOCAL) as serving:
            with Client(serving) as client:
                client.hello()
                ready = client.prepare()
            until(lambda: is_refused(ready))


def is_refused(ready):
    with socket.create_connection(("127.0.0.1", ready["port"]), PATIENCE_S) as data:
        data.sendall(data_hello(ready["token"], 7))
        return is_closed(data)


class Strangers(unittest.TestCase):
    def serves(self, serving, *arguments):
        done = run("call", serving.address, "-n", "100", "-q", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_ten_thousand(self):
        junk = (b"", b"G", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\5junk!", b"\xff" * 100, b"\0\0\0\0",
                b"\x16\x03\x01\x00\x05hello", b"sOnd" + b"\1\0\0\0" + b"x" * 24, b"\0\x10\0\0{",
                b"\0\0\0\x02{}")

        def visit(number):
            with serving.connect() as client:
                client.sendall(junk[number % len(junk)])
                if number % 3 == 0:  # some wait for an answer, most just go
                    client.settimeout(0.01)
                    try:
                        client.recv(100)
                    except OSError:
                        pass

        def visit_safely(number):
            try:
                visit(number)
            except (BrokenPipeError, ConnectionResetError):
                pass

        with Serving(LOCAL) as serving:
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                visits = pool.map(visit_safely, range(JUNK))
                for _ in range(3):
                    self.serves(serving)
                list(visits)
            self.serves(serving)
            files = len(os.listdir("/proc/%d/fd" % serving.process.pid))
            self.assertLess(files, 40)
            until(lambda: children(serving.process.pid) == [])
            self.assertEqual(serving.stop().returncode, 0)

    def test_who_says_nothing_or_little_is_sent_away(self):
        with Serving(LOCAL) as serving:
            silent, half, slow = serving.connect(), serving.connect(), serving.connect()
            greeted = Client(serving)
            with silent, half, slow, greeted:
                greeted.hello()
                half.sendall(b"\0\0\1\0{\"message\":")
                text = b"\0\0\1\0{" + b" " * 300
                for byte in text:
                    try:
                        slow.sendall(bytes([byte]))
                    except OSError:
                        break
                    if select.select([slow], [], [], 1)[0]:
                        break
                for client in (slow, silent, half):
                    self.assertTrue(is_closed(client))
                with self.assertRaises((EOFError, ConnectionResetError)):
                    greeted.receive()
            self.serves(serving)

    def test_more_than_there_are_places(self):
        """Places taken by the silent do not keep others out."""
        with Serving(LOCAL) as serving:
            held = [serving.connect() for _ in range(1500)]
            try:
                self.serves(serving)
            finally:
                for one in held:
                    one.close()

    def refused(self, serving, say):
        with Client(serving) as client:
            try:
                say(client)
                answer = client.receive()
            except (EOFError, ConnectionResetError, BrokenPipeError):
                return ""
            self.assertEqual(answer["message"], "error", answer)
            return ": ".join((answer["subject"], answer["what"]))

    def test_what_is_not_acceptable_is_named(self):
        def prepared(**fields):
            def say(client):
                client.hello()
                answer = client.prepare(**fields)
                self.assertEqual(answer["message"], "error")
                raise Named(": ".join((answer["subject"], answer["what"])))
            return say

        texts = {
            '{"message":"hello","version_least":1,"version_most":1,"program":"x","extra":1}':
                'unknown field "extra"',
            '{"message":"hello","version_least":1,"version_least":1}': "no JSON",
            '{"message":"hello","version_least":"1","version_most":1,"program":"x"}':
                '"version_least" is no whole number',
            '{"message":"hello","version_least":2,"version_most":9,"program":"x"}': "versions 2 to 9",
            '{"message":"go"}': "out of turn",
            '[' * 5000: "too deep",
            '{"message": "hello"': "no JSON",
        }
        options = {
            "--size": prepared(options={"size": "9g"}),
            "unknown option": prepared(options={"sise": "1"}),
            "no plain text": prepared(options={"size": 3}),
            '"connections" is no whole number': prepared(connections="1"),
            '"connections" is not in': prepared(connections=0),
            '"observe" is neither': prepared(observe=1),
            "no such workload": prepared(workload="steal"),
            "no such engine": prepared(engine="null"),
            "not for the peer": prepared(watch={"observe": "comm=sshd"}, observe=True),
            "the server takes": prepared(connections=10001),
            "for its clients": prepared(workload="stream", transport="udp", connections=24,
                                        options={"length": "65000", "batch": "1024"}),
        }
        with Serving(LOCAL) as serving:
            for text, what in texts.items():
                self.assertIn(what, self.refused(serving, lambda c, t=text: c.send_text(t)), text[:60])
            for what, say in options.items():
                with self.assertRaises(Named) as named, Client(serving) as client:
                    say(client)
                self.assertIn(what, str(named.exception))
            self.assertIn("a message of 1048577 bytes: it may have 1 to 1048576",
                          self.refused(serving, lambda c: c.socket.sendall(b"\0\x10\0\1{}")))
            self.serves(serving)
            until(lambda: children(serving.process.pid) == [])

    def test_messages_out_of_turn_end_the_run(self):
        with Serving(LOCAL) as serving, Client(serving) as client:
            client.hello()
            self.assertEqual(client.prepare()["message"], "ready")
            client.send("finish", counters=[1], window_ns=1)
            self.assertIn("out of turn", client.receive()["what"])
            self.assertTrue(client.is_closed())


class Named(Exception):
    pass


class Deaths(unittest.TestCase):
    def begun(self, serving, *arguments):
        """A client whose server has its process."""
        client = start("call", serving.address, "-d", "60", "--high", "4", "-i", "100ms",
                       *arguments)
        for line in client.stdout:
            if "calls/s" in line:  # the first interval is over
                break
        return client

    def test_the_server_dies(self):
        folder = Folder(self)
        path = folder.file("result.json")
        with Serving(LOCAL) as serving:
            client = self.begun(serving, "--json=" + path)
            serving.process.kill()
            done = end(client, time.monotonic())
        lines = [line for line in done.stderr.splitlines() if line.startswith("sonde: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertIn(serving.address, lines[0])
        self.assertEqual(done.returncode, 1)
        record = read_record(self, path)
        check_failed_record(self, record)
        self.assertGreater(metric(record["runs"][0], "calls"), 0)

    def test_the_server_is_told_to_stop(self):
        with Serving(LOCAL) as serving:
            client = self.begun(serving)
            self.assertEqual(serving.stop().returncode, 0)
            done = end(client, time.monotonic())
        lines = [line for line in done.stderr.splitlines() if line.startswith("sonde: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertEqual(done.returncode, 1)

    def test_each_session_has_a_line_and_all_a_summary(self):
        path = Folder(self).file("served.json")
        with Serving(LOCAL, "--max-connections", "4", "--json=" + path) as serving:
            udp = serving.address.replace("sonde", "sonde+udp", 1)
            for arguments in (("call", serving.address, "-n", "100", "-m", "10"),
                              ("ping", udp, "-n", "50"),
                              ("stream", serving.address, "-n", "1m", "-P", "2"),
                              ("stream", serving.address, "-n", "2m", "-R")):
                self.assertEqual(run(*arguments, "-q", "-w", "0").returncode, 0)
            self.assertEqual(run("call", serving.address, "-c", "5", "-q").returncode, 1)
            client = self.begun(serving)
            client.kill()
            client.communicate()
            line = ""
            while "not finished" not in line:
                line = serving.process.stderr.readline()
                self.assertTrue(line)
            done = serving.stop()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("connections accepted", done.stdout)
        self.assertNotIn("(none)", done.stdout)
        metrics = read_record(self, path)["runs"][0]["metrics"]
        self.assertEqual({key: entry["value"] for key, entry in metrics.items()}, {
            "sessions_served": 4, "sessions_failed": 1, "sessions_refused": 1,
            "sessions_received_bytes": 1000 + (1 << 20), "sessions_sent_bytes": 2 << 20})

    def test_options_without_an_effect_are_refused(self):
        with Serving(LOCAL, "tcp://127.0.0.1:0") as serving:
            plain, control = serving.addresses
            for arguments in ((control, "--pin"), (plain, "--pin"), (plain, "--server-engine", "poll"),
                              (plain, "--server-threads", "2")):
                with self.subTest(arguments=arguments):
                    line = check_one_line(self, run("call", "-n", "10", *arguments), 2)
                    self.assertIn(arguments[1] + ": this run starts no server", line)

    def test_who_can_reach_it_is_said(self):
        secret = secret_file(Folder(self), "secret", "a secret that is long enough")
        for host, reachable in (("127.0.0.1", False), ("0.0.0.0", True)):
            said = run("serve", "sonde://%s:0" % host, "--secret", secret, "-d", "10ms").stderr
            self.assertEqual("with a secret): reachable from other hosts" in said, reachable)

    def test_the_lines_of_sessions(self):
        with Serving(LOCAL) as serving:
            for arguments in (("ping", "-n", "50"), ("stream", "-n", "1m", "-P", "2"),
                              ("stream", "-n", "2m", "-R")):
                done = run(arguments[0], serving.address, *arguments[1:], "-q", "-w", "0")
                self.assertEqual(done.returncode, 0, done.stderr)
            lines = serving.stop().stderr.splitlines()
        for i, (line, words) in enumerate(zip(lines, (
                ("ping over tcp", "1 connection,", "50 pings received"),
                ("stream over tcp", "2 connections,", "received 1,048,576 bytes at"),
                ("stream over tcp", "1 connection,", "sent 2,097,152 bytes at")), strict=True), 1):
            for word in ("sonde: session %d: client 127.0.0.1:" % i, *words):
                self.assertIn(word, line)

    def test_the_servers_own_process_dies(self):
        with Serving(LOCAL) as serving:
            client = self.begun(serving)
            for pid in children(serving.process.pid):
                os.kill(int(pid), signal.SIGKILL)
            done = end(client, time.monotonic())
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertEqual(run("call", serving.address, "-n", "10", "-q").returncode, 0)

    def test_the_client_dies(self):
        with Serving(LOCAL) as serving:
            before = len(os.listdir("/proc/%d/fd" % serving.process.pid))
            for _ in range(3):
                client = self.begun(serving)
                self.assertEqual(len(children(serving.process.pid)), 1)
                client.kill()
                client.communicate()
                until(lambda: children(serving.process.pid) == [])
            until(lambda: len(os.listdir("/proc/%d/fd" % serving.process.pid)) <= before)
            self.assertEqual(run("call", serving.address, "-n", "10", "-q").returncode, 0)

    def test_the_client_is_interrupted(self):
        folder = Folder(self)
        path = folder.file("result.json")
        with Serving(LOCAL) as serving:
            client = self.begun(serving, "--json=" + path)
            client.send_signal(signal.SIGINT)
            done = end(client, time.monotonic())
            self.assertNotEqual(done.returncode, 0)
            record = read_record(self, path)
            self.assertEqual(record["error"]["code"], "interrupted")
            self.assertEqual(process(record["runs"][0], "server")["name"], "sonde-server")
            until(lambda: children(serving.process.pid) == [])


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
class TwoHosts(unittest.TestCase):
    """Two network namespaces with a wire between them."""

    def setUp(self):
        self.names = ["sonde-%d-%s" % (os.getpid(), end_name) for end_name in "ab"]
        for name in self.names:
            try:
                ip("netns", "add", name)
            except (OSError, subprocess.CalledProcessError) as error:
                self.skipTest("no network namespaces: %s" % error)
            self.addCleanup(ip, "netns", "del", name)
        ip("link", "add", "va", "netns", self.names[0], "type", "veth", "peer", "name", "vb",
           "netns", self.names[1])
        for name, link, address in zip(self.names, ("va", "vb"), ("10.99.7.1", "10.99.7.2")):
            ip("-n", name, "address", "add", address + "/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        self.folder = Folder(self)
        self.secret = secret_file(self.folder, "secret", "the very secret of this test\n")

    def inside(self, index):
        return {"prefix": ["ip", "netns", "exec", self.names[index]]}

    def test_both_ends_are_measured_across(self):
        with Serving("sonde://10.99.7.1:0", "--secret", self.secret, **self.inside(0)) as serving:
            done = run("call", "--json", serving.address, "-d", "2", "--high", "8", "-c", "2",
                       "--secret", self.secret, "--observe", "server", **self.inside(1))
            self.assertEqual(done.returncode, 0, done.stderr)
            one = checked_record(self, done.stdout)["runs"][0]
            without = run("call", serving.address, "-n", "1", **self.inside(1))
        self.assertIn("needs a secret", check_one_line(self, without, 2))
        server = process(one, "server")
        self.assertIn("10.99.7.1", one["detail"])
        self.assertGreater(calls(server, "recvfrom"), 0)
        if not one["observation"].startswith("none"):
            received = calls(server, "recvfrom", counts="kernel_calls")
            about_the_same(self, received, server["kernel_calls"]["operations"])

    def test_every_workload_across(self):
        with Serving("sonde://10.99.7.1:0", "--secret", self.secret, **self.inside(0)) as serving:
            def measure(*arguments):
                done = run(*arguments, "--json", "--secret", self.secret, **self.inside(1))
                self.assertEqual(done.returncode, 0, done.stderr)
                return checked_record(self, done.stdout)["runs"][0]

            for address in (serving.address, over_udp(serving)):
                one = measure("ping", address, "-n", "200", "-c", "2")
                self.assertEqual(metric(one, "server_messages"), 200)
                self.assertEqual(metric(one, "round_trips"), 200)
            for course in ((), ("-R",), ("--bidir",)):
                one = measure("stream", serving.address, "-d", "1", "-P", "2", "--observe",
                              "server", *course)
                self.assertEqual(metric(one, "bytes_lost"), 0)
                self.assertGreater(metric(one, "bytes_per_second"), 0)
                roles = {row["role"] for row in one["flows"]}
                self.assertEqual(roles, {"client", "server"})
                if not one["observation"].startswith("none"):
                    self.assertGreater(process(one, "server")["kernel_calls"]["operations"], 0)
            one = measure("stream", over_udp(serving), "-n", "1m", "--rate", "20M")
            self.assertEqual(metric(one, "arrived_datagrams") + metric(one, "lost_datagrams"),
                             metric(one, "sent_datagrams"))

    def test_a_wire_that_is_cut(self):
        with Serving("sonde://10.99.7.1:0", "--secret", self.secret, **self.inside(0)) as serving:
            client = start("call", serving.address, "-d", "10", "--high", "8", "-i", "100ms",
                           "--drain", "1s", "--secret", self.secret, **self.inside(1))
            for line in client.stdout:
                if "calls/s" in line:
                    break
            ip("-n", self.names[1], "link", "set", "vb", "down")
            done = end(client, time.monotonic())
        self.assertNotEqual(done.returncode, 0)
        lines = [line for line in done.stderr.splitlines() if line.startswith("sonde: ")]
        self.assertEqual(len(lines), 1, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
