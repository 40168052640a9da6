"""sonde sweep: what is run and in which order, what is made of it, and that it goes on after an
interrupt."""

import csv
import itertools
import json
import math
import os
import pty
import re
import signal
import statistics
import time
import unittest

import check_record
from sonde_program import Folder, check_one_line, end, run, start

# Counted, not timed: as short as a call can be.
CALL = ("--", "call", "-n", "200", "-w", "0", "-e", "poll")
VARY = ("--vary", "size=1..64*8", "--vary", "write=gather,each")
POINTS = [{"size": size, "write": write} for size in ("1", "8", "64")
          for write in ("gather", "each")]


def fold(point):
    return tuple(sorted(point.items()))


def sweep_record(case, text):
    """A record that keeps to the schema, and whose summaries are what its runs say. A cut that comes
    late on a busy machine makes a window longer than its wall time by it; that is not looked at."""
    record = check_record.load(text)
    problems = [problem for problem in check_record.problems(record)
                if "longer than wall_ns" not in problem]
    case.assertEqual(problems, [])
    return record


def read(case, path):
    with open(path, encoding="utf-8") as file:
        return sweep_record(case, file.read())


class Options(unittest.TestCase):
    """Wrong ones are told before anything runs."""

    def test_each(self):
        for arguments, words in (
            ([], ["no command", "-- COMMAND"]),
            (["--"], ["no command"]),
            (["call"], ["call", "before the --"]),
            (["--", "call"], ["--vary", "nothing to vary"]),
            (["--vary", "size=1", "--", "cal"], ["cal", "did you mean sonde call"]),
            (["--vary", "size=1", "--", "serve"], ["serve"]),
            (["--vary", "size=1", "--", "sweep"], ["sweep"]),
            (["--vary", "sice=1", "--", "call"], ["sice", "did you mean size"]),
            (["--vary", "size", "--", "call"], ["no values"]),
            (["--vary", "size=", "--", "call"], ["an empty value"]),
            (["--vary", "size=1,", "--", "call"], ["an empty value"]),
            (["--vary", "size=64..1", "--", "call"], ["an empty range"]),
            (["--vary", "size=1..x", "--", "call"], ["not an end of a range"]),
            (["--vary", "size=0..8", "--", "call"], ["0 multiplied"]),
            (["--vary", "size=1,0", "--", "call"], ["--size", "too small"]),
            (["--vary", "size=2g", "--", "call"], ["--size", "too large"]),
            (["--vary", "write=gather,eech", "--", "call"], ["--write", "eech"]),
            (["--vary", "size=1+verfy", "--", "call"], ["verfy", "did you mean verify"]),
            (["--vary", "size=1..1m+1", "--", "call"], ["100,000"]),
            (["--vary", "size=1..1000+1;high=1..1000+1", "--", "call"], ["100000 points"]),
            (["--vary", "size=1", "--vary", "size=2", "--", "call"], ["size", "two"]),
            (["--vary", "size=1", "--", "call", "-m", "4"], ["size", "after the --"]),
            (["--vary", "size=1", "--", "call", "--sice=4"], ["--sice"]),
            (["--vary", "size=1", "--", "call", "--json=x"], ["--json", "before the --"]),
            (["--vary", "csv=x", "--", "call"], ["csv", "cannot be varied"]),
            (["--vary", "@2=pipe:", "--", "call"], ["@2", "@1"]),
            (["--vary", "size=1", "--repeat", "0", "--", "call"], ["--repeat"]),
            (["--vary", "size=1,2", "--repeat", "100000", "--warmup-runs", "1000", "--vary",
              "high=1..100+1", "--", "call"], ["--repeat", "runs in all"]),
            (["--vary", "size=1", "--order", "interleafed", "--", "call"], ["interleaved"]),
            (["--vary", "size=1", "--restart", "--", "call"], ["--restart", "--state"]),
            (["--vary", "size=1", "--json=/nonexistent/x", "--", "call"], ["/nonexistent/x"]),
        ):
            with self.subTest(arguments=arguments):
                done = run("sweep", *arguments)
                line = check_one_line(self, done, 1 if "/nonexistent/x" in words else 2)
                for word in words:
                    self.assertIn(word, line)
                self.assertEqual(done.stdout, "")

    def test_a_key_that_no_run_has(self):
        done = run("sweep", *VARY, "--metric", "calls_per_secund", *CALL)
        line = check_one_line(self, done, 2)
        self.assertIn("did you mean calls_per_second", line)


class Whole(unittest.TestCase):
    """One sweep, looked at from all sides."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Folder(cls)
        cls.json = cls.folder.file("s.json")
        cls.csv = cls.folder.file("s.csv")
        cls.done = run("sweep", *VARY, "--repeat", "3", "--warmup-runs", "1", "--json=" + cls.json,
                       "--csv=" + cls.csv, *CALL, env={**os.environ, "LC_ALL": "C"})

    @classmethod
    def addCleanup(cls, function):
        cls.addClassCleanup(function)

    def setUp(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.record = read(self, self.json)

    def test_record(self):
        record = self.record
        self.assertTrue(record["complete"])
        self.assertEqual(record["operation"], "call")
        self.assertEqual(record["command"], ["sweep", *VARY, "--repeat", "3", "--warmup-runs", "1",
                                             "--json=" + self.json, "--csv=" + self.csv, *CALL])
        self.assertEqual(record["options"]["vary"], "size=1..64*8;write=gather,each")
        self.assertIn("kernel", record["machine"])
        self.assertFalse(os.path.exists(self.json + ".partial"))

    def test_every_point_was_run_as_it_says(self):
        for point in POINTS:
            runs = [one for one in self.record["runs"] if one["point"] == point]
            self.assertEqual([one["repetition"] for one in runs], [1, 2, 3, 4])
            self.assertEqual([one["discarded"] for one in runs], [True] + [False] * 3)
            for one in runs:
                self.assertEqual(one["metrics"]["calls"]["value"], 200)
                # Of size bytes each: what both ends have moved tells which size was run.
                moved = [call["bytes"] for process in one["processes"]
                         for call in process["engine_calls"]["syscalls"]
                         if call["name"].startswith(("send", "write"))]
                self.assertEqual(max(moved), 200 * int(point["size"]))
                each = one["metrics"]["calls_per_send"]["value"]
                self.assertEqual(each == 1, point["write"] == "each", each)

    def test_rounds_are_shuffled_blocks(self):
        order = [fold(one["point"]) for one in self.record["runs"]]
        rounds = [order[i:i + 6] for i in range(0, 24, 6)]
        for one in rounds:
            self.assertEqual(sorted(one), sorted(map(fold, POINTS)))
        self.assertGreater(len({tuple(one) for one in rounds}), 1)

    def test_summaries(self):
        """check_record has worked out those of metrics; here also those of other figures."""
        summaries = {fold(one["point"]): one for one in self.record["summaries"]}
        self.assertEqual(set(summaries), set(map(fold, POINTS)))
        for point, summary in summaries.items():
            runs = [one for one in self.record["runs"]
                    if fold(one["point"]) == point and not one["discarded"]]
            self.assertEqual(list(summary["metrics"])[0], "calls_per_second")
            for key, values in (
                ("calls_per_second", [one["metrics"]["calls_per_second"]["value"]
                                      for one in runs]),
                ("response_time.mean", [one["histograms"]["response_time"]["mean"]
                                        for one in runs]),
            ):
                metric = summary["metrics"][key]
                self.assertEqual(metric["count"], 3)
                self.assertTrue(math.isclose(metric["median"], statistics.median(values),
                                             rel_tol=1e-12))
                # Of three runs no interval of 95 % exists: the range.
                self.assertEqual([metric["low"], metric["high"]], [min(values), max(values)])

    def test_csv(self):
        with open(self.csv, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 24)
        for row, one in zip(rows, self.record["runs"]):
            self.assertEqual({"size": row["size"], "write": row["write"]}, one["point"])
            self.assertEqual(row["repetition"], str(one["repetition"]))
            self.assertEqual(row["discarded"], str(one["discarded"]).lower())
            self.assertEqual(row["complete"], "true")
            for key, metric in one["metrics"].items():
                if metric["value"] is not None:
                    self.assertTrue(math.isclose(float(row[key]), metric["value"], rel_tol=1e-9),
                                    key)
            self.assertEqual(float(row["response_time.p50"]),
                             one["histograms"]["response_time"]["percentiles"]["50"])

    def test_table(self):
        lines = self.done.stdout.splitlines()
        header = next(i for i, line in enumerate(lines) if line.split() == ["size", "gather",
                                                                              "each"])
        for size, line in zip(("1", "8", "64"), lines[header + 1:]):
            cells = re.fullmatch(r" +(\d+) +([\d,.]+) ±([\d.<]+) % +([\d,.]+) ±([\d.<]+) %", line)
            self.assertTrue(cells, line)
            self.assertEqual(cells[1], size)
            for write, value in (("gather", cells[2]), ("each", cells[4])):
                summary = next(one for one in self.record["summaries"]
                               if one["point"] == {"size": size, "write": write})
                median = summary["metrics"]["calls_per_second"]["median"]
                self.assertAlmostEqual(float(value.replace(",", "")) / median, 1, delta=0.005)

    def test_plot_is_plain_in_a_plain_locale(self):
        text = self.done.stdout
        plot = text[text.index("calls_per_second (1/s"):]
        self.assertIn("* gather  + each", plot)
        self.assertIn("size (log):", plot)
        self.assertNotRegex(plot, "[\u2500-\u28ff]")


class Shown(unittest.TestCase):
    SHORT = ("--vary", "size=1,2", "--repeat", "1", "--warmup-runs", "0")

    def test_braille_where_the_locale_is_utf8(self):
        clean = {key: value for key, value in os.environ.items()
                 if key not in ("NO_COLOR", "LC_ALL", "LC_CTYPE", "LANG", "TERM")}
        for changes, braille in (({"LANG": "C.UTF-8"}, True),
                                 ({"LANG": "C.UTF-8", "LC_ALL": "C"}, False),
                                 ({"LANG": "C.UTF-8", "TERM": "dumb"}, False),
                                 ({"LANG": "C.UTF-8", "NO_COLOR": "1"}, False),
                                 ({}, False)):
            with self.subTest(changes=changes):
                done = run("sweep", *self.SHORT, *CALL, env={**clean, **changes})
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual("┤" in done.stdout, braille)
                self.assertTrue(all(len(line) <= 100 for line in done.stdout.splitlines()))

    def test_no_plot_and_quiet(self):
        done = run("sweep", *self.SHORT, "--no-plot", "--quiet", *CALL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("(1/s", done.stdout)
        self.assertNotIn("left", done.stdout)

    def test_terminal_has_one_line_that_is_cleared(self):
        main, terminal = pty.openpty()
        process = start("sweep", *self.SHORT, *CALL, stderr=terminal,
                        env={**os.environ, "TERM": "xterm"})
        os.close(terminal)
        stdout, _ = process.communicate(timeout=60)
        shown = os.read(main, 65536).decode()
        os.close(main)
        self.assertEqual(process.returncode, 0)
        self.assertIn("2 of 2 runs, 0 s left  size=", shown)
        self.assertTrue(shown.endswith("\r\x1b[K"), shown)
        self.assertNotIn("\n", shown)
        self.assertNotIn("left", stdout)

    def test_another_figure(self):
        done = run("sweep", *self.SHORT, "--metric", "response_time.p50", *CALL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("response_time.p50 by size", done.stdout)
        self.assertRegex(done.stdout, r"\n +1 +[\d.]+ (ns|µs|ms)\n")

    def test_positional_and_additions(self):
        done = run("sweep", "--vary", "@1=pipe:+verify,local:", "--repeat", "1", "--warmup-runs",
                   "0", "--json", *CALL)
        self.assertEqual(done.returncode, 0, done.stderr)
        record = sweep_record(self, done.stdout)
        runs = {one["point"]["@1"]: one for one in record["runs"]}
        self.assertEqual(set(runs), {"pipe:+verify", "local:"})
        self.assertIn("pipe:", runs["pipe:+verify"]["detail"])
        self.assertIn("local:", runs["local:"]["detail"])

    def test_several_engines_of_one_command(self):
        done = run("sweep", "--vary", "size=1,2", "--repeat", "2", "--json", "--", "call", "-n",
                   "200", "-w", "0", "-e", "poll,epoll")
        self.assertEqual(done.returncode, 0, done.stderr)
        record = sweep_record(self, done.stdout)
        self.assertEqual(len(record["runs"]), 2 * 3 * 2)
        self.assertEqual({(one["label"], one["point"]["size"]) for one in record["summaries"]},
                         set(itertools.product(("poll", "epoll"), ("1", "2"))))


class Failing(unittest.TestCase):
    """A point that fails is recorded with its error; the others are measured."""

    def test_one_of_two(self):
        folder = Folder(self)
        path = folder.file("s.json")
        done = run("sweep", "--vary", "@1=unix:/nonexistent/s,pipe:", "--repeat", "2",
                   "--json=" + path, "--csv=" + folder.file("s.csv"), *CALL)
        line = check_one_line(self, done, 1)
        self.assertIn("3 of 6 runs failed", line)
        self.assertIn("@1=unix:/nonexistent/s", line)
        record = read(self, path)
        self.assertFalse(record["complete"])
        self.assertIn("3 of 6 runs failed", record["error"]["what"])
        for one in record["runs"]:
            failed = one["point"]["@1"] != "pipe:"
            self.assertEqual(one["complete"], not failed)
            if failed:
                self.assertIn("No such file", one["error"]["what"])
        self.assertEqual([one["point"]["@1"] for one in record["summaries"]], ["pipe:"])
        self.assertIn("failed: @1=unix:/nonexistent/s", done.stdout)
        self.assertRegex(done.stdout, r"unix:/nonexistent/s +failed\n")
        self.assertFalse(os.path.exists(path + ".partial"))
        with open(folder.file("s.csv"), encoding="utf-8", newline="") as file:
            self.assertEqual(sorted(row["complete"] for row in csv.DictReader(file)),
                             ["false"] * 3 + ["true"] * 3)

    def test_wrong_together(self):
        """What only the command itself can see is wrong: each run says it."""
        done = run("sweep", "--vary", "low=1,8", "--repeat", "1", "--warmup-runs", "0", "--json",
                   *CALL, "--high", "4")
        line = check_one_line(self, done, 1)
        self.assertIn("1 of 2 runs failed", line)
        self.assertIn("--low", line)
        record = sweep_record(self, done.stdout)
        failed = [one for one in record["runs"] if not one["complete"]]
        self.assertEqual([one["point"] for one in failed], [{"low": "8"}])
        self.assertEqual(failed[0]["error"]["subject"], "--low")


class GoesOn(unittest.TestCase):
    ARGUMENTS = ("--vary", "size=1,8", "--vary", "write=gather,each", "--repeat", "2", "--seed", "7")
    RUNS = 12
    LONG = ("--", "call", "-n", "50", "--rate", "500", "-w", "0", "-e", "poll")  # 100 ms

    def setUp(self):
        self.path = Folder(self).file("s.json")
        self.partial = self.path + ".partial"

    def start(self, *arguments, path=None, **options):
        return start("sweep", *self.ARGUMENTS, *arguments, "--json=" + (path or self.path),
                     *self.LONG, **options)

    def kept(self):
        """Whole lines of the state but its header."""
        try:
            with open(self.partial, encoding="utf-8") as file:
                return [json.loads(line) for line in file.read().split("\n")[1:-1]]
        except FileNotFoundError:
            return []

    def interrupt(self, number, after):
        began = time.monotonic()
        process = self.start()
        while len(self.kept()) < after and time.monotonic() - began < 60:
            time.sleep(0.01)
        process.send_signal(number)
        return end(process, began)

    def finish(self, *arguments):
        began = time.monotonic()
        return end(self.start(*arguments), began)

    def check_whole(self, record):
        """As if nothing had been: the order is the same as of a sweep without an interrupt."""
        other = self.path + ".other"
        done = end(self.start(path=other), time.monotonic())
        self.assertEqual(done.returncode, 0, done.stderr)
        whole = read(self, other)
        self.assertTrue(record["complete"])

        def order(one):
            return [(fold(run["point"]), run["repetition"], run["discarded"])
                    for run in one["runs"]]
        self.assertEqual(order(record), order(whole))
        self.assertEqual(len(record["summaries"]), len(whole["summaries"]))

    def test_after_an_interrupt(self):
        done = self.interrupt(signal.SIGINT, 4)
        line = check_one_line(self, done, 1)
        self.assertRegex(line, r"interrupted after \d+ of 12 runs")
        self.assertIn(self.partial, line)
        kept = self.kept()
        partial = read(self, self.path)
        self.assertFalse(partial["complete"])
        self.assertEqual(partial["error"]["code"], "interrupted")
        self.assertEqual(len(partial["runs"]), len(kept))
        self.assertTrue(all(one["complete"] for one in partial["runs"]))

        done = self.finish()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("%d runs are done" % len(kept), done.stdout)
        record = read(self, self.path)
        self.assertTrue(any("%d of the runs" % len(kept) in text for text in record["warnings"]))
        # Those runs are the same ones, to the last digit.
        for mine, old in zip(sorted(kept, key=lambda one: one["turn"]), partial["runs"]):
            self.assertEqual(mine["runs"][0]["window_ns"], old["window_ns"])
        for old in partial["runs"]:
            self.assertIn(old["histograms"], [one["histograms"] for one in record["runs"]])
        self.assertFalse(os.path.exists(self.partial))
        self.check_whole(record)

    def test_after_a_kill(self):
        done = self.interrupt(signal.SIGKILL, 3)
        self.assertEqual(done.returncode, -signal.SIGKILL)
        kept = len(self.kept())
        with open(self.partial, "a", encoding="utf-8") as file:
            file.write('{"runs":[{"label":"po')  # as a crash in the middle of a line leaves it
        done = self.finish()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("%d runs are done" % kept, done.stdout)
        record = read(self, self.path)
        self.assertTrue(record["complete"])
        self.assertEqual(len(record["runs"]), self.RUNS)

    def test_no_child_survives_a_kill(self):
        process = self.start()
        began = time.monotonic()
        children = []
        while not children and time.monotonic() - began < 60:
            with open("/proc/%d/task/%d/children" % (process.pid, process.pid),
                      encoding="ascii") as file:
                children = [int(pid) for pid in file.read().split()]
        self.assertEqual(len(children), 1)
        process.kill()
        end(process, began)
        while os.path.exists("/proc/%d" % children[0]) and time.monotonic() - began < 60:
            time.sleep(0.01)
            try:
                with open("/proc/%d/stat" % children[0], encoding="ascii") as file:
                    if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                        break  # nobody reaps it here
            except OSError:
                break
        else:
            self.assertFalse(os.path.exists("/proc/%d" % children[0]))

    def test_another_sweep_is_refused(self):
        self.interrupt(signal.SIGINT, 2)
        before = self.kept()
        done = run("sweep", *VARY, "--repeat", "3", "--seed", "7", "--json=" + self.path,
                   *self.LONG)
        line = check_one_line(self, done, 2)
        self.assertIn(self.partial, line)
        self.assertIn("--restart", line)
        self.assertEqual(self.kept(), before)
        done = self.finish("--restart")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("runs are done", done.stdout)
        self.assertEqual(len(read(self, self.path)["runs"]), self.RUNS)

    def test_two_at_once(self):
        first = self.start()
        began = time.monotonic()
        while not self.kept() and time.monotonic() - began < 60:
            time.sleep(0.01)
        line = check_one_line(self, self.finish(), 1)
        self.assertIn("in use by another sweep", line)
        first.send_signal(signal.SIGINT)
        self.assertEqual(end(first, began).returncode, 1)

    def test_without_a_file_it_says_so(self):
        process = start("sweep", *VARY, *self.LONG)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        line = check_one_line(self, end(process, time.monotonic()), 1)
        self.assertIn("--json=FILE", line)


if __name__ == "__main__":
    unittest.main()
