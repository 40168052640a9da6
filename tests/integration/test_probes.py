"""Any number of probes: in a run they take turns, under sonde observe they are on together. Over
all probes that serve here, as `sonde doctor` says."""

import json
import os
import shutil
import statistics
import subprocess
import unittest

from sonde_program import (
    SONDE, Folder, call_record, check_one_line, checked_record, metric, read_record, run)

NOBODY = 65534
serving = []


def why_impossible():
    """Only what makes it impossible on this machine: anything else that fails is a failure."""
    if os.geteuid() != 0:
        return "not root: the BPF programs cannot be loaded"
    if "syscalls" not in serving:
        return "the probe syscalls does not serve here (sonde doctor says why)"
    return None


def setUpModule():
    done = run("doctor", "--json")
    serving[:] = [probe["name"] for probe in json.loads(done.stdout)["probes"] if probe["serves"]]
    reason = why_impossible()
    if reason:
        raise unittest.SkipTest(reason)


def probe_of(case, record, name):
    found = [probe for probe in record["runs"][0]["probes"] if probe["name"] == name]
    case.assertEqual(len(found), 1, record["runs"][0]["probes"])
    return found[0]


class CallsOfAnOperation(unittest.TestCase):
    """A ping is one send and one receive at each end: so say the kernel's counts, whatever else an
    end's threads do (with the threads engine the server's first one only accepts, over TCP)."""

    def test_one_each(self):
        for arguments in (["tcp:"], ["udp:"], ["tcp:", "--server-engine", "epoll"]):
            with self.subTest(arguments=arguments):
                ratios = {}
                for _ in range(5):
                    done = run("ping", *arguments, "-d", "1s", "-q", "-o", "self", "-o", "server",
                               "--json")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    one = checked_record(self, done.stdout)["runs"][0]
                    for process in one["processes"]:
                        for call in process["kernel_calls"]["syscalls"]:
                            if call["name"] in ("sendto", "recvfrom"):
                                ratios.setdefault((process["role"], call["name"]), []).append(
                                    call["calls_per_operation"])
                self.assertEqual(len(ratios), 4, ratios)
                for key, values in ratios.items():
                    # Parts are some 50 ms long here; the threads of one end are cut at almost the
                    # same time, and in between other programs have the CPU.
                    self.assertAlmostEqual(statistics.median(values), 1, delta=0.015,
                                           msg=f"{key}: {values}")
                self.assertFalse([call for process in one["processes"]
                                  for call in process["kernel_calls"]["syscalls"]
                                  if call["name"] == "clock_nanosleep"], "the conductor's")


class Turns(unittest.TestCase):
    """`sonde call`: block by block."""

    def test_all_probes_have_time_and_effect_of_their_own(self):
        seconds = 2 + len(serving)
        record = call_record(self, "-q", "-d", f"{seconds}s", "-o", "server", "--probe",
                             ",".join(serving))
        one = record["runs"][0]
        self.assertEqual([probe["name"] for probe in one["probes"]], serving)
        for probe in one["probes"]:
            with self.subTest(probe=probe["name"]):
                self.assertTrue(probe["available"], probe["reason"])
                self.assertGreater(probe["window_ns"], 0)
                self.assertGreater(probe["operations"], 0)
                self.assertGreaterEqual(probe["bytes"], probe["operations"])
                self.assertGreaterEqual(probe["effect"]["blocks"], 2)
                self.assertEqual(probe["effect"]["metric"], "calls_per_second")
        # Half of each block is observed: no probe has more than its share of it, and together
        # with the transitions nothing is left over. (check_record has the sum.)
        share = one["wall_ns"] / 2 / len(serving)
        for probe in one["probes"]:
            self.assertLess(probe["window_ns"], share * 2)
        self.assertNotIn("too short", " ".join(record["warnings"]))

    def test_calls_are_divided_by_the_operations_of_their_own_parts(self):
        """The echo server makes one receive and one send for each call, whatever is on when."""
        record = call_record(self, "-q", "-d", "2s", "-e", "poll", "-o", "server", "--write", "each",
                             "--high", "1", "--probe", ",".join(serving))
        server = [p for p in record["runs"][0]["processes"] if p["role"] == "server"][0]
        calls = {c["name"]: c for c in server["kernel_calls"]["syscalls"]}
        # At most one call is in flight at each end of an observed part.
        parts = 2 * (probe_of(self, record, "syscalls")["effect"]["blocks"] + 1)
        operations = calls["sendto"]["calls"] / calls["sendto"]["calls_per_operation"]
        self.assertAlmostEqual(calls["sendto"]["calls"], operations, delta=2 * parts)
        probe = probe_of(self, record, "syscalls")
        self.assertEqual(server["kernel_calls"]["window_ns"], probe["window_ns"])

    def test_counted_run_has_no_more_operations_than_were_asked_for(self):
        record = call_record(self, "-q", "-n", "20000", "-o", "server", "--write", "each",
                             "--high", "1", "--probe", ",".join(serving))
        one = record["runs"][0]
        seen = sum(probe["operations"] or 0 for probe in one["probes"])
        self.assertGreater(seen, 0)
        self.assertLessEqual(seen + metric(one, "calls"), 20000)

    def test_probe_alone_looks_at_both_ends(self):
        record = call_record(self, "-q", "-d", "1s", "--probe", "syscalls")
        one = record["runs"][0]
        self.assertEqual({p["role"] for p in one["processes"] if p["kernel_calls"]["available"]},
                         {"client", "server"})
        self.assertRegex(one["observation"],
                         r"^self \(pid \d+\), server \(pid \d+\), probe syscalls, ")

    def test_short_window_says_what_it_did_not_suffice_for(self):
        if len(serving) < 2:
            self.skipTest("one probe alone has all of the window")
        done = run("call", "--json", "-q", "-d", "300ms", "-o", "server", "--probe",
                   ",".join(serving))
        record = checked_record(self, done.stdout)
        self.assertIn("the window is too short for 3 blocks", " ".join(record["warnings"]))

    def test_text_has_the_effect_of_every_probe(self):
        done = run("call", "-q", "-d", "2s", "-o", "server", "--probe", ",".join(serving))
        lines = [line for line in done.stdout.splitlines() if line.startswith("  probe effect")]
        self.assertEqual(len(lines), len(serving), done.stdout)
        self.assertFalse([line for line in done.stdout.splitlines() if len(line) > 100])


class Together(unittest.TestCase):
    """`sonde observe`: from start to end."""

    def observe(self, *arguments):
        path = Folder(self).file("record.json")
        done = run("observe", f"--json={path}", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return read_record(self, path), done.stdout

    def test_all_probes_are_on_for_the_whole_window(self):
        record, text = self.observe("--probe", ",".join(serving), "--", "dd", "if=/dev/zero",
                                    "of=/dev/null", "bs=4k", "count=400000", "status=none")
        one = record["runs"][0]
        self.assertEqual([probe["name"] for probe in one["probes"]], serving)
        for probe in one["probes"]:
            self.assertTrue(probe["available"], probe["reason"])
            self.assertEqual(probe["window_ns"], one["window_ns"])
            self.assertIn("from start to end", probe["effect"]["reason"])
        calls = {c["name"]: c for c in one["processes"][0]["kernel_calls"]["syscalls"]}
        # write(2) of dd alone: the loader and dd's end write nothing.
        self.assertEqual((calls["write"]["calls"], calls["write"]["bytes"]),
                         (400000, 400000 * 4096))
        self.assertIn("write", text)

    def test_without_syscalls_there_is_no_table_of_calls(self):
        others = [name for name in serving if name != "syscalls"]
        if not others:
            self.skipTest("there is no other probe")
        record, text = self.observe("--probe", ",".join(others), "--", "sleep", "0.3")
        one = record["runs"][0]
        self.assertNotIn("system_calls", one["metrics"])
        self.assertEqual(one["intervals"], [])
        self.assertNotIn("system call ", text)
        self.assertEqual([p["name"] for p in one["processes"]], ["sleep"])
        self.assertFalse(one["processes"][0]["kernel_calls"]["available"])


class Refused(unittest.TestCase):
    def test_unknown_names(self):
        for command in (["observe", "--probe"], ["call", "-d", "1s", "-o", "server", "--probe"]):
            tail = ["--", "true"] if command[0] == "observe" else []
            line = check_one_line(self, run(*command, "sycalls", *tail), 2)
            self.assertIn("sycalls", line)
            self.assertIn("did you mean syscalls", line)
            line = check_one_line(self, run(*command, "syscalls,syscalls", *tail), 2)
            self.assertIn("twice", line)

    def test_results_that_cannot_be_written_are_refused_before_the_command_runs(self):
        mark = Folder(self).file("ran")
        for option in ("--json", "--csv"):
            done = run("observe", f"{option}=/nonexistent/file", "--", "touch", mark)
            self.assertIn("/nonexistent/file", check_one_line(self, done, 1))
            self.assertFalse(os.path.exists(mark))


class WithoutPrivilege(unittest.TestCase):
    def sonde(self, *arguments):
        program = Folder(self).file("sonde")
        shutil.copy(SONDE, program)
        os.chmod(os.path.dirname(program), 0o755)
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60,
                              check=False, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")

    def call(self, *arguments):
        return self.sonde("call", "-q", "-d", "200ms", "-o", "server", *arguments)

    def test_probe_is_in_the_record_with_its_reason(self):
        done = self.call("--json", "--probe", "syscalls")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        record = checked_record(self, done.stdout)
        probe = probe_of(self, record, "syscalls")
        self.assertFalse(probe["available"])
        self.assertIn("CAP_BPF", probe["reason"])
        self.assertIn("CAP_BPF", record["runs"][0]["observation"])

    def test_probes_that_need_no_privilege_go_on(self):
        done = self.sonde("doctor", "--json")
        free = [p["name"] for p in json.loads(done.stdout)["probes"] if p["serves"]]
        if not free:
            self.skipTest("every probe needs privilege")
        done = self.call("-d", "2s", "--json", "--probe", ",".join(["syscalls", *free]))
        record = checked_record(self, done.stdout)
        self.assertFalse(probe_of(self, record, "syscalls")["available"])
        for name in free:
            probe = probe_of(self, record, name)
            self.assertTrue(probe["available"], probe["reason"])
            self.assertGreaterEqual(probe["effect"]["blocks"], 2)

    def test_required_is_an_error(self):
        line = check_one_line(self, self.call("--require-observe"), 1)
        self.assertIn("CAP_BPF", line)


if __name__ == "__main__":
    unittest.main()
