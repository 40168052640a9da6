"""--repeat: which runs are made and in which order, what their summaries say, and that text, JSON
and CSV say the same."""

import csv
import io
import re
import signal
import statistics
import time
import unittest

from sonde_program import (
    SONDE, Folder, call_record, check_failed_record, check_one_line, checked_record, end, metric,
    read_record, run, start)

SHORT = ("-w", "50ms", "-d", "200ms", "--high", "1")
# What each of three rounds after a warm-up round of two engines must look like.
ROUNDS = [("epoll", 1), ("poll", 1), ("poll", 2), ("epoll", 2), ("epoll", 3), ("poll", 3),
          ("poll", 4), ("epoll", 4)]


def runs_of(record, label):
    return [one for one in record["runs"] if one["label"] == label and not one["discarded"]]


class Repeat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder(cls)
        cls.json, cls.csv = cls.folder.file("r.json"), cls.folder.file("r.csv")
        cls.done = run("call", "--repeat", "3", "-e", "epoll,poll", *SHORT, "--json=" + cls.json,
                       "--csv=" + cls.csv)

    # Folder asks a case to clean up after itself: here the class does.
    addCleanup = classmethod(lambda cls, *what: cls.addClassCleanup(*what))

    def setUp(self):
        self.assertEqual((self.done.returncode, self.done.stderr), (0, ""))
        self.record = read_record(self, self.json)

    def test_order_and_discarded_runs(self):
        runs = self.record["runs"]
        self.assertEqual([(one["label"], one["repetition"]) for one in runs], ROUNDS)
        self.assertEqual([one["discarded"] for one in runs], [True] * 2 + [False] * 6)
        self.assertTrue(self.record["complete"])
        self.assertEqual(self.record["options"]["repeat"], "3")
        self.assertEqual(self.record["options"]["warmup-runs"], "1")

    def test_each_run_is_a_measurement_of_its_own(self):
        servers = {one["processes"][1]["pid"] for one in self.record["runs"]}
        self.assertEqual(len(servers), len(ROUNDS))
        for one in self.record["runs"]:
            self.assertGreater(metric(one, "calls"), 0)
            self.assertGreaterEqual(one["wall_ns"], 200e6)

    def test_summaries_are_those_of_the_runs(self):
        self.assertEqual([one["label"] for one in self.record["summaries"]], ["epoll", "poll"])
        for summary in self.record["summaries"]:
            runs = runs_of(self.record, summary["label"])
            self.assertEqual(summary["runs"], 3)
            self.assertEqual(next(iter(summary["metrics"])), "calls_per_second")
            self.assertLessEqual(set(runs[0]["metrics"]), set(summary["metrics"]))
            for key, value in summary["metrics"].items():
                numbers = self.numbers(runs, key)
                with self.subTest(label=summary["label"], key=key):
                    self.assertEqual(value["count"], len(numbers))
                    if numbers:
                        self.assertAlmostEqual(value["median"] / (statistics.median(numbers) or 1),
                                               1 if statistics.median(numbers) else 0)
                        # Three runs have no 95 % interval: the bounds are their range.
                        self.assertEqual((value["low"], value["high"]),
                                         (value["least"], value["most"]))
                        self.assertAlmostEqual(value["least"], min(numbers))
                        self.assertAlmostEqual(value["most"], max(numbers))
                    if len(numbers) > 1:
                        self.assertAlmostEqual(value["deviation"] / (statistics.stdev(numbers) or 1),
                                               1 if statistics.stdev(numbers) else 0)

    def numbers(self, runs, key):
        """Worked out from the runs, on a way of its own."""
        numbers = []
        for one in runs:
            if key in one["metrics"]:
                number = one["metrics"][key]["value"]
            elif key.endswith((".p50", ".p99")):
                name, percentile = key.rsplit(".p", 1)
                number = one["histograms"][name]["percentiles"][percentile]
            elif key.endswith(".mean"):
                number = one["histograms"][key[:-len(".mean")]]["mean"]
            else:
                role, rest = key.split(".")
                self.assertEqual(rest, "cpu_ns_per_call")
                process = next(row for row in one["processes"] if row["role"] == role)
                number = ((process["cpu_user_ns"] + process["cpu_system_ns"])
                          / process["cpu_operations"])
            if number is not None:
                numbers.append(number)
        return numbers

    def test_noise_of_each_run(self):
        for one in self.record["runs"]:
            for key in ("steal_share", "other_cpu_share"):
                self.assertTrue(0 <= metric(one, key) <= 1, key)
            self.assertGreaterEqual(metric(one, "load_1m"), 0)
            if "cpu_frequency" in one["metrics"]:
                self.assertTrue(1e8 < metric(one, "cpu_frequency") < 2e10)

    def test_csv_agrees(self):
        with open(self.csv, encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), len(ROUNDS))
        for row, one in zip(rows, self.record["runs"]):
            self.assertEqual((row["label"], int(row["repetition"])),
                             (one["label"], one["repetition"]))
            self.assertEqual(row["discarded"], str(one["discarded"]).lower())
            self.assertEqual(row["outlier"], str(one["outlier"]).lower())
            self.assertAlmostEqual(float(row["calls_per_second"]) / metric(one, "calls_per_second"),
                                   1)

    def test_text_agrees(self):
        lines = self.done.stdout.splitlines()
        self.assertEqual(len([line for line in lines if re.match(r"run \d/8 (epoll|poll): ", line)]),
                         8)
        self.assertEqual(len([line for line in lines if line.endswith(", discarded")]), 2)
        self.assertNotRegex(self.done.stdout, r"(?m)^ +\d+\.\d\d s  ")  # no line for each interval
        listed = [re.match(r" +(\d) +(epoll|poll) +([0-9,]+)  ", line) for line in lines]
        listed = [match.groups() for match in listed if match]
        self.assertEqual([(label, int(number)) for number, label, _ in listed], ROUNDS)
        for (_, _, rate), one in zip(listed, self.record["runs"]):
            self.assertLessEqual(abs(int(rate.replace(",", "")) - metric(one, "calls_per_second")), 1)
        self.assertEqual(self.done.stdout.count("discarded (warm-up)"), 2)
        for summary in self.record["summaries"]:
            rate = summary["metrics"]["calls_per_second"]
            self.assertRegex(
                self.done.stdout, r"(?m)^ +%s +3 +%s +%s \.\. %s " % (
                    summary["label"], *(f"{rate[key]:,.0f}" for key in ("median", "low", "high"))))
            nearest = min(runs_of(self.record, summary["label"]), key=lambda one, middle=rate: abs(
                metric(one, "calls_per_second") - middle["median"]))
            self.assertIn("Run %d in full, the nearest to the median of %s:" % (
                nearest["repetition"], summary["label"]), self.done.stdout)
        self.assertEqual(self.done.stdout.count(" in full, "), 2)


class Options(unittest.TestCase):
    def test_six_runs_have_an_interval(self):
        record = call_record(self, "--repeat", "6", "--warmup-runs", "0", "-n", "5000")
        self.assertEqual([one["repetition"] for one in record["runs"]], [1, 2, 3, 4, 5, 6])
        self.assertFalse(any(one["discarded"] for one in record["runs"]))
        rate = record["summaries"][0]["metrics"]["calls_per_second"]
        self.assertEqual(rate["count"], 6)
        self.assertLessEqual(rate["least"], rate["low"])
        self.assertLess(rate["low"], rate["high"])

    def test_several_warmup_runs(self):
        record = call_record(self, "--repeat", "2", "--warmup-runs", "2", "-n", "100")
        self.assertEqual([one["discarded"] for one in record["runs"]], [True, True, False, False])
        self.assertEqual(record["summaries"][0]["runs"], 2)

    def test_once_is_as_ever(self):
        for arguments in ((), ("--repeat", "1")):
            record = call_record(self, "-n", "100", "-e", "epoll,poll", *arguments)
            self.assertEqual([one["label"] for one in record["runs"]], ["epoll", "poll"])
            self.assertNotIn("summaries", record)
            for one in record["runs"]:
                self.assertNotIn("repetition", one)
        text = run("call", "-n", "100", "--repeat", "1").stdout
        self.assertNotIn("median of", text)
        done = run("call", "-n", "100", "--csv")
        row = next(csv.DictReader(io.StringIO(done.stdout)))
        self.assertEqual((row["repetition"], row["discarded"]), ("", "false"))

    def test_warmup_runs_alone(self):
        record = call_record(self, "-n", "100", "--warmup-runs", "3")
        self.assertEqual(len(record["runs"]), 1)
        self.assertIn("--warmup-runs has no effect without --repeat", record["warnings"])

    def test_wrong_values(self):
        for arguments, words in (
            (["--repeat", "0"], ["--repeat", "0"]),
            (["--repeat", "-1"], ["--repeat", "-1"]),
            (["--repeat", "x"], ["--repeat", "x"]),
            (["--repeat", "2.5"], ["--repeat", "2.5"]),
            (["--repeat", "1000000"], ["--repeat"]),
            (["--repeat"], ["--repeat"]),
            (["--repeat", "2", "--warmup-runs", "-1"], ["--warmup-runs"]),
            (["--repeat", "2", "--warmup-runs", "x"], ["--warmup-runs", "x"]),
            (["--repeats", "2"], ["--repeats", "did you mean", "--repeat"]),
        ):
            with self.subTest(arguments=arguments):
                done = run("call", *arguments)
                line = check_one_line(self, done, 2)
                for word in words:
                    self.assertIn(word, line)
                self.assertEqual(done.stdout, "")


class Memory(unittest.TestCase):
    @unittest.skipIf("build-test" in SONDE, "the sanitizer keeps memory that was freed")
    def test_runs_do_not_grow(self):
        """What is kept of a run counts as memory of no later one, nor of its server."""
        record = call_record(self, "--repeat", "20", "-n", "5000")
        for role in (0, 1):
            sizes = [one["processes"][role]["rss_bytes"] for one in record["runs"]]
            growth = statistics.median(sizes[-8:]) - statistics.median(sizes[1:9])
            self.assertLess(growth, 400 << 10, sizes)


class Failures(unittest.TestCase):
    def test_interrupted_in_the_middle(self):
        """What is finished is summarised; the record is not complete."""
        folder = Folder(self)
        path = folder.file("r.json")
        began = time.monotonic()
        process = start("call", "--repeat", "50", "-e", "epoll,poll", *SHORT, "--json=" + path)
        seen = ""
        while "run 7/102 " not in seen:
            line = process.stdout.readline()
            self.assertTrue(line, seen)
            seen += line
        process.send_signal(signal.SIGINT)
        done = end(process, began)
        line = check_one_line(self, done, 1)
        self.assertIn("interrupted", line)
        record = read_record(self, path)
        self.assertFalse(record["complete"])
        self.assertEqual(record["error"]["code"], "interrupted")
        labels = {one["label"]: one for one in record["summaries"]}
        for label in ("epoll", "poll"):
            whole = [one for one in runs_of(record, label) if one["complete"]]
            self.assertGreaterEqual(len(whole), 2)
            self.assertEqual(labels[label]["runs"], len(whole))
        self.assertLess(len(record["runs"]), 20)
        self.assertLessEqual(sum(not one["complete"] for one in record["runs"]), 1)
        self.assertIn("NOT COMPLETE", done.stdout)

    def test_interrupted_in_the_first_run(self):
        process = start("call", "--repeat", "3", "-d", "30s", "--json", "-q")
        began = time.monotonic()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        done = end(process, began)
        check_one_line(self, done, 1)
        record = checked_record(self, done.stdout)
        check_failed_record(self, record)
        self.assertEqual(len(record["runs"]), 1)
        self.assertNotIn("summaries", record)

    def test_what_never_begins_is_not_tried_again(self):
        done = run("call", "--repeat", "5", "-n", "10", "--json", "unix:/nonexistent/sonde.sock")
        check_one_line(self, done, 1)
        record = checked_record(self, done.stdout)
        check_failed_record(self, record)
        self.assertEqual(len(record["runs"]), 1)


if __name__ == "__main__":
    unittest.main()
