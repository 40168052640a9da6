"""`sonde ping --during stream`: round trips without and beside a load, what happens where the load
cannot begin or does not last, and that nobody is left behind."""

import os
import signal
import threading
import time
import unittest

from sonde_program import (PATIENCE_S, Folder, Misbehaving, Serving, check_one_line,
                           checked_record, end, engines, hear, metric, read_record, run, start)

ADDED = {"load_added_p50": "50", "load_added_p99": "99"}


def measured(case, *arguments, load="stream"):
    done = run("ping", "--during", load, "--json", "-q", *arguments)
    case.assertEqual(done.returncode, 0, done.stderr)
    return checked_record(case, done.stdout)


def swallows(server, client):
    while hear(server, client):
        pass


def gone(pid):
    """True once there is no such process; one that has ended and was not waited for is none."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            with open("/proc/%d/stat" % pid, encoding="utf-8") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


class Both(unittest.TestCase):
    def check(self, idle, during, processes=2):
        self.assertNotIn("load_bytes_per_second", idle["metrics"])
        self.assertGreater(metric(during, "load_bytes_per_second"), 0)
        load = [process for process in during["processes"] if process["role"] == "load"]
        self.assertEqual(len(load), processes)
        for process in load:
            self.assertTrue(gone(process["pid"]), process)
        self.assertFalse([p for p in idle["processes"] if p["role"] == "load"])
        for key, percentile in ADDED.items():
            times = [one["histograms"]["response_time"]["percentiles"][percentile]
                     for one in (during, idle)]
            if None not in times:
                self.assertEqual(metric(during, key), times[0] - times[1])

    def test_each_transport(self):
        for transport in ("tcp:", "udp:", "unix:", "unix-dgram:", "local:", "pipe:"):
            with self.subTest(transport=transport):
                runs = measured(self, transport, "-n", "3000", "--burst", "3")["runs"]
                self.assertEqual([one["label"] for one in runs], ["idle", "during"])
                self.assertIsNotNone(metric(runs[1], "load_added_p50"))
                self.check(*runs)

    def test_each_engine(self):
        names = engines()
        runs = measured(self, "-e", ",".join(names), "-n", "2000")["runs"]
        self.assertEqual([one["label"] for one in runs],
                         [name + side for name in names for side in (" idle", " during")])
        for i in range(0, len(runs), 2):
            self.check(runs[i], runs[i + 1])

    def test_repeated(self):
        """To and fro, and each round is compared within itself."""
        record = measured(self, "-n", "1500", "--repeat", "2", "--warmup-runs", "1")
        runs = record["runs"]
        self.assertEqual([one["label"] for one in runs],
                         ["idle", "during", "during", "idle", "idle", "during"])
        for first, second in zip(runs[::2], runs[1::2]):
            self.check(*((first, second) if first["label"] == "idle" else (second, first)))
        summaries = {one["label"]: one["metrics"] for one in record["summaries"]}
        self.assertNotIn("load_bytes_per_second", summaries["idle"])
        self.assertEqual(summaries["during"]["load_bytes_per_second"]["count"], 2)
        self.assertEqual(summaries["during"]["load_added_p50"]["count"], 2)

    def test_the_load_is_as_asked(self):
        runs = measured(self, "-d", "1s", "-w", "100ms", "--during-streams", "2", "--during-rate",
                        "10MB", "--during-reverse")["runs"]
        # Two streams of 10 MB/s: far below what they would be unpaced.
        self.assertLess(metric(runs[1], "load_bytes_per_second"), 40e6)
        self.check(*runs)

    def test_datagrams_from_the_server(self):
        runs = measured(self, "udp:", "-d", "1s", "-w", "100ms", "--during-rate", "10MB",
                        "--during-reverse")["runs"]
        self.assertGreater(metric(runs[1], "load_bytes_per_second"), 1e6)
        self.assertLess(metric(runs[1], "load_bytes_per_second"), 20e6)

    def test_another_place(self):
        with Serving("tcp://127.0.0.1:0") as server, Misbehaving(swallows) as sink:
            runs = measured(self, server.address, "--during-target", sink.address, "-n",
                            "2000")["runs"]
            self.check(*runs, processes=1)

    def test_the_text(self):
        done = run("ping", "--during", "stream", "-n", "2000")
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("idle", "during", "load throughput", "added at p50", "load sonde-load"):
            self.assertIn(word, done.stdout)

    def test_without_a_load(self):
        done = run("ping", "-n", "10", "--json", "-q", "--during-streams", "2")
        record = checked_record(self, done.stdout)
        self.assertEqual(len(record["runs"]), 1)
        self.assertIn("--during-streams has no effect without --during", record["warnings"])


class Faults(unittest.TestCase):
    def failed(self, done, folder):
        """The idle run is whole, the loaded one is kept with the reason."""
        line = check_one_line(self, done, 1)
        record = read_record(self, folder.file("json"))
        self.assertFalse(record["complete"])
        idle, during = record["runs"]
        self.assertTrue(idle["complete"])
        self.assertFalse(during["complete"])
        self.assertIn(during["error"]["what"], line)
        return line, during

    def test_wrong_options(self):
        for arguments, word in ((("tcp://127.0.0.1:1",), "--during-target"),
                                (("--during-target", "utp:"), "utp"),
                                (("--during-rate", "3"), "--during-rate")):
            with self.subTest(arguments=arguments):
                done = run("ping", "--during", "stream", *arguments)
                self.assertIn(word, check_one_line(self, done, 2))

    def test_a_load_that_cannot_start(self):
        folder = Folder(self)
        done = run("ping", "--during", "stream", "--during-target", "tcp://127.0.0.1:1", "-n",
                   "200", "-q", "--json=" + folder.file("json"))
        line, _ = self.failed(done, folder)
        self.assertIn("tcp://127.0.0.1:1", line)

    def test_a_load_that_breaks_off(self):
        """The window ends with it, before its time."""
        folder = Folder(self)
        enough = threading.Event()

        def breaks_off(server, client):
            while not enough.is_set() and hear(server, client):
                pass

        with Misbehaving(breaks_off) as sink:
            process = start("ping", "--during", "stream", "--during-target", sink.address, "-d",
                            "5s", "-i", "100ms", "--json=" + folder.file("json"))
            self.wait_for_load(process)
            enough.set()
            done = end(process, time.monotonic())
        line, during = self.failed(done, folder)
        self.assertIn("1 of 1 connections were lost", line)
        self.assertGreater(metric(during, "round_trips"), 0)
        self.assertLess(during["window_ns"], 5e9)

    def test_a_load_that_is_killed(self):
        folder = Folder(self)
        process = start("ping", "--during", "stream", "-d", "5s", "-i", "100ms",
                        "--json=" + folder.file("json"))
        self.wait_for_load(process)
        load = self.load_of(process.pid)
        os.kill(load, signal.SIGKILL)
        done = end(process, time.monotonic())
        line, during = self.failed(done, folder)
        self.assertIn("load: died of signal 9", line)
        self.assertIsNone(metric(during, "load_bytes_per_second"))

    def test_interrupted(self):
        folder = Folder(self)
        process = start("ping", "--during", "stream", "-d", "5s", "-i", "100ms",
                        "--json=" + folder.file("json"))
        self.wait_for_load(process)
        load = self.load_of(process.pid)
        process.send_signal(signal.SIGINT)
        done = end(process, time.monotonic())
        line, during = self.failed(done, folder)
        self.assertIn("interrupted", line)
        self.assertGreater(metric(during, "load_bytes_per_second"), 0)
        self.assertTrue(gone(load))

    def wait_for_load(self, process):
        """Until the first interval beside the load has been printed."""
        during = False
        for line in process.stdout:
            if during and "round trips/s" in line:
                return
            during = during or line.strip() == "during"
        self.fail("no load")

    def load_of(self, parent):
        """The child of this process that is a load."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % name, encoding="utf-8") as file:
                    head, tail = file.read().rsplit(")", 1)
            except OSError:
                continue
            if head.endswith("(sonde-load") and int(tail.split()[1]) == parent:
                return int(name)
        self.fail("no load")


if __name__ == "__main__":
    unittest.main()
