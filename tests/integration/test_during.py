"""`sonde ping --during stream`: round trips without and beside a load, what happens where the load
cannot begin or does not last, and that nobody is left behind."""

import os
import signal
import threading
import time
import unittest

from sonde_program import (PATIENCE_S, Folder, Misbehaving, Serving, check_one_line,
                           checked_record, end, engines, hear, metric, read_record, run, start)

ADDED = {"load_added_p50_ns": "50", "load_added_p99_ns": "99"}


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
                self.assertIsNotNone(metric(runs[1], "load_added_p50_ns"))
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
        self.assertEqual(summaries["during"]["load_added_p50_ns"]["count"], 2)

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
        head = done.stdout[:done.stdout.index("idle: ")] if "idle: " in done.stdout else ""
        self.assertIn("added at p99", head) # the table at the top has it too
        self.assertIn("difference of one pair", head)

    def test_the_text_of_repetitions(self):
        done = run("ping", "--during", "stream", "-n", "500", "-w", "0", "-q", "--repeat", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        head = done.stdout[:done.stdout.index("in full")]
        for word in ("throughput", "added at p50", "interval", "medians over the rounds"):
            self.assertIn(word, head)
        self.assertNotIn("difference of one pair", done.stdout)

    def test_a_column_is_not_cut_within_a_word(self):
        with Serving("tcp://127.0.0.1:0") as server:
            done = run("ping", server.address, "--during", "stream", "--during-target", "tcp:",
                       "-n", "300", "-q", "-w", "0")
        table = done.stdout.split("\n\n")[0].splitlines()
        at = table[1].index("limited by")
        reasons = done.stdout.split("limited by: ", 1)[1].replace(":", " ").replace(";", " ")
        for line in table[2:]:
            for word in line[at:].split():
                self.assertIn(word, ["...", *reasons.split()])

    def test_beside_sessions(self):
        """The load is a session too: with the same server, unless it is said otherwise."""
        with Serving("sonde://127.0.0.1:0", "tcp://127.0.0.1:0") as server:
            control = next(a for a in server.addresses if a.startswith("sonde://"))
            plain = next(a for a in server.addresses if a.startswith("tcp://"))
            udp = control.replace("sonde://", "sonde+udp://")
            for arguments in ((control,), (udp,), (control, "--during-target", control),
                              (control, "--during-target", udp), (plain, "--during-target", control),
                              (plain, "--during-target", udp), ("--during-target", control),
                              (udp, "--during-reverse"), (control, "--during-reverse")):
                with self.subTest(arguments=arguments):
                    runs = measured(self, *arguments, "-n", "2000")["runs"]
                    self.check(*runs)

    def test_datagrams_that_are_lost(self):
        """What arrived is what the load moved, and less than what was asked for is said."""
        with Serving("sonde://127.0.0.1:0") as server:
            record = measured(self, server.address.replace("sonde", "sonde+udp", 1), "-d", "500ms",
                              "--during-streams", "4", "--during-rate", "100G")
        during = record["runs"][1]
        self.assertGreaterEqual(metric(during, "load_lost_share"), 0)
        line = next(w for w in record["warnings"] if w.startswith("the load moved"))
        self.assertIn("of the 400 Gbit/s that were asked for", line)
        self.assertEqual("datagrams were lost" in line, metric(during, "load_lost_share") >= 0.0005)

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

    def test_a_sink_that_sonde_serves(self):
        with Serving("tcp://127.0.0.1:0") as server, Serving("discard+tcp://127.0.0.1:0") as sink:
            target = sink.address.split("+", 1)[1]
            runs = measured(self, server.address, "--during-target", target, "-n", "2000")["runs"]
        self.assertGreater(metric(runs[1], "load_bytes_per_second"), 0)

    def test_an_unknown_load(self):
        line = check_one_line(self, run("ping", "--during", "x"), 2)
        self.assertIn("accepts none, stream", line)

    def test_wrong_options(self):
        for arguments, word in ((("tcp://127.0.0.1:1",), "--during-target"),
                                (("--during-target", "utp:"), "utp"),
                                (("--during-rate", "3"), "--during-rate")):
            with self.subTest(arguments=arguments):
                done = run("ping", "--during", "stream", *arguments)
                self.assertIn(word, check_one_line(self, done, 2))

    def test_without_a_load(self):
        """Options of a load that there is none of."""
        for arguments in (("--during-streams", "2"), ("--during-rate", "1G"),
                          ("--during-target", "tcp:")):
            with self.subTest(arguments=arguments):
                line = check_one_line(self, run("ping", "-n", "10", *arguments), 2)
                self.assertIn(arguments[0] + ": there is no load without --during", line)

    def test_the_measured_socket_itself(self):
        with Serving("udp://127.0.0.1:0") as server:
            done = run("ping", server.address, "--during", "stream", "--during-target",
                       server.address)
        self.assertIn("the very socket", check_one_line(self, done, 2))

    def test_a_load_that_moves_nothing(self):
        """An echo sends back what nobody has asked for."""
        folder = Folder(self)
        with Serving("tcp://127.0.0.1:0") as server:
            done = run("ping", server.address, "--during", "stream", "--during-target",
                       server.address, "-n", "200", "-q", "--json=" + folder.file("json"))
        line, _ = self.failed(done, folder)
        self.assertIn("the server sends back what it gets (an echo)", line)
        self.assertIn("sonde serve sonde://", line)

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
