"""--probe profile: against a program whose functions take known shares of its time, and against
perf."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from sonde_program import (
    SONDE, Folder, Serving, check_one_line, checked_record, metric, read_record, run)

HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = 65534
# Shares differ by what the machine did meanwhile, not by much more than samples do by chance.
SHARES = 0.08
folder = None
profiled = None


def why_impossible():
    doctor = json.loads(run("doctor", "--json").stdout)
    probe = [one for one in doctor["probes"] if one["name"] == "profile"][0]
    for reason in ("built without BPF", "CAP_BPF", "pid namespace", "lockdown", "BTF"):
        if not probe["serves"] and reason in probe["reason"]:
            return probe["reason"]
    return None


def setUpModule():
    global folder, profiled
    reason = why_impossible()
    if reason is not None:
        print("test_profile: skipped:", reason, file=sys.stderr)
        raise unittest.SkipTest(reason)
    folder = tempfile.mkdtemp(prefix="sonde-profile-")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    os.chmod(folder, 0o755)
    profiled = os.path.join(folder, "profiled")
    subprocess.run(["cc", "-O1", "-g", "-fno-omit-frame-pointer", "-D_GNU_SOURCE", "-pthread", "-o",
                    profiled,
                    os.path.join(HERE, "profiled.c")], check=True)


def value(row, key):
    return row["metrics"][key]["value"]


def probe_of(record):
    return [one for one in record["runs"][0]["probes"] if one["name"] == "profile"][0]


def functions(probe):
    return [row for row in probe["rows"] if "symbol" in row]


def processes(probe):
    return [row for row in probe["rows"] if "symbol" not in row]


def self_share(probe, symbol):
    return sum(value(row, "self_share") for row in functions(probe) if row["symbol"] == symbol)


def read_folded(path):
    """{frames: samples} of a file for flame graphs; every line has that form."""
    stacks = {}
    with open(path, encoding="utf-8") as file:
        for line in file.read().splitlines():
            frames, samples = line.rsplit(" ", 1)
            stacks[frames] = stacks.get(frames, 0) + int(samples)
    return stacks


class Observed(unittest.TestCase):
    def observe(self, *command, options=()):
        path = Folder(self).file("record.json")
        self.folded = Folder(self).file("folded")
        done = run("observe", "--probe", "profile", f"--json={path}",
                   f"--profile-folded={self.folded}", *options, "--", *command)
        self.assertEqual(done.returncode, 0, done.stderr)
        record = read_record(self, path)
        self.check_sums(probe_of(record), read_folded(self.folded))
        return record, done.stdout

    def check_sums(self, probe, folded):
        """Every sample stands once among the functions, the processes, the stacks and the lines."""
        samples = sum(value(row, "samples") for row in processes(probe))
        self.assertEqual(probe["lost"], 0)
        self.assertEqual(sum(value(row, "self_samples") for row in functions(probe)), samples)
        self.assertAlmostEqual(sum(value(row, "self_share") for row in functions(probe)),
                               1 if samples else 0)
        # A record without a sample (a parent that only waits) has no list of stacks.
        stacks = probe["stacks"] if samples else probe.get("stacks", [])
        self.assertEqual(sum(stack["samples"] for stack in stacks), samples)
        self.assertEqual(sum(folded.values()), samples)
        for row in functions(probe):
            if value(row, "self_samples") and "total_samples" in row["metrics"]:
                self.assertGreaterEqual(value(row, "total_samples"), value(row, "self_samples"))

    def test_functions_have_their_share_of_the_time(self):
        record, text = self.observe(profiled, "two", "1500")
        probe = probe_of(record)
        self.assertAlmostEqual(self_share(probe, "takes_two_thirds"), 2 / 3, delta=SHARES)
        self.assertAlmostEqual(self_share(probe, "takes_one_third"), 1 / 3, delta=SHARES)
        row = [row for row in functions(probe) if row["symbol"] == "takes_two_thirds"][0]
        self.assertEqual(row["object"], profiled)
        self.assertEqual(row["name"], "profiled")
        main = [row for row in functions(probe) if row["symbol"] == "main"][0]
        self.assertGreater(value(main, "total_share"), 0.9)
        self.assertRegex(text, r"(?m)^ +\d+\.\d % +\d+\.\d % +profiled \d+ +profiled +"
                               r"takes_two_thirds$")
        self.assertFalse([line for line in text.splitlines() if len(line) > 100], text)
        # A sample stands for a tick of the CPU time that was used; ticks can be late, not early.
        one = record["runs"][0]
        cpu_s = (metric(one, "command_cpu_user_ns") + metric(one, "command_cpu_system_ns")) / 1e9
        samples = value(processes(probe)[0], "samples")
        self.assertLess(samples, cpu_s * 999 * 1.1 + 20)
        self.assertGreater(samples, cpu_s * 999 * 0.2)
        stacks = read_folded(self.folded)
        whole = [frames for frames in stacks
                 if re.fullmatch(r"profiled;([^;]+;)*main;takes_two_thirds", frames)]
        self.assertEqual(len(whole), 1, list(stacks)[:10])

    @unittest.skipUnless(shutil.which("perf"), "there is no perf")
    def test_perf_agrees(self):
        record, _ = self.observe(profiled, "calls", "1000")
        data = Folder(self).file("perf.data")
        done = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", "999", "-o", data,
                               "--", profiled, "calls", "1000"], capture_output=True, text=True,
                              timeout=60, check=False)
        if done.returncode != 0:
            self.skipTest("perf cannot record here: " + done.stderr[-200:])
        report = subprocess.run(["perf", "report", "-i", data, "--stdio", "-F", "overhead,sym",
                                 "-t", "|"], capture_output=True, text=True, timeout=60,
                                check=True).stdout
        theirs = {}
        for line in report.splitlines():
            match = re.fullmatch(r" *([0-9.]+)% *\|\[(.)\] (\S+) *", line)
            if match:
                theirs[match[2], match[3]] = float(match[1]) / 100
        kernel = sum(share for (kind, _), share in theirs.items() if kind == "k")
        probe = probe_of(record)
        self.assertGreater(kernel, 0.3, report)
        self.assertAlmostEqual(value(processes(probe)[0], "kernel_share"), kernel, delta=0.15)
        largest = sorted(((share, name) for (kind, name), share in theirs.items() if kind == "k"),
                         reverse=True)[:5]
        for share, name in largest:
            with self.subTest(name=name):
                self.assertAlmostEqual(self_share(probe, name), share, delta=0.15)

    def test_kernel_functions_are_named(self):
        record, _ = self.observe(profiled, "calls", "500")
        probe = probe_of(record)
        kernel = [row for row in functions(probe) if row["object"] == "[kernel]"]
        if [row for row in kernel if row["symbol"] == "[kernel]"]:
            self.assertIn("kptr_restrict", probe["reason"])
            self.skipTest("the kernel hides its addresses, and the record says so")
        self.assertTrue([row for row in kernel if "read" in row["symbol"]], kernel)
        self.assertFalse([row for row in kernel if row["symbol"].startswith("+")])
        self.assertGreater(value(processes(probe)[0], "kernel_share"), 0.2)
        # The call stands between who made it and what the kernel did.
        stacks = read_folded(self.folded)
        self.assertTrue([frames for frames in stacks
                         if re.search(r"main;.*[^\]];\w+_\[k\];.*vfs_read_\[k\]", frames)],
                        list(stacks)[:10])

    def test_hidden_kernel_addresses_are_said(self):
        hidden = Folder(self).file("kallsyms")
        with open(hidden, "w", encoding="ascii") as file:
            file.write("0000000000000000 T _text\n0000000000000000 t vfs_read\n")
        script = f'mount --bind {hidden} /proc/kallsyms && exec "$@"'
        path, folded = Folder(self).file("record.json"), Folder(self).file("folded")
        done = run("observe", "--probe=profile", f"--json={path}", f"--profile-folded={folded}",
                   "--", profiled, "calls", "300",
                   prefix=["unshare", "-m", "sh", "-c", script, "sh"])
        if "mount" in done.stderr or "unshare" in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)
        probe = probe_of(read_record(self, path))
        self.assertIn("kptr_restrict", probe["reason"])
        kernel = [row for row in functions(probe) if row["object"] == "[kernel]"]
        self.assertEqual([row["symbol"] for row in kernel], ["[kernel]"])
        self.assertGreater(value(kernel[0], "self_share"), 0.2)
        self.check_sums(probe, read_folded(folded))

    def test_rows_of_csv_are_whole(self):
        path = Folder(self).file("rows.csv")
        record, _ = self.observe(profiled, "two", "300", options=["--csv=" + path])
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        self.assertFalse([row for row in rows if None in row or None in row.values()])
        ours = {(row["object"], row["symbol"]): row["profile_self_samples"] for row in rows
                if row["symbol"]}
        self.assertEqual({key: int(samples) for key, samples in ours.items()},
                         {(row["object"], row["symbol"]): value(row, "self_samples")
                          for row in functions(probe_of(record))})

    def test_children_that_have_ended_are_named(self):
        record, _ = self.observe(profiled, "children", "400")
        probe = probe_of(record)
        for symbol in ("only_in_the_child", "takes_two_thirds", "takes_one_third"):
            rows = [row for row in functions(probe) if row["symbol"] == symbol]
            self.assertEqual(len(rows), 1, symbol)
            self.assertEqual(rows[0]["object"], profiled)
        self.assertGreater(self_share(probe, "only_in_the_child"), 0.25)
        self.assertGreater(self_share(probe, "takes_two_thirds"), 0.15)
        self.assertEqual(len({row["pid"] for row in functions(probe)
                              if value(row, "self_share") > 0.1}), 2)
        record, _ = self.observe(profiled, "children", "400", options=["--no-follow"])
        self.assertEqual(self_share(probe_of(record), "only_in_the_child"), 0)

    def test_the_c_library_hides_nobody(self):
        """Its calls into the kernel keep no frame pointers; with threads they overwrite it."""
        for mode, caller in (("calls", "main"), ("threads", "in_a_thread")):
            with self.subTest(mode=mode):
                record, _ = self.observe(profiled, mode, "400")
                stacks = read_folded(self.folded)
                inside = {frames: samples for frames, samples in stacks.items()
                          if "vfs_read_[k]" in frames}
                self.assertTrue(inside, list(stacks)[:10])
                whole = sum(samples for frames, samples in inside.items()
                            if f";{caller};reads_zeroes;" in frames)
                self.assertGreater(whole, 0.9 * sum(inside.values()), inside)
                self.assertLess(value(processes(probe_of(record))[0], "ended_early_share"), 0.2)

    def test_many_processes_of_one_name_are_one(self):
        record, _ = self.observe("sh", "-c", f"for i in $(seq 40); do {profiled} two 5; done")
        probe = probe_of(record)
        rows = [row for row in functions(probe) if row["symbol"] == "takes_two_thirds"]
        self.assertEqual([(row["name"], row["pid"]) for row in rows], [("profiled", None)])
        self.assertGreater(value(rows[0], "self_share"), 0.2)

    def test_code_without_symbols_is_an_address_in_its_object(self):
        stripped = os.path.join(folder, "stripped")
        subprocess.run(["strip", "-o", stripped, profiled], check=True)
        record, _ = self.observe(stripped, "two", "300")
        probe = probe_of(record)
        rows = [row for row in functions(probe) if row["object"] == stripped]
        self.assertTrue(rows)
        for row in rows:
            self.assertRegex(row["symbol"], r"^\+0x[0-9a-f]+$")
        self.assertGreater(value(processes(probe)[0], "unnamed_share"), 0.8)
        self.assertTrue([frames for frames in read_folded(self.folded)
                         if re.search(r";stripped\+0x[0-9a-f]+$", frames)])

    def test_rate_and_event_are_as_asked_for(self):
        record, _ = self.observe(profiled, "two", "1000",
                                 options=["--profile-rate=100", "--profile-event=cpu-clock"])
        probe = probe_of(record)
        row = processes(probe)[0]
        self.assertEqual(row["what"], "cpu-clock")
        self.assertEqual(value(row, "sample_rate"), 100)
        self.assertLess(value(row, "samples"), 200)
        self.assertIn("samples of cpu-clock", probe["reason"])


class Workload(unittest.TestCase):
    def check_end(self, probe, role):
        """It is mostly in the kernel, and has come there from functions of sonde's own."""
        rows = [row for row in functions(probe) if row["role"] == role]
        self.assertTrue([row for row in rows if row["object"] == "[kernel]"], role)
        self.assertTrue([row for row in rows if row["object"] == SONDE and
                         not row["symbol"].startswith("+")], rows)

    def test_both_ends_of_a_call(self):
        path, folded = Folder(self).file("record.json"), Folder(self).file("folded")
        done = run("call", "-q", "-d", "2s", "--write", "each", "--high", "1", "--probe",
                   "profile,syscalls", f"--json={path}", f"--profile-folded={folded}")
        self.assertEqual(done.returncode, 0, done.stderr)
        record = read_record(self, path)
        probe = probe_of(record)
        self.assertTrue(probe["available"], probe["reason"])
        self.assertGreaterEqual(probe["effect"]["blocks"], 1)
        self.assertGreater(probe["operations"], 0)
        for role in ("client", "server"):
            self.check_end(probe, role)
        stacks = read_folded(folded)
        self.assertEqual({frames.split(";")[0] for frames in stacks},
                         {"sonde (client)", "sonde-server (server)"})
        self.assertEqual(sum(stacks.values()),
                         sum(value(row, "samples") for row in processes(probe)))
        # Only the observed parts: half of the blocks of this probe.
        all_ticks = probe["window_ns"] / 1e9 * 999 * os.cpu_count()
        self.assertLess(sum(stacks.values()), all_ticks * 1.1 + 20)

    def test_another_sonde_measures_its_own_end(self):
        folded = Folder(self).file("folded")
        with Serving("sonde://127.0.0.1:0") as serving:
            done = run("call", serving.address, "-q", "-d", "2s", "--json", "--probe", "profile",
                       "-o", "self,server", f"--profile-folded={folded}")
        self.assertEqual(done.returncode, 0, done.stderr)
        probe = probe_of(checked_record(self, done.stdout))
        self.assertEqual({row["role"] for row in processes(probe)}, {"client", "server"})
        for role in ("client", "server"):
            self.check_end(probe, role)
        self.assertEqual(sum(read_folded(folded).values()),
                         sum(value(row, "samples") for row in processes(probe)))

    def test_two_engines_stand_beside_each_other(self):
        folded = Folder(self).file("folded")
        done = run("call", "-q", "-d", "1s", "-e", "poll,epoll", "--probe", "profile",
                   f"--profile-folded={folded}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({frames.split(";")[0] for frames in read_folded(folded)},
                         {"poll", "epoll"})


class Refused(unittest.TestCase):
    def test_before_anything_runs(self):
        mark = Folder(self).file("ran")
        for options, words in ((["--profile-folded=/nonexistent/file", "--probe=profile"],
                                "/nonexistent/file"),
                               (["--profile-folded=" + mark + ".folded"], "--probe profile"),
                               (["--profile-folded=-", "--json", "--probe=profile"], "taken"),
                               (["--probe=profile", "--profile-rate=0"], "--profile-rate"),
                               (["--probe=profile", "--profile-rate=30000"], "--profile-rate"),
                               (["--probe=profile", "--profile-event=time"], "cpu-clock")):
            with self.subTest(options=options):
                done = run("observe", *options, "--", "touch", mark)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(words, check_one_line(self, done, done.returncode))
                self.assertFalse(os.path.exists(mark))
        for command in (["call", "-d", "1s"], ["ipc", "-n", "1"]):
            line = check_one_line(self, run(*command, "--profile-folded=" + mark), 2)
            self.assertIn("--probe profile", line)

    def test_cycles_where_the_machine_counts_none(self):
        done = run("observe", "--probe=profile", "--profile-event=cycles", "--", "true")
        if done.returncode == 0:
            self.assertIn("samples of cycles", done.stdout)
        else:
            self.assertIn("cpu-clock", check_one_line(self, done, 1))

    def test_without_privilege_it_says_why(self):
        program = Folder(self).file("sonde")
        shutil.copy(SONDE, program)
        os.chmod(os.path.dirname(program), 0o755)
        done = subprocess.run([program, "observe", "--probe", "profile", "--", "true"],
                              capture_output=True, text=True, timeout=60, check=False, user=NOBODY,
                              group=NOBODY, extra_groups=[], cwd="/")
        self.assertIn("CAP_BPF", check_one_line(self, done, 1))


if __name__ == "__main__":
    unittest.main()
