"""--hlog, --hgrm and --openmetrics: what HdrHistogram's own tools and Prometheus's own parser read in
the files is what the record says. Both are skipped where they are not installed."""

import os
import re
import shutil
import subprocess
import time
import unittest

from sonde_program import (
    PATIENCE_S, Folder, check_one_line, end, metric, read_record, run, start)

try:
    from prometheus_client import parser
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
except ImportError:
    text_string_to_metric_families = None

HDR_JAR = "/usr/share/java/hdrhistogram.jar"
SHORT = ("-w", "50ms", "-d", "500ms", "--interval", "100ms", "-q")
CALLS = ("call", "--high", "4")

needs_java = unittest.skipUnless(shutil.which("java") and os.path.exists(HDR_JAR),
                                 "no java or no libhdrhistogram-java")
needs_prometheus = unittest.skipUnless(text_string_to_metric_families,
                                       "no python3-prometheus-client")


def samples(text):
    """Samples of OpenMetrics text by name and labels; refused text is an error, also where the
    reader knows only the older text format."""
    found = {}
    assert len(list(parser.text_string_to_metric_families(text))) > 5
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def pick(found, name, **labels):
    """The value of the one sample of this name that has these labels."""
    values = [value for (other, have), value in found.items()
              if other == name and set(labels.items()) <= have]
    assert len(values) == 1, (name, labels, values)
    return values[0]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def log_lines(path):
    """(tag, start, length, max, encoded) of each line that holds a histogram."""
    lines = [line for line in read(path).splitlines() if line.startswith("Tag=")]
    parts = [line[len("Tag="):].split(",") for line in lines]
    return [(tag, float(first), float(length), float(most), encoded)
            for tag, first, length, most, encoded in parts]


class Exports(unittest.TestCase):
    def setUp(self):
        self.folder = Folder(self)
        self.paths = {kind: self.folder.file("out." + kind)
                      for kind in ("json", "hlog", "hgrm", "om")}

    def options(self):
        return ("--json=" + self.paths["json"], "--hlog", self.paths["hlog"], "--hgrm",
                self.paths["hgrm"], "--openmetrics", self.paths["om"])

    def measure(self, *arguments):
        done = run(*arguments, *SHORT, *self.options())
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual([name for name in os.listdir(self.folder.path) if ".tmp" in name], [])
        return read_record(self, self.paths["json"])

    def java_distribution(self, tag):
        """What HistogramLogProcessor makes of all lines of a tag."""
        out = self.folder.file("java")
        done = subprocess.run(
            ["java", "-cp", HDR_JAR, "org.HdrHistogram.HistogramLogProcessor", "-i",
             self.paths["hlog"], "-tag", tag, "-outputValueUnitRatio", "1000", "-o", out],
            capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        self.assertEqual(done.stderr, "")
        return read(out), read(out + ".hgrm")

    @needs_java
    def test_java_reads_what_the_record_says(self):
        record = self.measure(*CALLS)
        for key, entry in record["runs"][0]["histograms"].items():
            processed, text = self.java_distribution(key)
            self.assertEqual(int(re.search(r"Total count *= *(\d+)", text)[1]), entry["count"], key)
            total = processed.splitlines()[-1].split(" T:")[1]
            values = [float(one) * 1000 for one in re.findall(r"[\d.]+", total)[1:]]
            for percentile, theirs in zip(("50", "90", "99", "99.9", "99.99", None), values):
                ours = entry["percentiles"][percentile] if percentile else entry["max"]
                if ours is not None:
                    self.assertAlmostEqual(theirs / ours, 1, delta=0.001,
                                           msg="%s %s" % (key, percentile))

    @needs_java
    def test_distribution_is_the_one_java_writes(self):
        self.measure("ping")
        _, theirs = self.java_distribution("response_time")
        ours = read(self.paths["hgrm"]).splitlines()
        self.assertEqual(ours[-1], "#[threads, client response_time, in microseconds]")
        heads = [line for line in theirs.splitlines() if re.match(r"#\[(Overall|StartTime)", line)]
        self.assertEqual(ours[:-1], theirs.splitlines()[len(heads):])

    @needs_java
    def test_intervals_are_those_of_the_record(self):
        record = self.measure(*CALLS, "--rate", "2k")
        intervals = record["runs"][0]["intervals"]
        lines = [line for line in log_lines(self.paths["hlog"]) if line[0] == "response_time"]
        self.assertGreaterEqual(len(lines), len(intervals))
        self.assertLessEqual(len(lines), len(intervals) + 1)  # the drain
        for line, interval in zip(lines, intervals):
            self.assertAlmostEqual(line[2], interval["duration_ns"] / 1e9, places=5)
            self.assertAlmostEqual(line[1] - lines[0][1],
                                   (interval["start_ns"] - intervals[0]["start_ns"]) / 1e9, places=5)
        processed, _ = self.java_distribution("response_time")
        counts = [int(one) for one in re.findall(r" I:(\d+) ", processed)]
        self.assertEqual(sum(counts),
                         record["runs"][0]["histograms"]["response_time"]["count"])

    def test_tags_and_files_of_several_runs(self):
        record = self.measure(*CALLS, "-e", "epoll,poll", "--repeat", "2")
        kept = [one for one in record["runs"] if not one["discarded"]]
        expected = {"%s.%d.%s" % (one["label"], one["repetition"], key)
                    for one in kept for key in one["histograms"]}
        self.assertEqual({line[0] for line in log_lines(self.paths["hlog"])}, expected)
        for label in ("epoll", "poll"):
            text = read(self.folder.file("out.%s.hgrm" % label))
            total = int(re.search(r"Total count *= *(\d+)", text)[1])
            self.assertEqual(total, sum(one["histograms"]["response_time"]["count"]
                                        for one in kept if one["label"] == label))
        self.assertFalse(os.path.exists(self.paths["hgrm"]))

    def test_every_workload_has_its_histograms_in_the_log(self):
        for command in (("stream",), ("ping", "udp:"), ("ws",), ("ws", "--mode", "message"),
                        ("call", "tls:")):
            with self.subTest(command=command):
                record = self.measure(*command)
                self.assertEqual({line[0] for line in log_lines(self.paths["hlog"])},
                                 set(record["runs"][0]["histograms"]))
                self.assertIn("Total count", read(self.paths["hgrm"]))
                if text_string_to_metric_families:
                    self.check_metrics(record, samples(read(self.paths["om"])))

    def check_metrics(self, record, found):
        one = record["runs"][0]
        self.assertEqual(pick(found, "sonde_run_state", state="complete"), 1)
        for key, entry in one["histograms"].items():
            role = entry["role"]
            stem = key[len("server_"):] if key.startswith("server_") else key
            unit = {"ns": "_seconds", "bytes": "_bytes"}.get(entry["unit"], "")
            factor = {"ns": 1e-9}.get(entry["unit"], 1)
            self.assertEqual(pick(found, "sonde_%s%s_count" % (stem, unit), role=role),
                             entry["count"])
            self.assertAlmostEqual(
                pick(found, "sonde_%s%s_sum" % (stem, unit), role=role) /
                (entry["mean"] * entry["count"] * factor or 1), 1 if entry["mean"] else 0)
            for percentile, value in entry["percentiles"].items():
                if value is not None:
                    theirs = pick(found, "sonde_%s_percentiles%s" % (stem, unit), role=role,
                                  quantile="%.15g" % (float(percentile) / 100))
                    self.assertAlmostEqual(theirs, value * factor)
        for process in one["processes"]:
            self.assertAlmostEqual(
                pick(found, "sonde_cpu_seconds_total", role=process["role"], mode="system"),
                process["cpu_system_ns"] / 1e9)

    @needs_prometheus
    def test_metrics_are_those_of_the_record(self):
        record = self.measure(*CALLS, "-e", "epoll,poll")
        found = samples(read(self.paths["om"]))
        for one in record["runs"]:
            labels = {"workload": "call", "engine": one["label"], "target": "own server"}
            self.assertEqual(pick(found, "sonde_calls_total", **labels), metric(one, "calls"))
            self.assertAlmostEqual(pick(found, "sonde_calls_per_second", **labels) /
                                   metric(one, "calls_per_second"), 1)
            histogram = one["histograms"]["response_time"]
            self.assertEqual(pick(found, "sonde_response_time_seconds_count", **labels),
                             histogram["count"])
            buckets = sorted((float(dict(have)["le"]), value) for (name, have), value
                             in found.items() if name == "sonde_response_time_seconds_bucket" and
                             set(labels.items()) <= have)
            self.assertEqual([value for _, value in buckets],
                             sorted(value for _, value in buckets))
            self.assertEqual(buckets[-1], (float("inf"), histogram["count"]))
            median = histogram["percentiles"]["50"] / 1e9
            self.assertLessEqual(
                max((value for bound, value in buckets if bound < median * 0.999), default=0),
                histogram["count"] / 2)
            self.assertGreaterEqual(
                min(value for bound, value in buckets if bound >= median), histogram["count"] / 2)
            info = [have for name, have in found if name == "sonde_run_info" and
                    set(labels.items()) <= have]
            self.assertEqual(dict(info[0])["option_high"], "4")

    @needs_prometheus
    def test_each_state_of_the_file_is_whole_and_counts_never_shrink(self):
        process = start(*CALLS, "-w", "50ms", "-d", "1500ms", "--interval", "100ms", "-q",
                        "--openmetrics", self.paths["om"])
        began = time.monotonic()
        texts = []
        while process.poll() is None and time.monotonic() < began + PATIENCE_S:
            if os.path.exists(self.paths["om"]) and read(self.paths["om"]) not in texts[-1:]:
                texts.append(read(self.paths["om"]))
            time.sleep(0.01)
        done = end(process, began)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        calls, states = [], set()
        for text in texts + [read(self.paths["om"])]:
            found = samples(text)
            calls.append(pick(found, "sonde_calls_total"))
            states |= {dict(have)["state"] for (name, have), value in found.items()
                       if name == "sonde_run_state" and value}
        self.assertEqual(calls, sorted(calls))
        self.assertGreater(len(set(calls)), 1)
        self.assertIn("running", states)
        self.assertEqual(pick(found, "sonde_run_state", state="complete"), 1)

    @needs_prometheus
    def test_labels_hold_any_text(self):
        name = 'a"b\\c,{}=\N{SNOWMAN}'
        target = "unix:" + self.folder.file(name)
        with_server = start("serve", target)
        self.addCleanup(with_server.communicate)
        self.addCleanup(with_server.kill)
        self.assertIn("serving on", with_server.stderr.readline())
        self.measure(*CALLS, target)
        self.assertGreater(pick(samples(read(self.paths["om"])), "sonde_calls_total",
                                target=target), 0)

    @needs_prometheus
    def test_failed_run_and_ipc(self):
        done = run("call", "tcp://127.0.0.1:1", *SHORT, "--openmetrics", self.paths["om"])
        self.assertEqual(done.returncode, 1)
        found = samples(read(self.paths["om"]))
        self.assertEqual(pick(found, "sonde_run_state", state="failed"), 1)
        done = run("ipc", "-q", "-n", "1", "--total", "1m", "--openmetrics", self.paths["om"])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        found = samples(read(self.paths["om"]))
        self.assertEqual(pick(found, "sonde_run_state", workload="ipc", variant="copy",
                              state="complete"), 1)

    def test_what_cannot_be_written_is_refused_before_anything_runs(self):
        for option in ("--hlog", "--hgrm", "--openmetrics"):
            done = run("call", *SHORT, option, "/nonexistent/x")
            self.assertIn("cannot be written", check_one_line(self, done, 1))
            done = run("call", *SHORT, option + "=-")
            self.assertIn(option, check_one_line(self, done, 2))
            done = run("call", *SHORT, option, "x", "--json=x")
            self.assertIn("taken by --json", check_one_line(self, done, 2))

    def test_a_log_that_cannot_be_written_on_ends_no_run(self):
        done = run("call", *SHORT, "--hlog", "/dev/full", "--json=" + self.paths["json"])
        self.assertIn("/dev/full", check_one_line(self, done, 1))
        self.assertGreater(metric(read_record(self, self.paths["json"])["runs"][0], "calls"), 0)


if __name__ == "__main__":
    unittest.main()
