"""sonde observe --probe sched,softirq: against what the kernel itself says of the command, and
against its counters of the machine."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

SONDE = os.path.abspath(os.environ.get("SONDE", "build/sonde"))

# Computes, sleeps, and says what the kernel has counted for it, as late as it can.
WORK = """
import os, sys, time, resource
end = time.thread_time() + 0.3
while time.thread_time() < end:
    pass
for i in range(20):
    time.sleep(0.005)
usage = resource.getrusage(resource.RUSAGE_SELF)
sys.stdout.write("%d %d %d" % (time.process_time_ns(), usage.ru_nvcsw, usage.ru_nivcsw))
sys.stdout.flush()
os._exit(0)
"""


def observe(probes, command):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "record.json")
        done = subprocess.run([SONDE, "observe", "--probe=" + probes, "--json=" + path,
                               "--output=" + os.path.join(folder, "text"), "--"] + command,
                              capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        with open(path, encoding="utf-8") as file:
            run = json.load(file)["runs"][0]
    return {probe["name"]: probe for probe in run["probes"]}, done.stdout


def values(row):
    return {key: metric["value"] for key, metric in row["metrics"].items()}


def why_impossible():
    done = subprocess.run([SONDE, "observe", "--", "true"], capture_output=True, text=True,
                          timeout=60, check=False)
    for reason in ("built without BPF", "CAP_BPF", "pid namespace", "lockdown", "BTF"):
        if done.returncode != 0 and reason in done.stderr:
            return done.stderr.strip()
    return None


def setUpModule():
    reason = why_impossible()
    if reason is not None:
        print("test_sched: skipped:", reason, file=sys.stderr)
        raise unittest.SkipTest(reason)


class Sched(unittest.TestCase):
    def test_agrees_with_the_kernels_own_counts(self):
        probes, said = observe("sched", ["/usr/bin/python3", "-S", "-c", WORK])
        cpu_ns, voluntary, involuntary = (int(word) for word in said.split())
        probe = probes["sched"]
        rows = [row for row in probe["rows"] if not row["what"]]
        self.assertEqual(len(rows), 1, rows)
        row = values(rows[0])
        # It runs on for a little after it has spoken; the first part of its life, before the
        # command was executed, is not in the window.
        self.assertGreater(row["on_cpu_ns"], cpu_ns * 0.98 - 5e6)
        self.assertLess(row["on_cpu_ns"], cpu_ns * 1.02 + 50e6)
        self.assertGreaterEqual(row["switches_voluntary"], 20)
        self.assertLessEqual(abs(row["switches_voluntary"] - voluntary), 10)
        # On a busy machine it is preempted now and then before and after that, too.
        self.assertLessEqual(abs(row["switches_involuntary"] - involuntary), 10 + involuntary / 2)
        self.assertGreaterEqual(row["sleeping_ns"], 100e6)
        everything = sum(row[key] for key in ("on_cpu_ns", "sleeping_ns", "blocked_ns",
                                              "waiting_ns", "preempted_ns"))
        self.assertLessEqual(everything, probe["window_ns"] * 1.001)
        self.assertAlmostEqual(row["on_cpu_share"], row["on_cpu_ns"] / probe["window_ns"])
        timer = [r for r in probe["rows"] if r["what"] == "woken by interrupt"]
        # 20 sleeps; where the hypervisor stalls one, its timer has run out before it sleeps.
        self.assertGreaterEqual(values(timer[0])["wakeups"], 18)
        counts = [sum(c["count"] for c in d["classes"]) for d in probe["distributions"]
                  if d["what"] == "after wake-up"]
        self.assertGreaterEqual(counts[0], 18)

    def test_processes_that_wake_each_other_are_named(self):
        probes, _ = observe("sched", ["/usr/bin/python3", "-S", "-c", """
import os
there, back = os.pipe(), os.pipe()
if os.fork() == 0:
    for i in range(500):
        os.read(there[0], 1)
        os.write(back[1], b"x")
    os._exit(0)
for i in range(500):
    os.write(there[1], b"x")
    os.read(back[0], 1)
os.wait()
"""])
        rows = probes["sched"]["rows"]
        pids = sorted({row["pid"] for row in rows})
        self.assertEqual(len(pids), 2)
        for pid, other in (pids, pids[::-1]):
            woken = [values(row)["wakeups"] for row in rows
                     if row["pid"] == pid and row["what"] and row["what"].endswith(" %d" % other)]
            self.assertEqual(len(woken), 1, rows)
            self.assertGreaterEqual(woken[0], 20)  # who finds a byte there does not sleep
            self.assertLessEqual(woken[0], 520)


def softirqs():
    """Softirqs served since boot, by CPU."""
    with open("/proc/softirqs", encoding="ascii") as file:
        lines = file.read().splitlines()
    sums = {}
    for name, *counts in (line.split() for line in lines[1:]):
        for cpu, count in zip(lines[0].split(), counts):
            sums[cpu] = sums.get(cpu, 0) + int(count)
    return sums


class Softirq(unittest.TestCase):
    def test_counts_what_the_kernel_counts(self):
        before = softirqs()
        probes, _ = observe("softirq", ["sleep", "1"])
        after = softirqs()
        rows = {row["what"]: values(row) for row in probes["softirq"]["rows"]}
        self.assertTrue(rows)
        for what, row in rows.items():
            cpu = what.upper().replace(" ", "")
            self.assertGreater(row["softirqs"], 0)
            self.assertLessEqual(row["softirqs"], after[cpu] - before[cpu])
            self.assertLessEqual(row["softirq_ns"], probes["softirq"]["window_ns"])
            parts = sum(row[key] for key in ("net_rx_ns", "net_tx_ns", "timer_ns", "sched_ns",
                                             "rcu_ns", "other_softirq_ns"))
            self.assertAlmostEqual(row["softirq_ns"], parts, delta=1)


if __name__ == "__main__":
    unittest.main()
