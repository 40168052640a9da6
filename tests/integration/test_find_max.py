"""--find-max: the highest rate under a limit, by probes that are all in the record."""

import csv
import io
import json
import shutil
import signal
import socket
import subprocess
import time
import unittest

from sonde_program import (PATIENCE_S, SONDE, Misbehaving, Serving, check_one_line, checked_record,
                           end, run, start)

SHORT = ("-d", "200ms", "-w", "50ms", "-q")
CLOSED = " closed loop"


def search(case, *arguments):
    """Its record, which must be whole, and the one result."""
    done = run("call", "--json", *SHORT, *arguments)
    case.assertEqual(done.returncode, 0, done.stderr)
    record = checked_record(case, done.stdout)
    results = record["find_max"]["results"]
    case.assertEqual(len(results), 1)
    check_result(case, record, results[0])
    return record, results[0]


def check_result(case, record, result):
    """What must be so of every search, whatever was found."""
    rate = result["rate"]
    case.assertLessEqual(rate["low"], rate["value"])
    case.assertEqual(rate["high"] is None, result["above_highest"] > 0)
    if rate["high"] is not None:
        case.assertLessEqual(rate["value"], rate["high"])
        case.assertLessEqual(rate["high"], result["highest"])
    asked = [probe["rate_asked"] for probe in result["probes"]]
    case.assertGreaterEqual(min(asked), result["lowest"])
    case.assertLessEqual(max(asked), result["highest"])
    runs = set()
    for probe in result["probes"]:
        one = record["runs"][probe["run"]]
        runs.add(probe["run"])
        case.assertEqual(one["metrics"]["rate_asked"]["value"], probe["rate_asked"])
        case.assertEqual(one["metrics"]["passed"]["value"], int(probe["passed"]))
        case.assertEqual(one["mode"], "open loop")
        case.assertEqual(probe["passed"], probe["why"] is None)
        if probe["passed"]:
            case.assertGreater(probe["reached"], 0.9)
    case.assertEqual(len(runs), len(result["probes"]))
    if rate["value"] > 0 and result["searches"] == 1:
        case.assertIn(rate["value"], [probe["rate_asked"] for probe in result["probes"]
                                      if probe["passed"]])


def answers_slowly(server, client):
    """At most 500 bytes a second."""
    while True:
        byte = client.recv(1)
        if not byte:
            return
        time.sleep(0.002)
        client.sendall(byte)


class Found(unittest.TestCase):
    def test_a_slow_server_bears_no_more_than_it_can(self):
        with Misbehaving(answers_slowly) as server:
            record, result = search(self, server.address, "--find-max", "p50 < 100ms", "-d",
                                    "400ms", "--repeat", "2", "--drain", "300ms")
        self.assertEqual(result["searches"], 2)
        self.assertEqual(record["options"]["repeat"], "2")
        self.assertEqual(record["find_max"]["limit"], "p50 < 100ms")
        self.assertLess(result["rate"]["value"], 520)
        self.assertGreater(result["closed_loop"], 0)
        self.assertTrue(any(one["label"].endswith(CLOSED) for one in record["runs"]))

    def test_nothing_above_the_rate_is_probed(self):
        record, result = search(self, "--find-max", "p50 < 30s", "--rate", "1k", "--repeat", "1")
        self.assertEqual(result["highest"], 1000)
        self.assertIsNone(result["closed_loop"])
        self.assertFalse(any(one["label"].endswith(CLOSED) for one in record["runs"]))
        if result["above_highest"]:
            self.assertEqual(result["rate"]["value"], 1000)
            self.assertIn("the limit lies above it", result["verdict"])

    def test_what_nothing_keeps_to(self):
        _, result = search(self, "--find-max", "p50 < 1ns", "--repeat", "2")
        self.assertEqual(result["below_lowest"], 2)
        self.assertEqual((result["rate"]["value"], result["rate"]["low"]), (0, 0))
        self.assertIn("even the lowest rate failed", result["verdict"])
        self.assertFalse(any(probe["passed"] for probe in result["probes"]))

    def test_errors_are_judged_too(self):
        _, result = search(self, "--find-max", "errors <= 0%, max < 1h", "--rate", "1k",
                           "--repeat", "1")
        for probe in result["probes"]:
            self.assertEqual(probe["values"]["errors"]["value"], 0)

    def test_defaults_of_the_mode(self):
        done = run("call", "--json", "--find-max", "p50 < 1ns", "--rate", "100", "--repeat", "1")
        record = checked_record(self, done.stdout)
        options = record["options"]
        self.assertEqual((options["duration"], options["warmup"]), ("2s", "200ms"))

    def test_engines_side_by_side(self):
        done = run("call", "--json", *SHORT, "-e", "poll,epoll", "--find-max", "p50 < 1ns",
                   "--rate", "1k", "--repeat", "1")
        record = checked_record(self, done.stdout)
        results = record["find_max"]["results"]
        self.assertEqual([result["label"] for result in results], ["poll", "epoll"])
        for result in results:
            check_result(self, record, result)

    def test_other_workloads(self):
        for command in (("ws", "--mode", "handshake"), ("ws", "--mode", "message"), ("ping", "udp:")):
            with self.subTest(command=command):
                done = run(*command, "--json", *SHORT, "--find-max", "p50 < 1ns", "--rate", "1k",
                           "--repeat", "1")
                self.assertEqual(done.returncode, 0, done.stderr)
                record = checked_record(self, done.stdout)
                self.assertEqual(record["find_max"]["results"][0]["below_lowest"], 1)

    def test_a_server_elsewhere(self):
        with Serving("tcp://127.0.0.1:0") as server:
            _, result = search(self, server.address, "--find-max", "p50 < 30s", "--rate", "1k",
                               "--repeat", "1")
        self.assertEqual(result["highest"], 1000)


class Printed(unittest.TestCase):
    def test_text(self):
        done = run("call", "--find-max", "p50 < 1ns", "--rate", "1k", "--repeat", "1", "-d",
                   "200ms", "-w", "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        text = " ".join(done.stdout.split())
        self.assertIn("find-max: p50 < 1ns: 1 search of at most", text)
        self.assertIn("at most", text.split("usually")[1])
        self.assertIn("no rate with p50 < 1ns was found", text)
        self.assertIn("fails: p50", text)

    def test_csv_has_a_row_for_each_probe(self):
        done = run("call", "--csv", *SHORT, "--find-max", "p50 < 1ns", "--rate", "1k",
                   "--repeat", "1")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        self.assertGreaterEqual(len(rows), 2)
        for row in rows:
            self.assertEqual(row["passed"], "0")
            self.assertGreater(float(row["rate_asked"]), 0)

    @unittest.skipUnless(shutil.which("jq"), "jq is not installed")
    def test_jq(self):
        done = run("call", "--json", *SHORT, "--find-max", "p50 < 1ns", "--rate", "1k",
                   "--repeat", "1")
        found = subprocess.run(["jq", "-c", ".find_max.results[].rate.value"], input=done.stdout,
                               text=True, capture_output=True, check=True)
        self.assertEqual(json.loads(found.stdout), 0)

    def test_interrupted_it_says_what_is_known(self):
        began = time.monotonic()
        process = start("call", "--find-max", "p50 < 30s", "--rate", "1k", "-d", "300ms",
                        "--json", "--repeat", "1000")
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        done = end(process, began)
        self.assertEqual(done.returncode, 1, done.stderr)
        record = checked_record(self, done.stdout)
        self.assertFalse(record["complete"])
        self.assertEqual(record["error"]["code"], "interrupted")
        self.assertLess(record["find_max"]["results"][0]["searches"], 1000)
        self.assertLess(done.seconds, PATIENCE_S)


class Refused(unittest.TestCase):
    def check(self, command, arguments, words):
        done = run(command, *arguments)
        line = check_one_line(self, done, 2)
        for word in ("--find-max", *words):
            self.assertIn(word, line)
        self.assertEqual(done.stdout, "")

    def test_each(self):
        for arguments, words in (
            (["p99"], ["p99", "<"]),
            (["p99 < 5"], ["unit", "5ms"]),
            (["p99 > 5ms"], ["<"]),
            (["p101 < 5ms"], ["p101"]),
            (["q < 5ms"], ["q"]),
            (["errors < 5ms"], ["0.1%"]),
            (["p99 < 5ms", "-n", "100"], ["--count"]),
            (["p99 < 5ms", "--rate-course", "1k..2k"], ["--rate-course"]),
            (["p99 < 5ms", "-e", "null"], ["null"]),
            (["p99 < 5ms", "--hgrm", "/tmp/never"], ["--hgrm"]),
            (["p99 < 5ms", "--warmup-runs", "2"], ["--warmup-runs"]),
            (["p99.9 < 5ms", "--rate", "10"], ["too few", "--duration"]),
        ):
            with self.subTest(arguments=arguments):
                self.check("call", ["--find-max", *arguments], words)
        self.check("ws", ["--mode", "hold", "--find-max", "p99 < 5ms"], ["hold"])
        self.check("ping", ["--during", "stream", "--find-max", "p99 < 5ms"], ["--during"])
        self.check("stream", ["--find-max", "p99 < 5ms"], [])

    def test_a_server_that_is_not_there(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            done = run("call", "tcp://127.0.0.1:%d" % taken.getsockname()[1], "--json", *SHORT,
                       "--find-max", "p99 < 5ms")
        self.assertEqual(done.returncode, 1)
        self.assertFalse(checked_record(self, done.stdout)["complete"])
        self.assertTrue(SONDE)


if __name__ == "__main__":
    unittest.main()
