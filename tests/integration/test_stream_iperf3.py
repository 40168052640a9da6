"""sonde stream against the real iperf3's server, and the real iperf3's client against sonde serve:
both ends say the same of the same bytes."""

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest
import zlib

from sonde_program import (
    PATIENCE_S, Folder, Serving, check_failed_record, check_one_line, checked_record, metric,
    read_record, run, start)

IPERF3 = os.environ.get("IPERF3") or shutil.which("iperf3")  # another version, by hand
# What may be between two sockets when the test ends: both buffers of each connection.
IN_FLIGHT = 16 << 20


def setUpModule():
    if IPERF3 is None:
        reason = "there is no iperf3: apt-get install iperf3"
        print("test_stream_iperf3: skipped:", reason, file=sys.stderr)
        raise unittest.SkipTest(reason)


class RealServer:
    """`iperf3 -s`, which serves one client after the other."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.process = subprocess.Popen(
            [IPERF3, "-s", "-B", "127.0.0.1", "-p", str(self.port), "--forceflush"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.process.stdout.readline()  # a line of dashes: it listens
        self.url = "iperf3://127.0.0.1:%d" % self.port
        self.datagrams = "iperf3+udp://127.0.0.1:%d" % self.port

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.output = self.process.communicate(timeout=PATIENCE_S)[0]

    def stream(self, *arguments, url=None):
        """`sonde stream` to it; between two tests it takes a moment."""
        for _ in range(50):
            done = run("stream", url or self.url, *arguments)
            if "is busy" not in done.stderr and "refused" not in done.stderr:
                break
            time.sleep(0.1)
        return done

    def record(self, case, *arguments, url=None):
        done = self.stream("--json", *arguments, url=url)
        case.assertEqual(done.returncode, 0, done.stderr)
        record = checked_record(case, done.stdout)
        case.assertTrue(record["complete"])
        return record


def flow_rows(one):
    return [row for row in one["flows"] if not row["what"].startswith("all")]


def flow_sum(one, key):
    return sum(row["metrics"][key]["value"] for row in flow_rows(one))


class StreamToRealServer(unittest.TestCase):
    def check_bytes(self, one, streams):
        """Both ends counted the same, but for what was on its way."""
        ours, theirs = metric(one, "whole_bytes"), metric(one, "peer_bytes")
        sent, received = metric(one, "sent_bytes"), metric(one, "received_bytes")
        self.assertGreater(ours, 0)
        self.assertLess(abs(ours - theirs), IN_FLIGHT * streams)
        self.assertLessEqual(sent + received, ours)
        if received == 0:
            self.assertLessEqual(theirs, ours)
        elif sent == 0:
            self.assertLessEqual(ours, theirs)
        self.assertEqual(len(flow_rows(one)), streams)
        self.assertGreater(metric(one, "peer_bytes_per_second"), 0)

    def test_tcp(self):
        with RealServer() as server:
            for arguments, streams, sends, receives in (
                    ((), 1, True, False), (("-P", "4"), 4, True, False),
                    (("-R",), 1, False, True), (("-R", "-P", "4"), 4, False, True),
                    (("--bidir", "-P", "2"), 4, True, True),
                    (("--bidir", "-e", "epoll"), 2, True, True), (("-Z", "msg"), 1, True, False),
                    (("-Z", "sendfile", "-P", "2"), 2, True, False),
                    (("-l", "16k", "--nodelay", "-M", "1400", "--window", "128k", "--dscp", "ef",
                      "--congestion", "reno"), 1, True, False)):
                with self.subTest(arguments=arguments):
                    one = server.record(self, "-d", "500ms", "-i", "250ms", *arguments)["runs"][0]
                    self.check_bytes(one, streams)
                    self.assertEqual(metric(one, "sent_bytes") > 0, sends)
                    self.assertEqual(metric(one, "received_bytes") > 0, receives)
                    known = one["metrics"]["peer_retransmits"]["value"] is not None
                    self.assertEqual(known, receives)
        self.assertNotIn("error", server.output)
        self.assertNotIn("unexpectedly", server.output)

    def test_each_way_has_its_streams(self):
        """The real one begins with the client's; ours take turns."""
        with RealServer() as server:
            one = server.record(self, "-d", "300ms", "--bidir", "-P", "3")["runs"][0]
        for number, row in enumerate(flow_rows(one)):
            sent, received = (row["metrics"][key]["value"]
                              for key in ("sent_bytes", "received_bytes"))
            self.assertEqual((sent > 0, received > 0), (number % 2 == 0, number % 2 == 1), row)
        self.assertNotIn("error", server.output)

    def test_numbers_of_bytes(self):
        with RealServer() as server:
            for arguments in (("-P", "3"), ("-R", "-P", "3"), ("--bidir",)):
                with self.subTest(arguments=arguments):
                    one = server.record(self, "-n", "30m", *arguments)["runs"][0]
                    moved = metric(one, "sent_bytes") + metric(one, "received_bytes")
                    self.assertGreaterEqual(moved, 30 << 20)
                    if "-R" not in arguments:
                        self.assertLess(moved, 31 << 20)
            with self.subTest("datagrams"):
                one = server.record(self, "-n", "2m", "--rate", "100M", "-l", "1000",
                                    url=server.datagrams)["runs"][0]
                self.assertEqual(metric(one, "sent_bytes"), 2 << 20)
        self.assertNotIn("error", server.output)

    def test_rate_is_the_peers_too(self):
        with RealServer() as server:
            for arguments in ((), ("-R",), ("-R", "--pacing", "timer")):
                with self.subTest(arguments=arguments):
                    one = server.record(self, "-d", "1s", "--rate", "40M", *arguments)["runs"][0]
                    self.assertLess(metric(one, "bytes_per_second"), 10e6)
                    self.assertLess(metric(one, "peer_bytes_per_second"), 10e6)

    def test_the_headline_is_what_arrived(self):
        """Not what this end's kernel took, which at a low rate was many times that."""
        with RealServer() as server:
            for url, arguments in ((None, ["--rate", "1M"]), (None, ["-n", "20m"]),
                                   (None, ["-P", "2"]), (server.datagrams, ["--rate", "1M"])):
                with self.subTest(url=url, arguments=arguments):
                    time = [] if "-n" in arguments else ["-d", "500ms"]
                    one = server.record(self, *time, *arguments, url=url)["runs"][0]
                    arrived = metric(one, "peer_bytes_per_second")
                    self.assertAlmostEqual(metric(one, "bytes_per_second"), arrived,
                                           delta=arrived / 50)
                    self.assertAlmostEqual(metric(one, "bits_per_second"), arrived * 8,
                                           delta=arrived * 8 / 50)
                    if "--rate" in arguments:
                        self.assertLess(metric(one, "bytes_per_second"), 250000)

    def test_warm_up_is_omitted(self):
        with RealServer() as server:
            record = server.record(self, "-d", "1s", "-w", "500ms", "--rate", "40M")
            one = record["runs"][0]
            self.assertIn("the warm-up is 1 s", " ".join(record["warnings"]))
            # Of two seconds, the second one.
            self.assertLess(metric(one, "peer_bytes"), 8e6)
            self.assertLess(metric(one, "whole_bytes"), 8e6)
            self.assertLess(metric(one, "sent_bytes"), 8e6)
            record = server.record(self, "-d", "300ms", "--rate", "40M")
            self.assertIn("no warm-up", " ".join(record["warnings"]))

    def test_datagrams(self):
        with RealServer() as server:
            for arguments, streams, sends, receives in (
                    ((), 1, True, False), (("-P", "3", "--batch", "8"), 3, True, False),
                    (("-R",), 1, False, True), (("-R", "-e", "epoll", "-P", "2"), 2, False, True),
                    (("--bidir",), 2, True, True)):
                with self.subTest(arguments=arguments):
                    one = server.record(self, "-d", "500ms", "--rate", "8M", "-l", "1000",
                                        *arguments, url=server.datagrams)["runs"][0]
                    self.check_bytes(one, streams)
                    self.assertEqual(metric(one, "sent_bytes"),
                                     1000 * flow_sum(one, "sent_datagrams"))
                    self.assertEqual(metric(one, "received_bytes"),
                                     1000 * flow_sum(one, "arrived_datagrams"))
                    self.assertEqual(flow_sum(one, "sent_datagrams") > 0, sends)
                    self.assertEqual(flow_sum(one, "arrived_datagrams") > 0, receives)
                    lost = one["metrics"]["peer_lost"]["value"]
                    self.assertEqual(lost is not None, sends)
        self.assertNotIn("error", server.output)

    def test_the_server_prints_what_we_say(self):
        with RealServer() as server:
            one = server.record(self, "-n", "20m", "-R", "-P", "2")["runs"][0]
        self.assertEqual(metric(one, "peer_cpus") > 0, True)
        self.assertIn("sender", server.output)
        self.assertNotIn("error", server.output)


class WhatGoesWrong(unittest.TestCase):
    def test_nobody_there(self):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            done = run("stream", "iperf3://127.0.0.1:%d" % closed.getsockname()[1])
        self.assertIn("iperf3 -s", check_one_line(self, done, 1))

    def test_what_cannot_be_said(self):
        for command, arguments, word in (
                ("call", [], "call"), ("ping", [], "ping"), ("stream", ["--verify"], "--verify"),
                ("stream", ["-P", "129"], "128"), ("stream", ["-l", "2m"], "1048576"),
                ("stream", ["-P", "100", "-e", "epoll"], "--streams"),
                ("stream", ["--source", "127.0.0.2"], "--source")):
            with self.subTest(command=command, arguments=arguments):
                done = run(command, "iperf3://127.0.0.1:1", *arguments)
                self.assertIn(word, check_one_line(self, done, 2))

    def test_busy(self):
        with RealServer() as server:
            first = start("stream", server.url, "-d", "20s", "-i", "200ms")
            first.stdout.readline()  # an interval: it is at work
            done = run("stream", server.url, "-d", "100ms")
            self.assertIn("busy", check_one_line(self, done, 1))
            first.send_signal(signal.SIGINT)
            stdout, stderr = first.communicate(timeout=PATIENCE_S)
            self.assertIn("interrupted", stderr)
            self.assertIn("throughput", stdout)
        self.assertNotIn("error", server.output)  # it was told properly

    def test_why_the_server_gave_up(self):
        """An error in place of the start, and then nobody: the error is what is said."""
        def serve(listener):
            control, _ = listener.accept()
            with control:
                control.recv(37, socket.MSG_WAITALL)  # the cookie
                control.sendall(b"\x09")
                (length,) = struct.unpack(">I", control.recv(4, socket.MSG_WAITALL))
                control.recv(length, socket.MSG_WAITALL)
                control.sendall(b"\x0a")
                stream, _ = listener.accept()
                with stream:
                    stream.recv(37, socket.MSG_WAITALL)
                    control.sendall(b"\xfe" + struct.pack(">ii", 144, 0))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener,), daemon=True)
            thread.start()
            done = run("stream", "iperf3://127.0.0.1:%d" % listener.getsockname()[1], "-d", "1",
                       "-q")
            thread.join()
        line = check_one_line(self, done, 1)
        self.assertIn("144", line)
        self.assertNotIn("EXCHANGE_RESULTS", line)

    def test_killed_in_the_middle(self):
        for arguments in ((), ("-R",)):
            with self.subTest(arguments=arguments), RealServer() as server:
                path = Folder(self).file("record.json")
                process = start("stream", server.url, "-d", "30s", "-i", "200ms",
                                "--json=" + path, *arguments)
                for _ in range(3):  # intervals
                    process.stdout.readline()
                server.process.kill()
                stderr = process.communicate(timeout=PATIENCE_S)[1]
                self.assertEqual(process.returncode, 1, stderr)
                lines = [line for line in stderr.splitlines() if line.startswith("sonde: ")]
                self.assertEqual(len(lines), 1, stderr)
                record = read_record(self, path)
                check_failed_record(self, record)
                one = record["runs"][0]
                self.assertGreater(metric(one, "sent_bytes") + metric(one, "received_bytes"), 0)


LINE = re.compile(r"sonde: iperf3 test \d+: [^ ]+, (TCP|UDP), (\d+) streams?(?: each way)?, [^,]*"
                  r"(?:, received ([\d,]+) bytes at .*?)?(?:, sent ([\d,]+) bytes at .*)?$")


class RealClientToServe(unittest.TestCase):
    def client(self, port, *arguments):
        done = subprocess.run([IPERF3, "-c", "127.0.0.1", "-p", port, "-J", *arguments], text=True,
                              capture_output=True, timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-500:] + done.stderr)
        record = json.loads(done.stdout)
        self.assertNotIn("error", record)
        return record["end"]

    def bytes_of(self, line):
        match = LINE.match(line.strip())
        self.assertIsNotNone(match, line)
        return [int(text.replace(",", "")) if text else None for text in match.groups()[2:]]

    def check_near(self, said, counted):
        self.assertGreater(counted, 0)
        self.assertLess(abs(said - counted), counted / 100)

    def test_each_kind(self):
        with Serving("iperf3://127.0.0.1:0") as serving:
            port = serving.address.rsplit(":", 1)[1]
            for arguments in (("-P", "4"), ("-R",), ("--bidir", "-P", "2"), ("-u", "-b", "20M"),
                              ("-u", "-b", "20M", "-R"), ("-n", "20M")):
                with self.subTest(arguments=arguments):
                    end = self.client(port, *(() if "-n" in arguments else ("-t", "1")),
                                      *arguments)
                    received, sent = self.bytes_of(serving.process.stderr.readline())
                    self.assertEqual(sent is not None, "-R" in arguments or "--bidir" in arguments)
                    self.assertEqual(received is not None, "-R" not in arguments)
                    datagrams = "-u" in arguments
                    if received is not None:
                        self.check_near(received, end["sum" if datagrams else "sum_received"]
                                        ["bytes"])
                    if sent is not None:
                        key = ("sum" if datagrams else "sum_sent_bidir_reverse"
                               if "--bidir" in arguments else "sum_sent")
                        self.check_near(sent, end[key]["bytes"])
            done = serving.stop()
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stdout, r"\b6 iperf3 tests served")
            self.assertRegex(done.stdout, r"iperf3 received +[1-9]")
            self.assertNotIn("connections accepted", done.stdout)
            self.assertNotIn("(none)", done.stdout)

    def test_what_it_sends_cannot_be_compressed(self):
        cookie = b"abcdefghijklmnopqrstuvwxyz2345672345\0"
        for zerocopy in (0, 1):
            parameters = json.dumps({"tcp": True, "omit": 0, "time": 10, "num": 0, "blockcount": 0,
                                     "parallel": 1, "len": 65537, "reverse": True,
                                     "zerocopy": zerocopy}).encode()
            with Serving("iperf3://127.0.0.1:0") as serving, serving.connect() as control:
                control.sendall(cookie)
                self.assertEqual(control.recv(1), b"\x09")
                control.sendall(struct.pack(">I", len(parameters)) + parameters)
                self.assertEqual(control.recv(1), b"\x0a")
                with serving.connect() as data:
                    data.sendall(cookie)
                    with data.makefile("rb") as source:
                        blocks = source.read(2 * 65537)
            self.assertEqual(blocks[:65537], blocks[65537:])
            self.assertGreater(len(zlib.compress(blocks[:65537])), 65000)

    def test_beside_other_addresses(self):
        with Serving("tcp://127.0.0.1:0", "iperf3://127.0.0.1:0", "sonde://127.0.0.1:0") as serving:
            address = {url.split(":")[0]: url for url in serving.addresses}
            self.client(address["iperf3"].rsplit(":", 1)[1], "-n", "1M")
            self.bytes_of(serving.process.stderr.readline())
            for scheme in ("tcp", "sonde"):
                self.assertEqual(run("call", address[scheme], "-n", "100").returncode, 0)

    def test_our_stream_and_a_stop(self):
        """What one sonde says, the other one heard; a stop in the middle ends both."""
        with Serving("iperf3://127.0.0.1:0") as serving:
            done = run("stream", serving.address, "--json", "-n", "20m")
            self.assertEqual(done.returncode, 0, done.stderr)
            one = checked_record(self, done.stdout)["runs"][0]
            received, _ = self.bytes_of(serving.process.stderr.readline())
            self.assertEqual(received, 20 << 20)
            self.assertEqual(metric(one, "peer_bytes"), 20 << 20)
            client = start("stream", serving.address, "-d", "30s", "-i", "100ms")
            client.stdout.readline()
            serving.process.send_signal(signal.SIGTERM)
            stderr = client.communicate(timeout=PATIENCE_S)[1]
            self.assertEqual(client.returncode, 1, stderr)
            self.assertIn("terminated", stderr)
            self.assertEqual(serving.process.wait(PATIENCE_S), 0)

    def test_an_address_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = run("serve", "iperf3://127.0.0.1:%d" % taken.getsockname()[1])
        self.assertIn("in use", check_one_line(self, done, 1))

    def test_loopback_unless_a_host_is_named(self):
        with Serving("iperf3://:0") as serving:
            self.assertTrue(serving.address.startswith("iperf3://127.0.0.1:"), serving.address)

        try:
            socket.create_server(("127.0.0.1", 5201)).close()
        except OSError:
            self.skipTest("port 5201 is taken")
        with Serving("iperf3://") as serving:
            self.assertEqual(serving.address, "iperf3://127.0.0.1:5201")


if __name__ == "__main__":
    unittest.main()
