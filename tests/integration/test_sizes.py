"""The probes sizes and latency: their counts against strace's and bpftrace's, thread by thread, call
by call and class by class."""

import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import sonde_program
from sonde_program import SONDE
from test_observe import why_impossible

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE_S = sonde_program.PATIENCE_S
# What moves bytes among the calls that moves.c and the loader make, by number for bpftrace.
NUMBERS = {"read": 0, "write": 1, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20,
           "sendfile": 40, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47,
           "splice": 275, "tee": 276, "vmsplice": 278, "preadv": 295, "pwritev": 296}
PLACES = 1023  # threads that have a place of their own
folder = None
moves = None
with_uring = False


def setUpModule():
    global folder, moves, with_uring
    reason = why_impossible()
    if reason is not None:
        print("test_sizes: skipped:", reason, file=sys.stderr)
        raise unittest.SkipTest(reason)
    folder = tempfile.mkdtemp()
    moves = os.path.join(folder, "moves")
    source = [os.path.join(HERE, "moves.c"), "-D_GNU_SOURCE", "-pthread", "-o", moves]
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    done = subprocess.run([compiler, *source, "-DWITH_URING", "-luring"], capture_output=True,
                          check=False)
    with_uring = done.returncode == 0
    if not with_uring:
        subprocess.run([compiler, *source], check=True)


def tearDownModule():
    if folder is not None:
        shutil.rmtree(folder)


def read_record():
    with open(os.path.join(folder, "record.json"), encoding="utf-8") as file:
        return json.load(file)["runs"][0]


def observe(probes, *command, **options):
    done = subprocess.run([SONDE, "observe", "--probe", probes, "--output=/dev/null",
                           "--json=" + os.path.join(folder, "record.json"), "--", *command],
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False,
                          **options)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return read_record()


def probe_of(run, name):
    (probe,) = [one for one in run["probes"] if one["name"] == name]
    return probe


def classes_of(distribution):
    """{lowest value: count}; -1 for what is below 0."""
    return {-1 if row["low"] is None or row["low"] < 0 else row["low"]: row["count"]
            for row in distribution["classes"]}


def by_thread(probe):
    """{tid: {call: {lowest value of the class: count}}}"""
    threads = collections.defaultdict(dict)
    for one in probe["distributions"]:
        threads[one["tid"]][one["what"]] = classes_of(one)
    return dict(threads)


def class_low(value):
    return value if value <= 0 else 1 << (value.bit_length() - 1)


def strace(*command):
    """As by_thread, with the sums: {tid: {call: ({lowest: count}, sum)}}"""
    path = os.path.join(folder, "strace")
    subprocess.run(["strace", "-f", "-qq", "-o", path, *command], stdout=subprocess.DEVNULL,
                   timeout=PATIENCE_S, check=True)
    threads = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            found = re.match(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed).* = (-?\d+)(?: [A-Z(].*)?$",
                             line)
            if found and found[2] in NUMBERS:
                value = max(int(found[3]), -1)
                threads[int(found[1])][found[2]][class_low(value)] += 1
    return {tid: {call: dict(count) for call, count in calls.items()}
            for tid, calls in threads.items()}


def unordered(threads):
    """Without the threads' ids, which differ from run to run."""
    return sorted(json.dumps(calls, sort_keys=True) for calls in threads.values())


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class AgainstStrace(unittest.TestCase):
    def test_every_thread_call_and_class(self):
        self.maxDiff = None
        probe = probe_of(observe("sizes", moves, "threads"), "sizes")
        self.assertEqual(probe["lost"], 0)
        seen, expected = by_thread(probe), strace(moves, "threads")
        self.assertEqual(len(expected), 5)
        self.assertEqual(unordered(seen), unordered(expected))
        for tid, calls in seen.items():
            self.assertLessEqual(set(calls), set(NUMBERS), tid)

    def test_with_other_probes_at_the_same_time(self):
        run = observe("syscalls,sizes,latency", moves, "threads")
        self.assertEqual(unordered(by_thread(probe_of(run, "sizes"))),
                         unordered(strace(moves, "threads")))
        # Bytes and calls of a process, counted by another program at the same event.
        calls = {row["name"]: row for row in run["processes"][0]["kernel_calls"]["syscalls"]}
        sums, counts = collections.Counter(), collections.Counter()
        for one in probe_of(run, "sizes")["distributions"]:
            sums[one["what"]] += one["sum"]
            counts[one["what"]] += sum(classes_of(one).values())
        self.assertEqual(sums, {name: calls[name]["bytes"] for name in counts})
        self.assertEqual(counts, {name: calls[name]["calls"] for name in counts})


@unittest.skipUnless(shutil.which("bpftrace") and os.uname().machine == "x86_64",
                     "no bpftrace, or other numbers")
class AgainstBpftrace(unittest.TestCase):
    """The same process, seen by both."""

    PROGRAM = ('tracepoint:raw_syscalls:sys_exit /comm == "moves"/ '
               '{ @[tid, args->id] = hist(args->ret); }\n'
               'tracepoint:raw_syscalls:sys_exit /comm == "canary"/ { @on = 1; }\n'
               'interval:ms:100 /@on == 1/ { printf("on\\n"); @on = 2; }')
    # It looks for tracepoints in tracefs: mounted for it alone where it is not.
    MOUNT = ('[ -d /sys/kernel/tracing/events ] || mount -t tracefs none /sys/kernel/tracing; '
             'mount -t debugfs none /sys/kernel/debug 2>/dev/null; exec bpftrace -f json -e "$0"')

    def start(self):
        canary = os.path.join(folder, "canary")
        shutil.copy("/bin/true", canary)
        tool = subprocess.Popen(["unshare", "--mount", "sh", "-c", self.MOUNT, self.PROGRAM],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(tool.wait)
        self.addCleanup(tool.kill)
        os.set_blocking(tool.stdout.fileno(), False)
        text, deadline = b"", time.monotonic() + PATIENCE_S
        while b'"on' not in text:
            self.assertLess(time.monotonic(), deadline, text)
            self.assertIsNone(tool.poll(), text)
            subprocess.run([canary], check=True)
            time.sleep(0.1)
            text += tool.stdout.read() or b""
        os.set_blocking(tool.stdout.fileno(), True)
        return tool

    def test_hist(self):
        tool = self.start()
        run = observe("sizes", moves, "threads")
        tool.send_signal(signal.SIGINT)
        text = tool.communicate(timeout=PATIENCE_S)[0].decode()
        names = {number: name for name, number in NUMBERS.items()}
        expected = collections.defaultdict(dict)
        for line in text.splitlines():
            if '"hist"' not in line:
                continue
            for key, rows in json.loads(line)["data"]["@"].items():
                tid, number = (int(word) for word in key.split(","))
                if number in names:
                    expected[tid][names[number]] = {row.get("min", -1): row["count"]
                                                    for row in rows if row["count"]}
        self.assertEqual(len(expected), 5, text)
        self.assertEqual(by_thread(probe_of(run, "sizes")), expected)


class Sizes(unittest.TestCase):
    def test_known_sizes(self):
        threads = by_thread(probe_of(observe("sizes", moves, "threads"), "sizes"))
        (failures,) = [calls for calls in threads.values() if -1 in calls.get("recvfrom", {})]
        self.assertEqual(failures, {"read": {-1: 17, 0: 17}, "write": {-1: 17, 0: 17},
                                    "recvfrom": {-1: 17}, "pread64": {-1: 17}})
        (others,) = [calls for calls in threads.values() if "tee" in calls]
        self.assertEqual(others["pwrite64"], {4096: 23})
        self.assertEqual(others["splice"], {2048: 46})
        self.assertEqual(others["sendto"], {0: 23})
        powers = [calls for calls in threads.values() if 1 << 20 in calls.get("write", {})]
        self.assertEqual(len(powers), 2)
        # 2^k - 1, 2^k and 2^k + 1 for each k: three in a class but at the ends.
        wanted = {1 << k: 3 for k in range(2, 20)}
        wanted.update({1: 2, 2: 4, 1 << 20: 1})
        for calls in powers:
            self.assertEqual(calls["write"], wanted)

    def test_io_uring(self):
        if not with_uring:
            self.skipTest("liburing is not installed: the test's process cannot be built")
        probe = probe_of(observe("sizes", moves, "uring"), "sizes")
        rows = {one["what"]: one for one in probe["distributions"] if one["tid"] is None}
        self.assertIsNone(probe["reason"])
        self.assertEqual(set(rows), {"io_uring READ", "io_uring WRITE"})
        self.assertEqual(classes_of(rows["io_uring READ"]), {-1: 40, 0: 40, 4096: 40})
        self.assertEqual(classes_of(rows["io_uring WRITE"]), {64: 40})
        self.assertEqual([rows["io_uring READ"]["sum"], rows["io_uring WRITE"]["sum"]],
                         [40 * 5000, 40 * 64])

    def test_more_threads_than_places(self):
        count = PLACES + 300
        probe = probe_of(observe("sizes,latency", moves, "many", str(count)), "sizes")
        writes = [one for one in probe["distributions"] if one["what"] == "write"]
        self.assertEqual(sum(one["sum"] for one in writes), count)
        self.assertTrue(all(one["sum"] == 1 for one in writes if one["tid"] is not None))
        (others,) = [one for one in writes if one["tid"] is None]
        self.assertEqual((others["name"], classes_of(others)), ("(others)", {1: others["sum"]}))
        self.assertGreaterEqual(others["sum"], 300)
        self.assertIn("more threads", probe["reason"])
        # Those without a place are timed all the same.
        latency = probe_of(read_record(), "latency")
        (row,) = [one for one in latency["rows"] if one["what"] == "write"]
        self.assertEqual((row["metrics"]["calls"]["value"], latency["lost"]), (count, 0))

    def test_exec_by_another_thread(self):
        probe = probe_of(observe("sizes", moves, "exec"), "sizes")
        reads = [one for one in probe["distributions"] if one["what"] == "read"]
        pid = reads[0]["pid"]
        self.assertEqual({one["pid"] for one in reads}, {pid})
        other = [one for one in reads if one["tid"] != pid]
        self.assertEqual([classes_of(one) for one in other], [{1: 1}])
        # Its later reads are those of the process's first thread, as the kernel numbers it.
        self.assertEqual(sum(classes_of(one).get(64, 0) for one in reads if one["tid"] == pid), 1)

    def test_call_under_way_when_the_window_opens(self):
        """Its size is counted, at its return; its duration is not, as its entry was not seen."""
        child = subprocess.Popen([moves, "blocked"], stdin=subprocess.PIPE)
        self.addCleanup(child.wait)
        self.addCleanup(child.stdin.close)
        deadline = time.monotonic() + PATIENCE_S
        with open("/proc/%d/syscall" % child.pid, encoding="ascii") as file:
            while file.read().split()[:2] != [str(NUMBERS["read"]), "0x0"]:
                self.assertLess(time.monotonic(), deadline)
                file.seek(0)
        tool = subprocess.Popen([SONDE, "observe", "-i", "100ms", "--probe",
                                 "syscalls,sizes,latency", "--json=" +
                                 os.path.join(folder, "record.json"), "pid=%d" % child.pid],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(tool.wait)
        self.addCleanup(tool.kill)
        self.assertIn(" s  ", tool.stdout.readline())  # it is attached
        for _ in range(3):
            child.stdin.write(b"x" * 100)
            child.stdin.flush()
            time.sleep(0.05)
        tool.send_signal(signal.SIGINT)  # while it waits in the fourth
        tool.communicate(timeout=PATIENCE_S)
        run = read_record()
        (sizes,) = probe_of(run, "sizes")["distributions"]
        self.assertEqual((sizes["what"], classes_of(sizes), sizes["sum"]), ("read", {64: 3}, 300))
        (row,) = probe_of(run, "latency")["rows"]
        self.assertEqual((row["what"], row["metrics"]["calls"]["value"]), ("read", 2))
        self.assertGreater(row["metrics"]["max"]["value"], 20e6)


class Latency(unittest.TestCase):
    def test_every_call_that_returns(self):
        run = observe("syscalls,latency", moves, "threads")
        calls = {row["name"]: row["calls"]
                 for row in run["processes"][0]["kernel_calls"]["syscalls"]}
        latency = probe_of(run, "latency")
        self.assertEqual(latency["lost"], 0)
        seen = {row["what"]: row["metrics"]["calls"]["value"] for row in latency["rows"]}
        del calls["execve"]  # it was not observed when it began
        self.assertEqual(seen, calls)
        shapes = {one["what"]: one for one in latency["distributions"]}
        self.assertEqual(set(shapes), set(seen))
        for row in latency["rows"]:
            one, figures = shapes[row["what"]], row["metrics"]
            self.assertEqual(sum(classes_of(one).values()), figures["calls"]["value"])
            self.assertEqual(one["sum"], figures["time"]["value"])
            self.assertAlmostEqual(figures["mean"]["value"] * figures["calls"]["value"],
                                   one["sum"], delta=1)
            self.assertIn(class_low(int(figures["max"]["value"])), classes_of(one))
            self.assertEqual(figures["p50"]["value"] is not None, figures["calls"]["value"] >= 10)
            self.assertEqual(figures["p99"]["value"] is not None, figures["calls"]["value"] >= 1000)

    def test_known_durations(self):
        script = ("import time\n"
                  "for i in range(20): time.sleep(0.01)\n"
                  "time.sleep(0.2)")
        latency = probe_of(observe("latency", "/usr/bin/python3", "-c", script), "latency")
        (row,) = [one for one in latency["rows"] if one["what"] == "clock_nanosleep"]
        figures = {key: one["value"] for key, one in row["metrics"].items()}
        self.assertEqual(figures["calls"], 21)
        self.assertGreaterEqual(figures["max"], 200e6)
        self.assertGreaterEqual(figures["time"], 400e6)
        self.assertGreaterEqual(figures["p50"], 10e6 * (1 - 1 / 16))
        self.assertLess(figures["p50"], figures["max"])


if __name__ == "__main__":
    unittest.main()
