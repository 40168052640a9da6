"""sonde compare: result files of real runs and what can be wrong with them, conditions, and runs that
it makes itself."""

import copy
import csv
import io
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
import unittest

import jsonschema

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from sonde_program import SONDE, check_one_line, run, start, end  # noqa: E402

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "docs" / "comparison.schema.json"
RUNS = 6
SHORT = ("-d", "0.05", "--warmup", "0.05", "-q")


def repeated(*arguments):
    """One record with several runs of the command, as --repeat gives."""
    records = []
    for _ in range(RUNS):
        done = run("call", *SHORT, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        records.append(json.loads(done.stdout))
    whole = records[0]
    whole["runs"] = [record["runs"][0] for record in records]
    return whole


class Files(unittest.TestCase):
    """Two commands that differ greatly: one write for each call, and one for many."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.each = repeated("--write", "each")
        cls.gather = repeated("--write", "gather")
        # Real records, but for the headline: how fast this machine is right now decides no test.
        for i in range(RUNS):
            for record, rate in ((cls.each, 100_000), (cls.gather, 8_000_000)):
                record["runs"][i]["metrics"]["calls_per_second"]["value"] = rate * (1 + i / 1000)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def file(self, content, name="file.json"):
        path = os.path.join(self.folder.name, name)
        text = content if isinstance(content, str) else json.dumps(content)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def compare(self, a, b, *options):
        return run("compare", self.file(a, "a.json"), self.file(b, "b.json"), *options)

    def comparison(self, a, b, *options):
        done = self.compare(a, b, "--json", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return checked(self, done.stdout)

    def test_a_great_difference(self):
        done = self.compare(self.each, self.gather)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"\nB is 80\.\d+x A in calls/s \([0-9.]+ \.\. [0-9.]+, 95 %, "
                                      rf"n = {RUNS} \+ {RUNS}, p = 0\.002\)\n")
        self.assertRegex(done.stdout, r"\n  client\.sendto_per_call +[\d.]+ +[\d.e-]+ .* 0\.002  \w+\n")
        self.assertIn("option that differs: --write is 'each' (A), 'gather' (B)", done.stdout)
        self.assertEqual(done.stdout.count("warning"), 1)
        self.assertIn("warning: the files were made at different times", done.stdout)

    def test_figures_are_those_of_the_records(self):
        found = self.comparison(self.each, self.gather)["comparisons"][0]
        figures = {figure["key"]: figure for figure in found["figures"]}
        for side, record in (("a", self.each), ("b", self.gather)):
            rates = sorted(one["metrics"]["calls_per_second"]["value"] for one in record["runs"])
            median = (rates[RUNS // 2 - 1] + rates[RUNS // 2]) / 2
            self.assertAlmostEqual(figures["calls_per_second"][f"{side}_median"] / median, 1, 9)
            costs = sorted(sum(process["cpu_per_operation"][mode]["value"]
                               for mode in ("user", "system"))
                           for one in record["runs"] for process in one["processes"]
                           if process["role"] == "server")
            median = (costs[RUNS // 2 - 1] + costs[RUNS // 2]) / 2
            self.assertAlmostEqual(
                figures["server.cpu_ns_per_call"][f"{side}_median"] / median, 1, 9)
        self.assertEqual(found["figures"][0]["key"], "calls_per_second")
        self.assertTrue(figures["calls_per_second"]["different"])
        self.assertEqual(found["tests"], sum(f["tested"] for f in found["figures"][1:]))

    def test_a_file_with_itself(self):
        done = self.compare(self.each, self.each)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"\nno difference seen in calls/s \(ratio 1\.00")
        self.assertNotIn("option that differs", done.stdout)
        found = self.comparison(self.each, self.each)["comparisons"][0]
        self.assertFalse(any(figure["different"] for figure in found["figures"]))
        self.assertNotIn("client.sendto_per_call", done.stdout)
        self.assertIn("client.sendto_per_call", self.compare(self.each, self.each, "--all").stdout)

    def test_csv_holds_the_same_figures(self):
        found = self.comparison(self.each, self.gather)["comparisons"][0]["figures"]
        done = self.compare(self.each, self.gather, "--csv")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        self.assertEqual([row["figure"] for row in rows], [figure["key"] for figure in found])
        self.assertEqual([float(row["a_median"]) for row in rows],
                         [figure["a_median"] for figure in found])

    def test_single_runs_say_nothing(self):
        one = copy.deepcopy(self.each)
        one["runs"] = one["runs"][:1]
        done = self.compare(one, self.gather)
        self.assertEqual(done.returncode, 0)
        self.assertIn("no statement is possible from 1 run", done.stdout)
        self.assertNotIn("B is", done.stdout)
        self.assertIn("client.cpu_ns_per_call", done.stdout)
        done = self.compare(one, self.gather, "--fail-if", "p50 > +5%")
        check_one_line(self, done, 2)
        self.assertIn(f"cannot be decided from 1 and {RUNS} runs", done.stderr)

    def test_discarded_and_incomplete_runs_are_left_out(self):
        changed = copy.deepcopy(self.each)
        changed["runs"][0]["discarded"] = True
        changed["runs"][1]["complete"] = False
        found = self.comparison(self.each, self.each)
        self.assertEqual(found["comparisons"][0]["b_runs"], RUNS)
        done = self.compare(self.each, changed, "--json")
        found = checked(self, done.stdout)
        self.assertEqual(found["comparisons"][0]["b_runs"], RUNS - 2)
        self.assertFalse(found["complete"])
        self.assertEqual(done.returncode, 1)
        self.assertEqual(found["warnings"][0], "1 run of B is not complete: left out")
        self.assertEqual(len(found["warnings"]), 2)

    def test_labels(self):
        other = copy.deepcopy(self.gather)
        for one in other["runs"]:
            one["label"] = "uring"
        done = self.compare(self.each, other)
        self.assertIn("epoll (A), uring (B): B is", done.stdout)
        both = copy.deepcopy(self.each)
        both["runs"] += other["runs"]
        done = self.compare(self.each, both)
        self.assertIn("warning: 'uring' of B has no counterpart: left out", done.stdout)
        self.assertIn("no difference seen in calls/s", done.stdout)

    def test_machines_that_differ(self):
        other = copy.deepcopy(self.each)
        other["machine"]["kernel"] = "Linux 5.0"
        other["machine"]["cores"] = 4096
        done = self.compare(self.each, other)
        self.assertEqual(done.returncode, 0)
        flat = " ".join(done.stdout.split())
        self.assertRegex(flat, r"warning: the machines differ: kernel is '.*' \(A\), 'Linux 5.0'")
        self.assertRegex(flat, r"warning: the machines differ: cores is '\d+' \(A\), '4096' \(B\)")

    def test_other_workloads_are_refused(self):
        other = copy.deepcopy(self.each)
        other["operation"] = "block"
        check_one_line(self, self.compare(self.each, other), 2)

    def test_files_that_are_no_results(self):
        text = json.dumps(self.each)
        newer = text.replace("sonde.record/1", "sonde.record/2")
        for content, says in (
                ("", "is empty"),
                (text[:2000], "is truncated: it ends at line 1, column 2000"),
                ("[1, 2]", "it holds an array"),
                ('{"a": 1}', "it names no schema"),
                (newer, "written by a newer sonde: its schema is sonde.record/2"),
                (text.replace("sonde.record/1", "sonde.comparison/1"), "sonde.comparison/1"),
                (text.replace('"label": "epoll"', '"label": 7', 1), "runs[0]"),
                ("\x1b[31m", "is no JSON")):
            with self.subTest(says=says):
                done = self.compare(self.each, content)
                check_one_line(self, done, 2)
                self.assertIn(says, done.stderr)
                self.assertIn("b.json", done.stderr)
                self.assertNotIn("\x1b", done.stderr)
        done = run("compare", "/nonexistent.json", self.file(text))
        check_one_line(self, done, 2)

    def test_conditions(self):
        for condition, status in (("rate > +5%", 1), ("rate < -5%", 0), ("rate < 1M", 0),
                                  ("rate > 1", 1), ("client.sendto_per_call < -50%", 1),
                                  ("cpu < -50%", 1), ("cpu > 10ms", 0)):
            with self.subTest(condition=condition):
                done = self.compare(self.each, self.gather, "--fail-if", condition)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), status)
                self.assertIn(condition if status else "", done.stderr)
                self.assertRegex(" ".join(done.stdout.split()),
                                 "condition .*: " + ("met" if status else "not met"))
        done = self.compare(self.each, self.gather, "--fail-if", "rate < -5%",
                            "--fail-if", "rate > +5%", "--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual([one["met"] for one in checked(self, done.stdout)["conditions"]],
                         [False, True])
        # 5 % that nobody can see fails nothing.
        done = self.compare(self.each, self.each, "--fail-if", "rate > -5%")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_wrong_conditions(self):
        for condition, says in (("p99", "FIGURE > VALUE"), ("p99 > ", "FIGURE > VALUE"),
                                ("> 5%", "FIGURE > VALUE"), ("p99 >= 5%", "FIGURE > VALUE"),
                                ("call_per_second > 5%", "did you mean calls_per_second?"),
                                ("p99 > 5", "a time such as")):
            with self.subTest(condition=condition):
                done = self.compare(self.each, self.gather, "--fail-if", condition)
                check_one_line(self, done, 2)
                self.assertIn(says, done.stderr)


def checked(case, text):
    found = json.loads(text)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    problems = list(jsonschema.Draft202012Validator(schema).iter_errors(found))
    case.assertEqual([problem.message for problem in problems], [])
    return found


class Runs(unittest.TestCase):
    """Runs that the comparison makes itself."""

    EACH = "call --write each -d 0.05 --warmup 0.05"
    GATHER = "call --write 'gather' -d \"0.05\" --warmup 0.05"

    def compare(self, *options, a=EACH, b=GATHER):
        return run("compare", "--run", a, "--run", b, *options)

    def test_pairs(self):
        done = self.compare("-n", "6", "--json", "--fail-if", "calls_per_send < 2")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = checked(self, done.stdout)
        self.assertTrue(found["interleaved"] and found["complete"])
        self.assertEqual((found["a"], found["b"]), (self.EACH, self.GATHER))
        figures = {figure["key"]: figure for figure in found["comparisons"][0]["figures"]}
        sends = figures["calls_per_send"]  # 1 and thousands, however slow the machine
        self.assertEqual((sends["a_runs"], sends["p"]), (6, 2 / 64))
        self.assertGreater(sends["ratio"]["low"], 1)
        self.assertTrue(sends["different"])
        self.assertEqual(found["options_that_differ"]["write"], {"a": "each", "b": "gather"})

    def test_text(self):
        done = self.compare("-n", "6")
        self.assertRegex(done.stdout, r"\n(B is|no difference seen).* in calls/s .*n = 6 pairs, p = ")
        self.assertEqual(done.stderr, "")  # progress is for terminals

    def test_what_cannot_be_compared(self):
        for text, says in (("call --json=x", "--json cannot stand in it"),
                           ("call --csv", "--csv cannot stand in it"),
                           ("call --repeat 3", "--repeat cannot stand in it"),
                           ("serve", "sonde serve has no runs to compare"),
                           ("compare a b", "sonde compare has no runs"),
                           ("sonde call", "without the word sonde"),
                           ("call 'x", "has a ' that is not closed"),
                           ("", "is empty"),
                           ("call --sice 3", "did you mean --size"),
                           ("nothing", "no such command")):
            with self.subTest(text=text):
                done = self.compare("-n", "4", b=text)
                check_one_line(self, done, 2)
                self.assertIn(says, done.stderr)
                self.assertEqual(done.stdout, "")

    def test_wrong_usage(self):
        for arguments in ((), ("a.json",), ("a", "b", "c"), ("--run", "call"),
                          ("--run", "call", "--run", "call", "--run", "call"),
                          ("a", "b", "--run", "call", "--run", "call"), ("a", "--", "b"),
                          ("a", "b", "--json", "--csv"),
                          ("--run", "call", "--run", "call", "-n", "3")):
            with self.subTest(arguments=arguments):
                check_one_line(self, run("compare", *arguments), 2)

    def test_a_failing_command_is_said(self):
        done = self.compare("-n", "4", b="call tcp://127.0.0.1:1 -d 0.05 --connect-timeout 1s")
        check_one_line(self, done, done.returncode)
        self.assertIn(done.returncode, (1, 2))

    def test_interrupt(self):
        """What is there is compared; the exit status says that it is not all."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            began = time.monotonic()
            terminal, other_end = os.openpty()  # where it shows its progress
            process = start("compare", "--run", self.EACH, "--run", self.EACH, "-n", "100000",
                            f"--json={path}", stderr=other_end)
            os.close(other_end)
            seen = b""
            while b"pair 2 of 100000" not in seen:
                more = os.read(terminal, 4096)
                self.assertTrue(more, seen)
                seen += more
            process.send_signal(signal.SIGINT)
            done = end(process, began)
            os.close(terminal)
            self.assertEqual(done.returncode, 1, seen)
            with open(path, encoding="utf-8") as file:
                found = checked(self, file.read())
        self.assertFalse(found["complete"])
        self.assertRegex(found["warnings"][0], r"^interrupted after \d+ of 100000 pairs")
        self.assertRegex(done.stdout, r"partial: ")


if __name__ == "__main__":
    print(f"# {SONDE}")
    unittest.main(verbosity=2)
