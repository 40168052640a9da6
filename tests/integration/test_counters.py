"""The probes counters and memory through the program, against perf stat and /proc."""

import os
import shutil
import subprocess
import sys
import time
import unittest

from sonde_program import SONDE, Folder, check_one_line, read_record, run

# Waits to be told, uses CPU time and pages, sleeps often, and ends.
WORKER = """
import sys, time
print("ready", flush=True)
sys.stdin.readline()
blocks = [bytearray(1 << 20) for _ in range(200)]
until = time.process_time() + 1.5
while time.process_time() < until:
    pass
for _ in range(300):
    time.sleep(0.0001)
"""
SOFTWARE = ("task-clock", "context-switches", "cpu-migrations", "page-faults")


def probe_of(record, name):
    return [probe for probe in record["runs"][0]["probes"] if probe["name"] == name][0]


def rows_of(probe, tid=None):
    """{what: metrics} of the rows of whole processes."""
    return {row["what"]: row["metrics"] for row in probe["rows"] if row["tid"] == tid}


def setUpModule():
    done = run("observe", "--probe", "counters,memory", "--", "true")
    if done.returncode != 0:
        raise unittest.SkipTest(done.stderr.strip())


class AgainstPerf(unittest.TestCase):
    def attach_perf(self, pid, path):
        """Counts from here on to the end of the process. perf says when it does (--control)."""
        control, acknowledge = os.pipe(), os.pipe()
        perf = subprocess.Popen(
            ["perf", "stat", "-x", ",", "-o", path, "-e", ",".join(SOFTWARE), "-p", str(pid),
             "-D", "-1", "--control", f"fd:{control[0]},{acknowledge[1]}"],
            pass_fds=(control[0], acknowledge[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.write(control[1], b"enable\n")
        os.read(acknowledge[0], 16)
        for end in (*control, *acknowledge):
            self.addCleanup(os.close, end)
        return perf

    def test_same_process_at_the_same_time(self):
        if shutil.which("perf") is None or os.geteuid() != 0:
            self.skipTest("perf is not there, or this is not root")
        folder = Folder(self)
        with subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as worker:
            self.addCleanup(worker.kill)
            worker.stdout.readline()
            path = folder.file("perf")
            perf = self.attach_perf(worker.pid, path)
            with subprocess.Popen([SONDE, "observe", f"pid={worker.pid}", "-q", "--probe",
                                   "counters,memory", "--json=" + folder.file("record")],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as sonde:
                self.addCleanup(sonde.kill)
                time.sleep(2)
                with open(f"/proc/{worker.pid}/status", encoding="utf-8") as file:
                    before = int(file.read().split("VmRSS:")[1].split()[0]) * 1024
                worker.stdin.write(b"go\n")
                worker.stdin.flush()
                self.assertEqual(worker.wait(60), 0)
                self.assertEqual(sonde.wait(60), 0, sonde.stderr.read())
            perf.wait(60)
        with open(path, encoding="utf-8") as file:
            lines = [line.split(",") for line in file if "," in line]
        expected = {line[2]: float(line[0]) for line in lines}
        expected["task-clock"] *= 1e6
        record = read_record(self, folder.file("record"))
        rows = rows_of(probe_of(record, "counters"))
        for name in SOFTWARE:
            value = rows[name]["value"]["value"]
            self.assertLessEqual(abs(value - expected[name]), 0.01 * expected[name] + 1,
                                 (name, value, expected[name]))
        self.assertGreater(rows["page-faults"]["value"]["value"], 200 << 8)
        self.assertGreaterEqual(rows["context-switches"]["value"]["value"], 300)
        self.check_memory(rows_of(probe_of(record, "memory")), before)

    def check_memory(self, rows, before):
        resident = rows["resident (RSS)"]
        self.assertGreaterEqual(resident["peak"]["value"], before + (199 << 20))
        self.assertGreater(resident["average"]["value"], before)
        self.assertGreater(resident["samples"]["value"], 1)
        self.assertLess(resident["peak"]["value"], before + (300 << 20))


class Observe(unittest.TestCase):
    def observe(self, *arguments):
        folder = Folder(self)
        done = run("observe", "-q", "--json=" + folder.file("record"), *arguments)
        return read_record(self, folder.file("record")), done

    def test_hardware_counter_or_reason(self):
        record, done = self.observe("--probe", "counters", "--counters", "default,l1d,l2,axi",
                                    "--", "dd", "if=/dev/zero", "of=/dev/null", "count=1000")
        self.assertEqual(done.returncode, 0, done.stderr)
        probe = probe_of(record, "counters")
        self.assertTrue(probe["available"])
        rows = rows_of(probe)
        self.assertEqual({row["name"] for row in probe["rows"]}, {"dd"})
        counters = [what for what in rows if what not in SOFTWARE]
        self.assertIn("l1d refills = L1-dcache-load-misses", counters)
        self.assertIn("instructions per cycle", counters)
        for what in counters:
            value = rows[what]["value"]
            if value["value"] is None:
                self.assertRegex(value["reason"], "[a-z]{3}")
            elif what in ("cycles", "instructions", "instructions per cycle"):
                self.assertGreater(value["value"], 0)
        for what in SOFTWARE:
            self.assertIsNotNone(rows[what]["value"]["value"], rows[what])

    def test_counters_of_an_execve_are_those_of_the_program(self):
        """What sonde's child does before it is not counted: as many faults as perf stat counts."""
        if shutil.which("perf") is None or os.geteuid() != 0:
            self.skipTest("perf is not there, or this is not root")
        command = [sys.executable, "-S", "-E", "-c", "x = bytearray(64 << 20)"]
        counted = []
        for _ in range(3):
            record, _ = self.observe("--probe", "counters", "--counters", "page-faults", "--",
                                     *command)
            counted.append(rows_of(probe_of(record, "counters"))["page-faults"]["value"]["value"])
        done = subprocess.run(["perf", "stat", "-x", ",", "-e", "page-faults", *command],
                              stderr=subprocess.PIPE, text=True, check=True)
        expected = float(done.stderr.split(",")[0])
        self.assertLessEqual(abs(sorted(counted)[1] - expected), 0.01 * expected + 1)

    def test_unknown_counter(self):
        done = run("observe", "--probe", "counters", "--counters", "cycels", "--", "true")
        check_one_line(self, done, 2)
        self.assertIn('"cycels"', done.stderr)
        self.assertIn("did you mean cycles?", done.stderr)

    def test_text_fits(self):
        done = run("observe", "-q", "--probe", "counters,memory", "--counters",
                   "default,l1d,l1i,l2,mem,tlb,axi", "--", "sleep", "0.2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 100, done.stdout)
        self.assertIn("TCP sockets of the machine", done.stdout)


if __name__ == "__main__":
    unittest.main()
