"""sonde stream: every byte is accounted for, at both ends and as strace sees it, whatever happens."""

import csv
import io
import os
import re
import shutil
import signal
import socket
import tempfile
import time
import unittest

from sonde_program import (
    Folder, Misbehaving, check_failed_record, check_one_line, checked_record, end, engines, hear,
    metric, read_record, run, start)

TRANSPORTS = ("tcp:", "unix:", "local:", "pipe:")
DATAGRAMS = ("udp:", "unix-dgram:")
SHORT = ("-d", "200ms", "-w", "50ms", "-i", "100ms")


def stream_run(case, *arguments, **options):
    """The one run of `sonde stream --json` that has to succeed."""
    done = run("stream", "--json", *arguments, **options)
    case.assertEqual(done.returncode, 0, done.stderr)
    record = checked_record(case, done.stdout)
    case.assertTrue(record["complete"])
    return record["runs"][0]


def flow_sum(one, role, key):
    rows = [row for row in one["flows"] if row["role"] == role]
    single = [row for row in rows if not row["what"].startswith("all")]
    return sum(row["metrics"][key]["value"] for row in single)


class BadOptions(unittest.TestCase):
    def test_each(self):
        for arguments, words in (
            (["--reverse", "--bidir"], ["--bidir", "--reverse"]),
            (["-n", "3", "-P", "4"], ["--bytes", "3", "4"]),
            (["-n", "1m", "-w", "1s"], ["--bytes", "--warmup"]),
            (["--rate", "1X"], ["--rate", "1X", "100M"]),
            (["--rate", "-5"], ["--rate"]),
            (["-P", "0"], ["--streams"]),
            (["-l", "65m"], ["--length"]),
            (["--dscp", "af99"], ["--dscp", "af99", "ef"]),
            (["--pacing", "hand"], ["--pacing", "timer"]),
            (["--batch", "4"], ["--batch", "datagrams"]),
            (["udp:", "-R", "-e", "null"], ["--reverse", "own server"]),
            (["udp://127.0.0.1:9", "--bidir"], ["--bidir", "own server"]),
            (["unix-dgram:", "-R", "-e", "uring"], ["--reverse", "uring", "unix-dgram"]),
            (["-Z", "magic"], ["--zerocopy", "sendfile"]),
            (["unix:", "-Z", "msg"], ["--zerocopy", "unix", "sendfile"]),
            (["udp:", "-Z", "msg"], ["--zerocopy", "streams"]),
            (["-e", "threads,null", "-Z", "msg"], ["--zerocopy", "null"]),
            (["-e", "uring", "-Z", "sendfile"], ["--zerocopy", "uring", "threads"]),
            (["-e", "epoll", "--server-engine", "uring", "-R", "-Z", "sendfile"],
             ["--zerocopy", "uring"]),
            (["udp:", "-l", "10"], ["--length", "10"]),
            (["--mss", "87"], ["--mss", "88", "32767"]),
            (["--mss", "32768"], ["--mss", "32767"]),
            (["--rate", "10Mbit"], ["--rate", "did you mean 10M?"]),
            (["--rate", "10mbps"], ["--rate", "did you mean 10M?"]),
            (["--rate", "bit"], ["--rate", "100M"]),
            (["-u"], ["-u", "sonde stream udp:", "sonde as iperf3"]),
            (["-c", "127.0.0.1"], ["-c", "iperf3://HOST", "sonde as iperf3"]),
            (["pipe:", "--window", "64k"], ["--window", "pipe"]),
            (["pipe:", "--dscp", "ef"], ["--dscp", "pipe"]),
            (["local:", "--congestion", "reno"], ["--congestion", "local"]),
            (["udp:", "--rate", "1k"], ["--rate", "1400", "11200", "--length"]),
            (["-l", "128k", "--rate", "1M"], ["--rate", "131072", "--length"]),
            (["udp:", "-l", "65508"], ["--length", "65508"]),
            (["udp:", "--gso", "--batch", "64"], ["--gso", "--batch"]),
        ):
            with self.subTest(arguments=arguments):
                done = run("stream", *arguments)
                line = check_one_line(self, done, 2)
                for word in words:
                    self.assertIn(word, line)
                self.assertEqual(done.stdout, "")


class IdleOptions(unittest.TestCase):
    def test_threads(self):
        """iperf3's -t is the time."""
        for arguments, said in ((["-t", "10"], True), (["-t", "3", "-e", "epoll"], True),
                                (["-t", "2", "-P", "2", "-e", "epoll"], False), ([], False)):
            with self.subTest(arguments=arguments):
                done = run("stream", *SHORT, *arguments)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual("--duration, -d" in " ".join(done.stdout.split()), said)


class Accounts(unittest.TestCase):
    """Sent at one end is received at the other, for each transport and engine."""

    def check(self, one, connections):
        self.assertEqual(metric(one, "bytes_lost"), 0)
        self.assertGreater(metric(one, "bytes_per_second"), 0)
        self.assertAlmostEqual(metric(one, "bits_per_second"), 8 * metric(one, "bytes_per_second"),
                               delta=1e-6 * metric(one, "bits_per_second"))
        for role in ("client", "server"):
            prefix = "" if role == "client" else "server_"
            for way in ("sent", "received"):
                self.assertEqual(flow_sum(one, role, way + "_bytes"),
                                 metric(one, f"{prefix}{way}_bytes"))
            rows = [row for row in one["flows"] if row["role"] == role]
            self.assertEqual(len(rows), connections + (connections > 1))

    def test_by_duration(self):
        for engine in engines():
            for transport in TRANSPORTS:
                for more, connections in ((["-P", "2"], 2), (["-R"], 1), (["--bidir"], 2)):
                    with self.subTest(engine=engine, transport=transport, more=more):
                        one = stream_run(self, transport, "-e", engine, *SHORT, *more)
                        self.check(one, connections)
                        self.assertTrue(all(interval["flows"] for interval in one["intervals"]))

    def test_by_bytes(self):
        total = 3000001
        for engine in engines():
            for transport in TRANSPORTS:
                for more in (["-P", "3"], ["-R"], ["--bidir", "-l", "1000"]):
                    with self.subTest(engine=engine, transport=transport, more=more):
                        one = stream_run(self, transport, "-e", engine, "-n", str(total),
                                         "--verify", *more)
                        for way, other in (("sent", "received"), ("received", "sent")):
                            self.assertEqual(metric(one, way + "_bytes"),
                                             metric(one, f"server_{other}_bytes"))
                        self.assertEqual(metric(one, "sent_bytes") + metric(one, "received_bytes"),
                                         total)
                        self.assertEqual(metric(one, "bytes_lost"), 0)

    def test_rows_of_a_counted_run_are_of_its_window(self):
        """The server is cut some time after the end: its rows are not of that time."""
        for more in ([], ["-R"], ["udp:", "--rate", "1G"]):
            with self.subTest(more=more):
                one = stream_run(self, "-n", "3m", *more)
                self.assertEqual(one["wall_ns"], one["window_ns"])
                for row in one["flows"]:
                    for way in ("sent", "received"):
                        if way + "_bytes" in row["metrics"]:
                            moved = row["metrics"][way + "_bytes"]["value"]
                            rate = row["metrics"][way + "_bytes_per_second"]["value"]
                            self.assertAlmostEqual(moved, rate * one["window_ns"] / 1e9, delta=2)

    def test_retransmits_are_the_streams_own(self):
        """And the host's are called that; who has no TCP has none of them."""
        for transport in ("tcp:", "unix:", "pipe:", "local:", "udp:"):
            with self.subTest(transport=transport):
                one = stream_run(self, transport, *SHORT)
                tcp = transport == "tcp:"
                for key in ("stream_retransmits", "tcp_retransmits", "listen_overflows"):
                    self.assertEqual(key in one["metrics"], tcp)
                if tcp:
                    self.assertEqual(metric(one, "stream_retransmits"),
                                     flow_sum(one, "client", "retransmits"))
        done = run("stream", *SHORT)
        self.assertIn("host's TCP retransmits", done.stdout)

    def test_null_engine_has_no_other_end(self):
        one = stream_run(self, "-e", "null", *SHORT)
        self.assertGreater(metric(one, "sent_bytes"), 0)
        self.assertIsNone(metric(one, "bytes_lost"))

    def test_tcp_rows(self):
        one = stream_run(self, "tcp:", "-P", "2", "--congestion", "cubic", *SHORT)
        for row in one["flows"]:
            sends = row["role"] == "client"
            self.assertEqual(row["metrics"]["retransmits"]["value"] is not None, sends)
            self.assertEqual(row["metrics"]["rtt_ns"]["value"] is not None, sends)
            if sends and not row["what"].startswith("all"):
                self.assertGreater(row["metrics"]["congestion_window_bytes"]["value"], 0)
        self.assertGreater(metric(one, "cpu_ns_per_gib"), 0)
        self.assertAlmostEqual(
            metric(one, "cpu_ns_per_gib"),
            metric(one, "client_cpu_ns_per_gib") + metric(one, "server_cpu_ns_per_gib"), delta=1)

    def test_printers(self):
        done = run("stream", "--csv=-", "-P", "2", *SHORT, "-q")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        kinds = [row["kind"] for row in rows]
        self.assertEqual(kinds[0], "run")
        window = [row for row in rows if row["kind"] == "flow" and not row["start_s"]]
        inside = [row for row in rows if row["kind"] == "flow" and row["start_s"]]
        self.assertEqual(len(window), 6)  # two streams and their sum, at both ends
        self.assertEqual(len(inside) % 6, 0)
        self.assertGreater(float(window[0]["flow_sent_bytes"]), 0)
        text = run("stream", "-P", "2", *SHORT)
        self.assertEqual(text.returncode, 0, text.stderr)
        for word in ("Gbit/s", "stream 2", "all 2", "retransmits", "CPU/GiB"):
            self.assertIn(word, text.stdout)


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class AgainstStrace(unittest.TestCase):
    """The kernel moved what the record says, and the 32 bytes of each hello."""

    def server_lines(self, calls, *arguments):
        """The run, and what strace saw of its server's threads."""
        with tempfile.TemporaryDirectory(prefix="sonde-") as folder:
            trace = os.path.join(folder, "trace")
            # A sanitizer's search for leaks needs the ptrace that strace has.
            quiet = {**os.environ,
                     "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
            one = stream_run(self, *arguments, env=quiet, prefix=[
                "strace", "-f", "-qq", "-o", trace,
                "-e", f"trace={calls},fork,clone,clone3,vfork"])
            server = next(process["pid"] for process in one["processes"]
                          if process["role"] == "server")
            with open(trace, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        threads = {str(server)}
        for line in lines:  # the server's threads are its children
            made = re.match(r"(\d+) +(?:<... )?clone3?\b.*= (\d+)$", line)
            if made and made.group(1) in threads:
                threads.add(made.group(2))
        return one, [line for line in lines if line.split()[0] in threads]

    def traced(self, *arguments):
        moved = {"sendto": 0, "recvfrom": 0}
        one, lines = self.server_lines("sendto,recvfrom", *arguments)
        for line in lines:
            call = re.match(r"(\d+) +(?:<\.\.\. )?(sendto|recvfrom)\b.*= (\d+)$", line)
            if call:
                moved[call.group(2)] += int(call.group(3))
        return one, moved

    def server_calls(self, name, *arguments):
        """Its calls of this name that succeeded; of one that was interrupted, both halves joined.
        """
        one, lines = self.server_lines(name, *arguments)
        begun, calls = {}, []
        for line in lines:
            thread, text = line.split(None, 1)
            if text.endswith("<unfinished ...>"):
                begun[thread] = text
            elif text.startswith("<... " + name):
                text = begun.pop(thread, "") + text
            if re.match(rf"{name}\(.*= \d+$", text):
                calls.append(text)
        return one, calls

    def test_server(self):
        for engine in ("threads", "epoll"):
            with self.subTest(engine=engine):
                one, moved = self.traced("tcp:", "-e", engine, "-n", "5000000", "-P", "2",
                                         "--no-pin")
                self.assertEqual(metric(one, "server_received_bytes"), 5000000)
                self.assertEqual(moved, {"sendto": 0, "recvfrom": 5000000 + 2 * 32})
                one, moved = self.traced("unix:", "-e", engine, "-n", "5000000", "-R", "--no-pin")
                self.assertEqual(metric(one, "server_sent_bytes"), 5000000)
                self.assertEqual(moved, {"sendto": 5000000, "recvfrom": 32})

    def test_zerocopy(self):
        """Each send has the flag, and the record counts them."""
        for engine in ("threads", "poll", "epoll"):
            with self.subTest(engine=engine):
                one, calls = self.server_calls("sendto", "tcp:", "-e", engine, "-n", "5000000",
                                               "-R", "--no-pin", "-Z", "msg")
                flagged = [line for line in calls if "MSG_ZEROCOPY" in line]
                # What could be sent without a copy was; the rest is what had no notice left.
                self.assertGreater(len(flagged), 0, (calls[:3], len(calls),
                                                     one["metrics"].get("zerocopy_sends")))
                self.assertEqual(metric(one, "zerocopy_sends"), len(calls))
                one, calls = self.server_calls("sendfile", "tcp:", "-e", engine, "-n", "5000000",
                                               "-R", "--no-pin", "-Z", "sendfile")
                self.assertEqual(sum(int(line.rsplit("= ", 1)[1]) for line in calls), 5000000)
                one, calls = self.server_calls("sendto", "tcp:", "-e", engine, "-n", "5000000",
                                               "-R", "--no-pin")
                self.assertFalse([line for line in calls if "MSG_ZEROCOPY" in line])
                self.assertNotIn("zerocopy_sends", one["metrics"])


class Zerocopy(unittest.TestCase):
    """Every byte arrives as it was, and on the loopback the kernel says that it copied."""

    WAYS = ([], ["-R"], ["--bidir"], ["-P", "3", "-l", "7000"])

    def check(self, *arguments):
        one = stream_run(self, "-n", "20000001", "--verify", *arguments)
        self.assertEqual(metric(one, "sent_bytes") + metric(one, "server_sent_bytes"), 20000001)
        self.assertEqual(metric(one, "sent_bytes"), metric(one, "server_received_bytes"))
        self.assertEqual(metric(one, "received_bytes"), metric(one, "server_sent_bytes"))
        self.assertEqual(metric(one, "bytes_lost"), 0)
        return one

    def test_msg(self):
        for engine in engines():
            for way in self.WAYS:
                with self.subTest(engine=engine, way=way):
                    one = self.check("-e", engine, "-Z", "msg", *way)
                    self.assertGreater(metric(one, "zerocopy_sends"), 0)
                    self.assertLessEqual(metric(one, "zerocopy_copied"),
                                         metric(one, "zerocopy_reported"))
                    self.assertGreater(metric(one, "zerocopy_copied"), 0)

    def test_sendfile(self):
        for engine in engines():
            for transport in TRANSPORTS if engine != "uring" else ():
                for way in self.WAYS:
                    with self.subTest(engine=engine, transport=transport, way=way):
                        one = self.check(transport, "-e", engine, "-Z", "sendfile", *way)
                        self.assertNotIn("zerocopy_sends", one["metrics"])

    def test_is_said(self):
        done = run("stream", "-Z", "msg", *SHORT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("zero-copy sends after all", " ".join(done.stdout.split()))


class Directions(unittest.TestCase):
    def test_only_those_that_there_are(self):
        for way, has, lacks in (
                ([], ["bytes_per_send", "server_bytes_per_receive"],
                 ["bytes_per_receive", "server_bytes_per_send"]),
                (["-R"], ["bytes_per_receive", "server_bytes_per_send"],
                 ["bytes_per_send", "server_bytes_per_receive"]),
                (["--bidir"], ["bytes_per_receive", "server_bytes_per_send", "bytes_per_send",
                               "server_bytes_per_receive"], [])):
            with self.subTest(way=way):
                metrics = stream_run(self, *SHORT, *way)["metrics"]
                for name in has:
                    self.assertGreater(metrics[name]["value"], 0)
                for name in lacks:
                    self.assertNotIn(name, metrics)
                done = run("stream", *SHORT, *way)
                self.assertNotIn("divided by 0", done.stdout)


class Placement(unittest.TestCase):
    """--cpu and --server-cpu, as /proc sees the threads."""

    @staticmethod
    def allowed(pid):
        """The CPUs of each thread of a process but its first, in the order of their start."""
        lists = []
        for thread in sorted(os.listdir(f"/proc/{pid}/task"), key=int)[1:]:
            with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
                lists += [line.split()[1] for line in file if line.startswith("Cpus_allowed_list")]
        return lists

    def test_threads_are_where_they_are_wanted(self):
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            self.skipTest("one CPU is no choice")
        one, other = usable[0], usable[1]
        process = start("stream", "-P", "3", "--cpu", f"{other},{one}", "--server-cpu", str(one),
                        "-d", "10s", "-w", "0")
        try:
            for _ in range(500):
                with open(f"/proc/{process.pid}/task/{process.pid}/children",
                          encoding="ascii") as file:
                    children = file.read().split()
                if len(self.allowed(process.pid)) == 3 and children and (
                        len(self.allowed(children[0])) == 4):
                    break
                time.sleep(0.01)
            time.sleep(0.2) # a thread pins itself
            self.assertEqual(self.allowed(process.pid), [str(other), str(one), str(other)])
            # The server's fourth thread accepts.
            self.assertEqual(self.allowed(children[0]), [str(one)] * 4)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)

    def test_wrong_ones(self):
        for arguments, subject in ((["--cpu", "8000"], "--cpu"), (["--cpu", "0-"], "--cpu"),
                                   (["--server-cpu", "x"], "--server-cpu"),
                                   (["tcp://127.0.0.1:9", "--server-cpu", "0"], "--server-cpu")):
            done = run("stream", *arguments)
            check_one_line(self, done, 2)
            self.assertIn(f"sonde: {subject}: ", done.stderr)


class Failures(unittest.TestCase):
    def test_server_dies(self):
        for more in ([], ["-R"], ["-e", "epoll", "-P", "2"]):
            with self.subTest(more=more):
                folder = Folder(self)
                path = folder.file("record.json")
                began = time.monotonic()
                process = start("stream", "tcp:", "-d", "20s", "-w", "0", "-i", "200ms",
                                "--json=" + path, *more)
                # After two intervals.
                lines = [process.stdout.readline() for _ in range(2)]
                self.assertTrue(all("bit/s" in line for line in lines), lines)
                children = f"/proc/{process.pid}/task/{process.pid}/children"
                with open(children, encoding="ascii") as file:
                    servers = file.read().split()
                self.assertEqual(len(servers), 1)
                os.kill(int(servers[0]), signal.SIGKILL)
                done = end(process, began)
                line = check_one_line(self, done, 1)
                self.assertIn("signal 9", line)
                record = read_record(self, path)
                check_failed_record(self, record)
                one = record["runs"][0]
                self.assertGreaterEqual(len(one["intervals"]), 2)
                self.assertGreater(metric(one, "bytes_per_second"), 0)
                self.assertIsNone(metric(one, "bytes_lost"))

    def test_foreign_server_that_closes(self):
        def closes_soon(server, client):
            for _ in range(20):
                hear(server, client)
        with Misbehaving(closes_soon) as server:
            done = run("stream", server.address, "-d", "5s", "-w", "0", "--json=/dev/null")
            line = check_one_line(self, done, 1)
            self.assertIn("1 of 1 connections were lost", line)

    def test_foreign_server_that_reads(self):
        heard = []

        def counts(server, client):
            data = bytearray()
            while piece := hear(server, client):
                data += piece
            heard.append(bytes(data))
        with Misbehaving(counts) as server:
            one = stream_run(self, server.address, "-n", "1000003")
            deadline = time.monotonic() + 10
            while not heard and time.monotonic() < deadline:
                time.sleep(0.01)
        self.assertEqual(metric(one, "sent_bytes"), 1000003)
        self.assertEqual(len(heard[0]), 1000003)  # no hello: it is not ours
        self.assertEqual(heard[0], bytes(i % 251 for i in range(1000003)))


class Datagrams(unittest.TestCase):
    def test_nothing_is_lost_unseen(self):
        """What was sent has arrived, or is counted as lost."""
        for engine in engines():
            for transport in DATAGRAMS:
                for more in (["-P", "2"], ["--batch", "8"], ["-l", "64", "-P", "3"]):
                    with self.subTest(engine=engine, transport=transport, more=more):
                        one = stream_run(self, transport, "-e", engine, "-n", "1000001",
                                         "--rate", "400M", "--verify", *more)
                        sent, arrived = (metric(one, key)
                                         for key in ("sent_datagrams", "arrived_datagrams"))
                        self.assertEqual(metric(one, "sent_bytes"), 1000001)
                        self.assertEqual(sent - arrived, metric(one, "lost_datagrams"))
                        self.assertEqual(
                            metric(one, "bytes_lost"),
                            metric(one, "sent_bytes") - metric(one, "server_received_bytes"))
                        if transport == "unix-dgram:":
                            self.assertEqual(arrived, sent)
                        self.assertEqual(metric(one, "duplicate_datagrams"), 0)
                        self.assertEqual(flow_sum(one, "server", "arrived_datagrams"), arrived)

    def test_both_ways(self):
        """The same of what the server sends, each stream at the end that receives it."""
        for engine in engines():
            for transport in DATAGRAMS:
                for more in (["-R"], ["-R", "--batch", "8", "-P", "2"], ["--bidir", "-P", "2"]):
                    if engine == "uring" and transport == "unix-dgram:":
                        more = [*more, "--server-engine", "epoll"]
                    with self.subTest(engine=engine, transport=transport, more=more):
                        one = stream_run(self, transport, "-e", engine, "-n", "1000001",
                                         "--rate", "400M", "--verify", *more)
                        metrics = one["metrics"]
                        self.assertEqual(metric(one, "sent_bytes")
                                         + metric(one, "server_sent_bytes"), 1000001)
                        ways = [("server_sent", "client_", "received", "client")]
                        if "--bidir" in more:
                            ways.append(("sent", "", "server_received", "server"))
                        else:
                            self.assertNotIn("sent_datagrams", metrics)
                            self.assertNotIn("lost_datagrams", metrics)
                        for sent, prefix, received, receiver in ways:
                            arrived = metric(one, prefix + "arrived_datagrams")
                            lost = metric(one, prefix + "lost_datagrams")
                            self.assertEqual(metric(one, sent + "_datagrams") - arrived, lost)
                            self.assertEqual(flow_sum(one, receiver, "arrived_datagrams"), arrived)
                            self.assertEqual(metric(one, prefix + "duplicate_datagrams"), 0)
                            self.assertGreater(metric(one, received + "_bytes"), 0)
                            if transport == "unix-dgram:":
                                self.assertEqual(lost, 0)
                        self.assertEqual(
                            metric(one, "bytes_lost"), 1000001 - metric(one, "received_bytes")
                            - metric(one, "server_received_bytes"))

    def test_by_duration(self):
        for way in ("-R", "--bidir"):
            with self.subTest(way=way):
                one = stream_run(self, "udp:", way, "--rate", "100M", "--gso", "--batch", "4",
                                 *SHORT)
                self.assertGreater(metric(one, "client_arrived_datagrams"), 0)
                self.assertGreater(metric(one, "server_datagrams_per_send"), 1)
                self.assertTrue(all(interval["flows"] for interval in one["intervals"]))

    def test_lost_in_the_window(self):
        """Not what the warm-up lost: every figure is of the same time."""
        for window in ([], ["--window", "8k"]):
            one = stream_run(self, "udp:", "-d", "200ms", "-w", "400ms", "-l", "1000", *window)
            self.assertEqual(metric(one, "bytes_lost"), 1000 * metric(one, "lost_datagrams"))

    def test_segments(self):
        one = stream_run(self, "udp:", "--gso", "--batch", "16", "-n", "1000001", "--verify",
                         "--rate", "400M")
        self.assertEqual(metric(one, "sent_bytes"), 1000001)
        self.assertEqual(metric(one, "sent_datagrams") - metric(one, "arrived_datagrams"),
                         metric(one, "lost_datagrams"))
        self.assertGreater(metric(one, "datagrams_per_send"), 1)

    def test_too_fast_for_a_small_buffer(self):
        """Drops of the server's own buffer are said: what was lost on the loopback, and what was
        said at the end until it was heard."""
        one = stream_run(self, "udp:", "-n", "20m", "--window", "4096")
        self.assertGreater(metric(one, "lost_datagrams"), 0)
        self.assertLessEqual(metric(one, "lost_datagrams"), metric(one, "receive_buffer_drops"))


class Foreign(unittest.TestCase):
    """A server that is not sonde's says nothing: what counts is what its kernel acknowledged, and
    where there is no TCP it is said that nobody counted."""

    def test_what_was_not_taken_does_not_count(self):
        """It stops reading until the window is over: what lies in the client's buffer has not
        arrived."""
        def late(server, client):
            hear(server, client)
            time.sleep(1)
            while hear(server, client):
                pass
        with Misbehaving(late) as server:
            one = stream_run(self, server.address, "--window", "256k", "-d", "200ms", "-w", "0s")
        window_s = one["window_ns"] / 1e9
        arrived = metric(one, "bytes_per_second") * window_s
        self.assertGreater(arrived, 0)
        self.assertLess(arrived, metric(one, "sent_bytes") - 65536)
        acknowledged = one["flows"][0]["metrics"]["acknowledged_bytes_per_second"]["value"]
        self.assertAlmostEqual(acknowledged * window_s, arrived, delta=2)

    def test_numbers_of_bytes(self):
        def reads(server, client):
            while hear(server, client):
                pass
        with Misbehaving(reads) as server:
            one = stream_run(self, server.address, "-n", "1000003", "-P", "2")
        self.assertAlmostEqual(metric(one, "bytes_per_second") * one["window_ns"] / 1e9, 1000003,
                               delta=1)

    def test_an_echo_is_none(self):
        """Which would wait for ever for somebody to read what it sends."""
        def echoes(server, client):
            while data := hear(server, client):
                client.sendall(data)
        def greets(server, client):
            client.sendall(b"220 ready\r\n")
            while hear(server, client):
                pass
        for engine in engines():
            for arguments in (["-d", "60s"], ["-n", "100m"], ["-n", "1000", "-P", "2"]):
                for handle, words in ((echoes, "(an echo)"), (greets, "sent data")):
                    with self.subTest(engine=engine, arguments=arguments, words=words), \
                            Misbehaving(handle) as server:
                        done = run("stream", server.address, "-e", engine, *arguments)
                        line = check_one_line(self, done, 1)
                        self.assertIn(words, line)
                        self.assertIn("sonde serve sonde://", line)

    def test_it_is_said(self):
        def text(server, *arguments):
            done = run("stream", server, *SHORT, *arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            return " ".join(done.stdout.split())
        def reads(server, client):
            while hear(server, client):
                pass
        with Misbehaving(reads) as server:
            printed = text(server.address)
            self.assertIn("(throughput, acknowledged by the other end's TCP)", printed)
            self.assertNotIn("nobody", printed)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            printed = text("udp://127.0.0.1:%d" % deaf.getsockname()[1], "--rate", "10M")
            self.assertIn("(sent: nobody counted what arrived)", printed)
            self.assertIn("warning: threads: nobody says what arrived", printed)
        printed = text("tcp:")
        self.assertIn("(throughput)", printed)
        self.assertNotIn("nobody", printed)


class Pace(unittest.TestCase):
    """A paced stream ends when it is to, however slow: the kernel is not stuffed with what it may
    not send yet."""

    def test_slow(self):
        for rate, bytes_per_second in (("1k", 125), ("500k", 62500), ("10M", 1250000)):
            for way in ([], ["-R"]):
                with self.subTest(rate=rate, way=way):
                    one = stream_run(self, "--rate", rate, *way, *SHORT)
                    sent = metric(one, "server_sent_bytes" if way else "sent_bytes")
                    self.assertGreater(sent, 0)
                    # 20 ms ahead, 100 ms caught up, 10 ms of a send
                    window = one["wall_ns"] / 1e9
                    self.assertLess(sent, bytes_per_second * (window + 0.14) + 10)
                    self.assertEqual(metric(one, "bytes_lost"), 0)


class Limits(unittest.TestCase):
    """What limits is never a lack of calls, and a rate that was not reached is said."""

    def text(self, *arguments):
        done = run("stream", *SHORT, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        printed = " ".join(done.stdout.split())
        self.assertNotIn("calls in flight", printed)
        return printed[printed.index("limited by:"):]

    def test_each(self):
        self.assertIn("was not reached", self.text("--rate", "900G"))
        self.assertNotIn("was not reached", self.text())
        self.assertIn("the receive buffer of the server", self.text("udp:", "--window", "4096"))
        self.text("pipe:")
        self.text("--bidir", "-P", "4")


class Tables(unittest.TestCase):
    def test_no_columns_without_values(self):
        """Streams have no latencies."""
        for arguments in (["-e", "threads,epoll"], ["--repeat", "2"],
                          ["-e", "threads,epoll", "--repeat", "2"]):
            with self.subTest(arguments=arguments):
                done = run("stream", *SHORT, *arguments)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("throughput", done.stdout)
                self.assertNotIn("p50", done.stdout)
                self.assertNotIn("latency", done.stdout)
        self.assertIn("p50", run("call", "-e", "threads,epoll", "-d", "100ms", "-w", "0s").stdout)


class Banner(unittest.TestCase):
    def test_what_was_asked_for_is_said(self):
        done = run("stream", *SHORT, "--bidir", "-P", "2", "--rate", "1G", "--window", "256k",
                   "--dscp", "ef", "--busy-poll", "--server-engine", "epoll")
        self.assertEqual(done.returncode, 0, done.stderr)
        printed = " ".join(done.stdout.split())
        self.assertIn("streams 2, bidir, rate 1.00 Gbit/s, server-engine epoll, window 256k, "
                      "dscp 46, busy-poll", printed)
        self.assertIn(", paced", printed)
        self.assertIn("stream 1 to the server", printed)
        self.assertIn("stream 2 to the client", printed)
        self.assertNotIn("loop", printed)
        self.assertIn("unpaced", run("stream", *SHORT).stdout)


class Sums(unittest.TestCase):
    def test_what_is_of_a_moment_is_not_summed(self):
        one = stream_run(self, "-P", "3", *SHORT)
        for row in one["flows"]:
            if row["role"] == "client":
                of_all = row["what"].startswith("all")
                for key in ("congestion_window_bytes", "delivery_bytes_per_second"):
                    self.assertEqual(row["metrics"][key]["value"] is None, of_all)
                self.assertIsNotNone(row["metrics"]["retransmits"]["value"])

    def test_drops_are_packets(self):
        done = run("stream", "udp:", "--gso", "--batch", "16", "--window", "4096", *SHORT)
        printed = " ".join(done.stdout.split())
        self.assertIn("receive-buffer drops (packets)", printed)
        self.assertIn("may have been up to 16 datagrams", printed)


class Verify(unittest.TestCase):
    """A wrong byte is found where it is looked for."""

    def test_client_checks(self):
        def wrong(server, client):
            sent = 0
            try:
                while sent < 1 << 20:
                    block = bytearray((sent + i) % 251 for i in range(65536))
                    if sent <= 500000 < sent + len(block):
                        block[500000 - sent] ^= 1
                    client.sendall(block)
                    sent += len(block)
                while hear(server, client):
                    pass
            except OSError:
                pass
        for verify in ([], ["--verify"]):
            with self.subTest(verify=verify), Misbehaving(wrong) as server:
                done = run("stream", server.address, "-R", "-n", "1m", "--json", *verify)
                if verify:
                    line = check_one_line(self, done, 1)
                    self.assertIn("payload is not what was sent", line)
                    check_failed_record(self, checked_record(self, done.stdout))
                else:
                    self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
