"""What each end of a run took: memory over the window, and the cost of each byte."""

import os
import tempfile
import time
import unittest

from sonde_program import Folder, call_record, end, metric, read_record, run, start

LARGE = ["-m", "64k", "-c", "30", "-n", "1500"]
ENDS = ("client", "server")
MIB, GIB = 2.0 ** 20, 2.0 ** 30


def process_of(one, role):
    return next(row for row in one["processes"] if row["role"] == role)


class Footprint(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="sonde-")
        cls.addClassCleanup(holder.cleanup)
        cls.json = os.path.join(holder.name, "record.json")
        cls.csv = os.path.join(holder.name, "record.csv")
        cls.done = run("call", *LARGE, "-e", "threads,poll", "--repeat", "2", "--warmup-runs", "0",
                       "--json=" + cls.json, "--csv=" + cls.csv)
        assert cls.done.returncode == 0, cls.done.stderr

    def setUp(self):
        self.record = read_record(self, self.json)

    def runs(self, label):
        return [one for one in self.record["runs"] if one["label"] == label]

    def test_memory_is_in_order(self):
        for one in self.record["runs"]:
            self.assertGreaterEqual(metric(one, "memory_samples"), 2)
            self.assertGreater(metric(one, "memory_before"), MIB)
            self.assertLessEqual(metric(one, "client_memory_least"),
                                 metric(one, "client_memory_average"))
            for end_name in ENDS:
                peak = metric(one, end_name + "_memory_peak")
                self.assertLessEqual(metric(one, end_name + "_memory_average"), peak)
                self.assertLessEqual(peak, metric(one, end_name + "_virtual_peak"))

    def test_run_time_is_that_of_the_window(self):
        for one in self.record["runs"]:
            self.assertEqual(metric(one, "run_time"), one["wall_ns"])

    def test_no_run_has_what_another_one_left(self):
        """Threads map stacks and heaps that are never given back to a process."""
        pids = {process_of(one, "client")["pid"] for one in self.record["runs"]}
        self.assertEqual(len(pids), 4)
        most = max(metric(one, "client_virtual_peak") for one in self.runs("poll"))
        least = min(metric(one, "client_virtual_peak") for one in self.runs("threads"))
        self.assertLess(most, least)

    def test_each_byte(self):
        """From the counts and times of the processes, on a way of its own: each call goes there and
        back."""
        moved = 1500 * 2 * 65536
        for one in self.record["runs"]:
            for role in ENDS:
                process = process_of(one, role)
                calls = sum(row["calls"] for row in process["engine_calls"]["syscalls"])
                cpu_ns = process["cpu_user_ns"] + process["cpu_system_ns"]
                switches = sum(process["context_switches"][kind]
                               for kind in ("voluntary", "involuntary"))
                self.assertAlmostEqual(metric(one, role + "_calls_per_mib"), calls / moved * MIB)
                self.assertAlmostEqual(metric(one, role + "_cpu_ns_per_gib") / (cpu_ns * GIB),
                                       1 / moved)
                self.assertAlmostEqual(metric(one, role + "_switches_per_gib"),
                                       switches / moved * GIB, delta=1e-3)
                self.assertGreaterEqual(metric(one, role + "_waited_ns_per_gib"), 0)

    def test_tables(self):
        for title in ("client's memory", "server's memory", "before the run", "calls/MiB",
                      "CPU/GiB", "switches/GiB", "waiting/GiB"):
            self.assertIn(title, self.done.stdout)
        for summary in self.record["summaries"]:
            self.assertEqual(summary["metrics"]["client_memory_peak"]["count"], 2)
        with open(self.csv, encoding="utf-8") as file:
            header = file.readline().strip().split(",")
        self.assertIn("client_virtual_peak", header)
        self.assertIn("server_calls_per_mib", header)

    def download(self, *arguments):
        path = Folder(self).file("download.json")
        done = run("http", "--no-keep-alive", "-w", "0", "-q", "--json=" + path, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return read_record(self, path), done.stdout

    def test_downloads(self):
        record, text = self.download("-m", "1m", "-n", "20", "-c", "4", "-e", "poll,threads",
                                     "--repeat", "2", "--warmup-runs", "0", "--buffer", "64k")
        for one in record["runs"]:
            size = metric(one, "body_bytes") / 20
            self.assertAlmostEqual(metric(one, "download_bytes_per_second")
                                   * one["histograms"]["service_time"]["mean"] / 1e9 / size, 1)
        for title in ("download (mean)", "of one", "of all", "phases before it (mean)"):
            self.assertIn(title, text)

    def test_a_body_that_is_kept_is_memory(self):
        peaks = []
        for arguments in ([], ["--keep-body"]):
            record, _ = self.download("-m", "64m", "-n", "2", "-c", "1", *arguments)
            peaks.append(metric(record["runs"][0], "client_memory_peak"))
        self.assertGreater(peaks[1] - peaks[0], 48 * MIB)

    def test_one_run_is_this_process(self):
        path = Folder(self).file("one.json")
        process = start("call", "-n", "1000", "-q", "--json=" + path)
        self.assertEqual(end(process, time.monotonic()).returncode, 0)
        one = read_record(self, path)["runs"][0]
        self.assertEqual(process_of(one, "client")["pid"], process.pid)
        self.assertNotIn("client_calls_per_mib", one["metrics"])  # of less than a MiB

    def test_another_server_is_looked_at_where_it_is_observed(self):
        server = start("serve", "tcp://127.0.0.1:0")
        try:
            address = server.stderr.readline().split()[3]
            blind = call_record(self, address, "-d", "0.3s", "-w", "0")["runs"][0]
            self.assertNotIn("server_memory_average", blind["metrics"])
            seen = call_record(self, address, "-d", "0.5s", "-w", "0", "-m", "64k", "--drain",
                               "50s", "--observe", "pid=%d" % server.pid)["runs"][0]
            self.assertGreater(metric(seen, "server_memory_average"), MIB / 2)
            self.assertGreater(metric(seen, "server_cpu_ns_per_gib"), 0)
        finally:
            server.kill()
            server.communicate()


if __name__ == "__main__":
    unittest.main()
