"""`sonde as wsperf` in both forms: against `sonde serve`, python3-websockets and servers that fail,
with the table calculated again from the result files."""

import asyncio
import base64
import hashlib
import http
import json
import math
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest
from tempfile import TemporaryDirectory

import websockets

from sonde_program import (PATIENCE_S, Misbehaving, Serving, check_one_line, end, hear, run,
                           start)

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MEMBERS = ["total_duration", "started", "ended", "handshake_throttle_count",
           "handshake_resume_count", "connection_stats"]
PHASES = ["tcp_pre_init", "tcp_post_init", "open", "close"]
ROWS = ["Duration", "Total", "Success", "Fail", "Fail %", "Handshakes/sec", "Min", "SD", "Avg",
        "Median", "q90", "q95", "q99", "q99.9", "q99.99", "Max"]
USAGE = "Usage: wsperf serverurl num_threads num_connections max_parallel_handshakes_low " \
        "max_parallel_handshakes_high"


def url(server):
    return server.address.replace("tcp:", "ws:")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def load(path):
    with open(path, encoding="ascii") as file:
        return json.load(file)


def figures(text):
    """The table's figures, as they are printed."""
    table = {}
    for line in text.splitlines():
        match = re.match(r"^ +(\S.*?) *: +(\S+)( m?s)?$", line)
        if match:
            table[match.group(1)] = match.group(2)
    return table


def expected(results):
    """The same, from result files, as the driver's own analysis calculates it."""
    stats = [one for result in results for one in result["connection_stats"]]
    times = sorted(one["open"] for one in stats if not one["failed"])
    span = (max(result["ended"] for result in results) -
            min(result["started"] for result in results)) / 1e9
    count, fail = len(times), len(stats) - len(times)
    mean = sum(times) / count
    deviation = math.sqrt(sum((value - mean) ** 2 for value in times) / (count - 1))
    tails = {"q90": 10, "q95": 20, "q99": 100, "q99.9": 1000, "q99.99": 10000}
    table = {"Duration": "%.1f" % span, "Total": str(len(stats)), "Success": str(count),
             "Fail": str(fail), "Fail %": "%.2f" % (100 * fail / len(stats)),
             "Handshakes/sec": "%d" % round(count / span)}
    milliseconds = {"Min": times[0], "SD": deviation, "Avg": mean, "Median": times[count // 2],
                    "Max": times[-1]}
    milliseconds.update((name, times[-count // part]) for name, part in tails.items())
    table.update((name, "%.1f" % (value / 1000)) for name, value in milliseconds.items())
    return table


class Result(unittest.TestCase):
    def check(self, result, connections, failed=0):
        self.assertEqual(list(result), MEMBERS)
        stats = result["connection_stats"]
        self.assertEqual(len(stats), connections)
        for one in stats:
            self.assertEqual(list(one), PHASES + ["failed"])
            self.assertTrue(all(type(one[phase]) is int and one[phase] >= 0 for phase in PHASES))
            self.assertIs(type(one["failed"]), bool)
        self.assertEqual(sum(one["failed"] for one in stats), failed)
        span_us = (result["ended"] - result["started"]) // 1000
        self.assertEqual(result["total_duration"], span_us)
        # No connection lasted longer than all of them.
        self.assertLessEqual(max(sum(one[phase] for phase in PHASES) for one in stats), span_us)
        # Dialing goes on once for each time that it has stopped, and it began.
        self.assertEqual(result["handshake_resume_count"], result["handshake_throttle_count"] + 1)

    def check_table(self, text, results):
        table = figures(text)
        self.assertEqual(list(table), ROWS)
        for name, value in expected(results).items():
            # A half may be rounded either way.
            digit = 0.011 if name == "Fail %" else 1.01 if name == "Handshakes/sec" else 0.101
            self.assertLessEqual(abs(float(table[name]) - float(value)), digit, name)
        for name in ("Total", "Success", "Fail"):
            self.assertEqual(table[name], expected(results)[name])


class Prober(Result):
    def test_result_on_standard_output(self):
        with Serving("ws://127.0.0.1:0") as server:
            before_ns = time.time_ns()
            done = run("as", "wsperf", url(server), "0", "300", "5", "20")
            after_ns = time.time_ns()
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            result = json.loads(done.stdout)
            self.assertEqual(done.stdout.count("\n"), 1)
            self.check(result, 300)
            self.assertTrue(before_ns < result["started"] < result["ended"] < after_ns)
            for one in result["connection_stats"]:
                self.assertEqual(one["tcp_post_init"], 0)
                self.assertGreater(one["open"], 0)
                self.assertGreater(one["close"], 0)
            # 20 at first, then never more than 16 before the next stop.
            self.assertIn(result["handshake_throttle_count"], range(1, 1 + 280 // 16 + 1))

    def test_threads_share_the_connections_and_the_marks(self):
        with Serving("ws://127.0.0.1:0") as server, TemporaryDirectory() as folder:
            path = os.path.join(folder, "result.json")
            done = run("as", "wsperf", url(server), "3", "1000", "7", "20", path)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            result = load(path)
            stops = result.pop("handshake_throttle_count")
            resumes = result.pop("handshake_resume_count")
            self.assertEqual(resumes, stops + 1)
            result["handshake_throttle_count"], result["handshake_resume_count"] = 0, 1
            result["connection_stats"] = result.pop("connection_stats")
            self.check(result, 1000)
            self.assertEqual(server_counts(server)["accepted"], 1000)

    def test_fewer_connections_than_the_marks(self):
        with Serving("ws://127.0.0.1:0") as server:
            done = run("as", "wsperf", url(server), "4", "2", "1000", "2000")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            result = json.loads(done.stdout)
            self.check(result, 2)
            self.assertEqual(result["handshake_throttle_count"], 0)

    def test_against_python3_websockets(self):
        codes = []
        with Peer(codes) as peer, TemporaryDirectory() as folder:
            path = os.path.join(folder, "result.json")
            done = run("as", "wsperf", peer.url, "0", "60", "4", "8", path)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            self.check(load(path), 60)
        self.assertEqual(codes, [1001] * 60)

    def test_tls_is_a_phase_of_its_own(self):
        with TemporaryDirectory() as folder:
            cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
                            "-subj", "/CN=peer", "-addext", "subjectAltName=IP:127.0.0.1"],
                           check=True, capture_output=True)
            with Serving("wss://127.0.0.1:0", "--cert", cert, "--key", key) as server:
                uri = "wss://" + server.address.split("://")[1]
                trusting = dict(os.environ, SSL_CERT_FILE=cert)
                done = run("as", "wsperf", uri, "0", "30", "2", "5", env=trusting)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                result = json.loads(done.stdout)
                self.check(result, 30)
                self.assertTrue(all(one["tcp_post_init"] for one in result["connection_stats"]))
                done = run("as", "wsperf", uri, "0", "30", "2", "5")
                self.assertIn("30 failed, tls: ", done.stderr)
                self.check(json.loads(done.stdout), 30, failed=30)

    def test_tls_that_fails_is_the_phase_in_which_it_did(self):
        """The server answers the first bytes of TLS after a tenth of a second, and with none."""
        def no_tls(server, client):
            hear(server, client)
            time.sleep(0.1)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with Misbehaving(no_tls) as server:
            done = run("as", "wsperf", server.address.replace("tcp:", "wss:"), "0", "6", "1", "3")
            self.assertEqual(done.returncode, 0)
            self.assertIn("6 failed, tls: ", done.stderr)
            result = json.loads(done.stdout)
            self.check(result, 6, failed=6)
            for one in result["connection_stats"]:
                self.assertGreaterEqual(one["tcp_post_init"], 100000)
                self.assertEqual((one["open"], one["close"]), (0, 0))

    def test_several_processes_where_one_may_not_open_enough_files(self):
        """They share one result and the marks."""
        few = ["prlimit", "--nofile=100"]
        with Barrier(high=300, total=300) as server:
            done = run("as", "wsperf", server.url, "2", "300", "20", "300", prefix=few)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.check(json.loads(done.stdout), 300)
        self.assertEqual(server.waiting_most, 300)
        with Serving("ws://127.0.0.1:0") as server:
            done = run("as", "wsperf", url(server), "0", "900", "100", "300", prefix=few)
            self.assertEqual(done.returncode, 0, done.stderr)
            result = json.loads(done.stdout)
            self.check(result, 900)
            # A process dials two thirds of its share of them between two stops.
            self.assertLess(result["handshake_throttle_count"], 30)
            self.assertEqual(server_counts(server)["accepted"], 900)

    def test_most_are_in_flight_until_they_are_open(self):
        """A server that answers the upgrade once it has heard of as many as may be in flight, and
        no close before all are there: it would wait for ever if more or fewer were."""
        server = Barrier(high=5, total=20)
        with server:
            done = run("as", "wsperf", server.url, "0", "20", "1", "5")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.check(json.loads(done.stdout), 20)
        self.assertEqual(server.waiting_most, 5)
        self.assertEqual(server.open, 20)

    def test_close_lasts_until_the_connection_has_ended(self):
        """The server ends it a while after its close frame."""
        with Barrier(high=2, total=4, linger_s=0.1) as server:
            done = run("as", "wsperf", server.url, "0", "4", "1", "2")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            result = json.loads(done.stdout)
            self.check(result, 4)
            self.assertGreaterEqual(min(one["close"] for one in result["connection_stats"]), 100000)

    def test_every_third_is_refused(self):
        with Failing(every=3) as server, TemporaryDirectory() as folder:
            path = os.path.join(folder, "result.json")
            done = run("as", "wsperf", server.url, "0", "90", "4", "8", path)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            self.assertIn("30 failed, upgrade: answered with status 503", done.stderr)
            result = load(path)
            self.check(result, 90, failed=30)
            for one in result["connection_stats"]:
                self.assertTrue(not one["failed"] or one["close"] == 0)
            done = run("as", "wsperf", "--skiprun", path)
            self.check_table(done.stdout, [result])
            self.assertEqual(figures(done.stdout)["Fail %"], "33.33")

    def test_nobody_there(self):
        with TemporaryDirectory() as folder:
            path = os.path.join(folder, "result.json")
            done = run("as", "wsperf", "ws://127.0.0.1:%d" % free_port(), "2", "500", "5", "10",
                       path)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            self.assertEqual(done.stderr,
                             "wsperf: %s: 500 failed, connect: ECONNREFUSED\n" % path)
            self.check(load(path), 500, failed=500)
            done = run("as", "wsperf", "--skiprun", path)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            table = figures(done.stdout)
            self.assertEqual((table["Fail %"], table["Fail"], table["Handshakes/sec"]),
                             ("100.00", "500", "0"))
            self.assertEqual({table[name] for name in ROWS[6:]}, {"n/a"})

    def test_server_that_dies(self):
        with Failing(every=0, dies_after=50) as server:
            done = run("as", "wsperf", server.url, "0", "200", "4", "8")
            self.assertEqual(done.returncode, 0, done.stderr)
            result = json.loads(done.stdout)
            failed = sum(one["failed"] for one in result["connection_stats"])
            self.check(result, 200, failed)
            # Of the first ones some were in flight.
            self.assertIn(failed, range(150, 170))
            self.assertIn("failed, connect: ECONNREFUSED", done.stderr)

    def test_interrupted(self):
        """What was begun is written; those in flight have failed."""
        with Barrier(high=1000, total=1000) as server, TemporaryDirectory() as folder:
            path = os.path.join(folder, "result.json")
            process = start("as", "wsperf", server.url, "0", "50", "4", "8", path)
            server.wait_for(8)
            process.send_signal(signal.SIGINT)
            done = end(process, time.monotonic())
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("interrupted", done.stderr)
            stats = load(path)["connection_stats"]
            self.assertEqual([one["failed"] for one in stats], [True] * 8)

    def test_bad_input(self):
        uri = "ws://127.0.0.1:%d" % free_port()
        for arguments in ([], [uri], [uri, "0", "1", "1"], [uri, "0", "1", "1", "1", "/x", "y"]):
            done = run("as", "wsperf", *arguments)
            self.assertEqual((done.returncode, done.stderr), (1, ""))
            self.assertTrue(done.stdout.startswith(USAGE), done.stdout)
        for words, said in ((["0", "0", "1", "1"], "num_connections is a whole number from 1"),
                            (["0", "10", "3", "2"], "max_parallel_handshakes_low must be at most"),
                            (["0", "10", "0", "2"], "max_parallel_handshakes_low is a whole"),
                            (["x", "10", "1", "2"], "num_threads is a whole number from 0"),
                            (["0", "-1", "1", "2"], "num_connections is a whole"),
                            (["0", "1k", "1", "2"], "num_connections is a whole"),
                            (["0", "99999999999999999999", "1", "2"], "num_connections is a")):
            done = run("as", "wsperf", uri, *words)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(said, done.stderr)
        for bad in ("http://127.0.0.1:1", "127.0.0.1:9000", "ws://", "ws://127.0.0.1:99999",
                    "ws://host with blanks/"):
            done = run("as", "wsperf", bad, "0", "1", "1", "1")
            self.assertEqual(done.stdout, "")
            check_one_line(self, done, 2)

    def test_result_that_cannot_be_written(self):
        """Before anything is connected."""
        with Failing(every=0) as server, TemporaryDirectory() as folder:
            path = os.path.join(folder, "nowhere", "result.json")
            done = run("as", "wsperf", server.url, "0", "10", "1", "2", path)
            self.assertIn(path, check_one_line(self, done, 1))
            done = run("as", "wsperf", server.url, "0", "10", "1", "2", "/dev/full")
            self.assertIn("cannot be written", check_one_line(self, done, 1))
            done = run("as", "wsperf.py", "--wsuri", server.url, "--workers", "1", "--conns", "5",
                       "--resultfile", path)
            self.assertEqual(done.returncode, 1)
            self.assertIn("sonde: worker 0: failed", done.stderr)
        self.assertEqual(server.served, 10)


def server_counts(server):
    server.process.send_signal(signal.SIGTERM)
    text = server.process.communicate(timeout=PATIENCE_S)[0]
    match = re.search(r"connections accepted +([\d,]+)", text)
    return {"accepted": int(match.group(1).replace(",", ""))}


class Driver(Result):
    def test_workers_and_their_table(self):
        with Serving("ws://127.0.0.1:0") as server, TemporaryDirectory() as folder:
            done = run("as", "wsperf", "--wsuri", url(server), "--workers", "3", "--threads", "0",
                       "--conns", "400", "--lowmark", "10", "--highmark", "20", cwd=folder)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            names = ["result_%d.json" % i for i in range(3)]
            self.assertEqual(sorted(os.listdir(folder)), names)
            results = [load(os.path.join(folder, name)) for name in names]
            for result in results:
                self.check(result, 400)
            self.check_table(done.stdout, results)
            lines = done.stdout.splitlines()
            self.assertEqual(lines[:6], ["Loading wsperf result file %s .." % name
                                         for name in names] +
                             ["", "Aggregate results (WebSocket Opening+Closing Handshake)", ""])
            self.assertEqual(lines[12], "")
            self.assertEqual(lines[23:], ["", "", "Analyze done."])
            self.assertRegex(lines[6], r"^          Duration: {7}\d\.\d s$")
            self.assertRegex(lines[7], r"^             Total:      1200$")
            self.assertRegex(lines[13], r"^     Min: {5,7}\d+\.\d ms$")
            self.assertRegex(lines[21], r"^  q99\.99: {4,7}\d+\.\d ms$")
            # The same again, without a run: by the pattern, by an option's value, by names.
            for again in (["--skiprun", "--workers", "3"], ["--skiprun", *names],
                          ["--skiprun", "--workers=3", "--resultfile=result_%d.json"]):
                self.assertEqual(run("as", "wsperf", *again, cwd=folder).stdout, done.stdout)
            self.assertEqual(run("as", "wsperf.py", "--skiprun", "--skipanalyze").stdout, "")
            self.assertEqual(server_counts(server)["accepted"], 1200)

    def test_skip_analyze_and_names(self):
        with Serving("ws://127.0.0.1:0") as server, TemporaryDirectory() as folder:
            done = run("as", "wsperf.py", "--wsuri", url(server), "--workers", "2", "--conns", "30",
                       "--highmark", "9", "--lowmark", "3", "--threads", "2", "--skipanalyze",
                       "--resultfile", "r%02d%%", cwd=folder)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            self.assertEqual(sorted(os.listdir(folder)), ["r00%", "r01%"])
            self.assertEqual(len(load(os.path.join(folder, "r01%"))["connection_stats"]), 30)

    def test_a_worker_that_dies(self):
        """There is no table of the others."""
        with TemporaryDirectory() as folder:
            program = os.path.join(folder, "program")
            for what, said in (("exit 3", "failed (exit status 3)"),
                               ("kill -SEGV $$", "died of signal 11 (Segmentation fault)")):
                with open(program, "w", encoding="ascii") as file:
                    file.write('#!/bin/sh\ncase "$6" in\nr1) %s;;\nesac\n' % what)
                    file.write('echo "$@" >> arguments\n')
                os.chmod(program, stat.S_IRWXU)
                done = run("as", "wsperf", "--wsperf", program, "--workers", "2", "--resultfile",
                           "r%d", cwd=folder)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn("sonde: worker 1: " + said, done.stderr)
            with open(os.path.join(folder, "arguments"), encoding="ascii") as file:
                self.assertEqual(set(file), {"ws://127.0.0.1:9000 0 50000 250 500 r0\n"})
            done = run("as", "wsperf", "--wsperf", os.path.join(folder, "none"), cwd=folder)
            self.assertIn("worker 0", check_one_line(self, done, 1))

    def test_interrupted(self):
        with Barrier(high=1000, total=1000) as server, TemporaryDirectory() as folder:
            process = start("as", "wsperf", "--wsuri", server.url, "--workers", "2", "--conns",
                            "50", "--lowmark", "4", "--highmark", "8", cwd=folder)
            server.wait_for(16)
            process.send_signal(signal.SIGINT)
            done = end(process, time.monotonic())
            self.assertEqual(done.returncode, 1)
            self.assertIn("workers: interrupted", done.stderr)
            self.assertEqual(figures(done.stdout)["Fail"], "16")
            for i in range(2):
                stats = load(os.path.join(folder, "result_%d.json" % i))["connection_stats"]
                self.assertEqual([one["failed"] for one in stats], [True] * 8)

    def test_command_line(self):
        for name in ("wsperf", "wsperf.py"):
            for option in ("-h", "--help"):
                done = run("as", name, option)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                for word in ("--wsuri", "--workers", "--threads", "--conns", "--lowmark",
                             "--highmark", "--resultfile", "--wsperf", "--skiprun",
                             "--skipanalyze"):
                    self.assertIn(word, done.stdout)
        for word in (USAGE, "num_threads   ", "resultfile   ", "SSL_CERT_FILE", "Exit status: 0"):
            self.assertIn(word, run("as", "wsperf", "--help").stdout)
        for arguments, said in ((["--nothing"], "unrecognized arguments: --nothing"),
                                (["--conns"], "expected one argument: --conns"),
                                (["--conns", "0"], "argument --conns: not from 1"),
                                (["--workers", "0"], "argument --workers: not from 1"),
                                (["--workers", "many"], "argument --workers: not from 1"),
                                (["--lowmark", "600"], "--lowmark must be at most --highmark"),
                                (["--conns", "5", "file"], "result files are analyzed with")):
            done = run("as", "wsperf", *arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertTrue(done.stderr.startswith("usage: wsperf.py [-h]"))
            self.assertIn("wsperf.py: error: " + said, done.stderr)
        for pattern in ("one_for_all.json", "%d_%d", "%s", "%"):
            done = run("as", "wsperf", "--conns", "1", "--resultfile", pattern)
            self.assertIn("does not name a file for each worker", check_one_line(self, done, 2))


class Files(Result):
    """Result files that others have written, or nobody should have."""

    GOOD = ('{"total_duration":5,"started":1000,"ended":2000000000,"handshake_throttle_count":0,'
            '"handshake_resume_count":1,"connection_stats":[%s]}\n')
    ONE = '{"tcp_pre_init":1,"tcp_post_init":0,"open":%d,"close":2,"failed":%s}'

    def analyze(self, folder, *texts):
        paths = []
        for i, text in enumerate(texts):
            paths.append(os.path.join(folder, "file%d" % i))
            with open(paths[-1], "w", encoding="utf-8") as file:
                file.write(text)
        return run("as", "wsperf", "--skiprun", *paths)

    def test_any_number_of_files(self):
        with TemporaryDirectory() as folder:
            texts = [self.GOOD % ",".join(self.ONE % ((i * 37 + j) % 5000 * 100, "false")
                                          for j in range(50)) for i in range(40)]
            done = self.analyze(folder, *texts)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.check_table(done.stdout, [json.loads(text) for text in texts])

    def test_memory_does_not_grow(self):
        """Of a result of some tens of megabytes, which comes through a pipe."""
        with TemporaryDirectory() as folder:
            path = os.path.join(folder, "pipe")
            os.mkfifo(path)
            process = start("as", "wsperf", "--skiprun", path)
            piece = ",".join(self.ONE % (i % 1000, "false") for i in range(1000)) + ","
            head, tail = (self.GOOD % "|").split("|")
            with open(path, "w", encoding="ascii") as file:
                file.write(head)
                for i in range(500):
                    file.write(piece)
                    if i == 20:
                        before = resident(process.pid)
                after = resident(process.pid)
                file.write(self.ONE % (7, "true") + tail)
            done = end(process, time.monotonic())
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(figures(done.stdout)["Total"], "500001")
            self.assertLess(after - before, 4 << 20)

    def test_broken_ones_are_named_with_the_place(self):
        good = self.GOOD % (self.ONE % (5, "false"))
        cases = [("", "is empty (byte 1, line 1)"),
                 (good[:100], "ends in the middle (byte 101, line 1)"),
                 (good + good, "goes on behind its end (byte %d, line 2)" % (len(good) + 1)),
                 ("\n\n[1]", "is no object: no result of wsperf (byte 3, line 3)"),
                 (good.replace('"open":5,', ""), 'has a connection without "open"'),
                 (good.replace("5,", "5.5,", 1), "no whole number"),
                 (good.replace("false", "no"), "neither true nor false"),
                 (good.replace('"ended":2000000000', '"ended":1'), "ended before it started"),
                 ('{"a":' + "[" * 100000, "nested deeper than 64 levels"),
                 ('{"a":"' + "x" * 1000000, "ends in the middle"),
                 ("\0" * 100, "is no object")]
        for text, said in cases:
            with TemporaryDirectory() as folder:
                done = self.analyze(folder, good, text)
                self.assertIn(os.path.join(folder, "file1") + ": ", check_one_line(self, done, 1))
                self.assertIn(said, done.stderr)
                self.assertNotIn("Aggregate", done.stdout)
        done = run("as", "wsperf", "--skiprun", "/nowhere/result.json")
        self.assertIn("/nowhere/result.json: cannot be opened", check_one_line(self, done, 1))
        done = run("as", "wsperf", "--skiprun", "/")
        self.assertIn("cannot be read", check_one_line(self, done, 1))


def resident(pid):
    with open("/proc/%d/statm" % pid, encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- servers ---------------------------------------------------------------------------------------


class Looping:
    """Something asyncio that serves on a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.main(),),
                                       daemon=True)

    async def main(self):
        self.over = asyncio.Event()
        server = await self.listen()
        self.url = "ws://127.0.0.1:%d/path" % server.sockets[0].getsockname()[1]
        self.server = server
        self.ready.set()
        await self.over.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def __enter__(self):
        self.thread.start()
        self.ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(PATIENCE_S)
        self.loop.close()


class Peer(Looping):
    """python3-websockets; remembers with what its clients close."""

    def __init__(self, codes):
        self.codes = codes
        super().__init__()

    async def listen(self):
        return await websockets.serve(self.serve, "127.0.0.1", 0)

    async def serve(self, connection):
        await connection.wait_closed()
        self.codes.append(connection.close_code)


class Failing(Looping):
    """Answers every so-many-th handshake with 503; the listener goes after so many."""

    def __init__(self, every, dies_after=None):
        self.every, self.dies_after, self.served = every, dies_after, 0
        super().__init__()

    async def listen(self):
        return await websockets.serve(self.serve, "127.0.0.1", 0, process_request=self.look)

    async def look(self, _path, _headers):
        self.served += 1
        if self.served == self.dies_after:
            self.server.server.close()  # its listener
        if self.dies_after and self.served > self.dies_after:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, [], b""
        if self.every and self.served % self.every == 0:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, [], b""
        return None

    async def serve(self, connection):
        await connection.wait_closed()


class Barrier(Looping):
    """Answers upgrades in groups of `high`, and no close before all `total` are open."""

    CLOSE = b"\x88\x02\x03\xe9"

    def __init__(self, high, total, linger_s=0):
        self.high, self.total, self.linger_s = high, total, linger_s
        self.waiting = self.waiting_most = self.open = 0
        super().__init__()

    async def listen(self):
        self.group, self.all_open = asyncio.Event(), asyncio.Event()
        return await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1000)

    async def wait_for_others(self):
        self.waiting += 1
        self.waiting_most = max(self.waiting, self.waiting_most)
        group = self.group
        if self.waiting == self.high:
            await asyncio.sleep(0.05)  # one too many would come now
            self.group, self.waiting = asyncio.Event(), 0
            group.set()
        await group.wait()

    async def serve(self, reader, writer):
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            await self.wait_for_others()
            key = re.search(rb"(?i)sec-websocket-key: (\S+)", request).group(1)
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            self.open += 1
            if self.open == self.total:
                self.all_open.set()
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
                         b"Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            await reader.readexactly(8)
            await self.all_open.wait()
            writer.write(self.CLOSE)
            await asyncio.sleep(self.linger_s)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def wait_for(self, count):
        until = time.monotonic() + PATIENCE_S
        while self.waiting < count:
            assert time.monotonic() < until
            time.sleep(0.01)


if __name__ == "__main__":
    unittest.main()
