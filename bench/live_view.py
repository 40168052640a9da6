#!/usr/bin/python3
"""What the live view costs a run: `sonde call` with one call in flight, and pipelined, with and
without it, on a terminal of the benchmark's own.

Every round runs off, on, on, off; a ratio is that of a round's two pairs, so both saw the same
noise of the machine. The view's own CPU time is what the record says of the conductor's thread."""

import json
import os
import pty
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

CASES = [("one in flight", ["--high", "1"]), ("pipelined", ["--write", "each"])]
CHANGE_MOST = 0.01  # of the rate, the median, the CPU time of a call
BUSY_MOST = 0.005   # of one CPU


def drain(master):
    try:
        while os.read(master, 65536):
            pass
    except OSError:  # the other end has been closed
        pass


def measure(options, seconds, live):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "record.json")
        master, slave = pty.openpty()
        reader = threading.Thread(target=drain, args=(master,))
        reader.start()
        done = subprocess.run(
            [bench.SONDE, "call", *options, "-d", f"{seconds}s", "-w", "500ms", "--live=" + live,
             "--json=" + path], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
            timeout=seconds + 60, check=False)
        os.close(slave)
        reader.join()
        os.close(master)
        if done.returncode:
            bench.fail("sonde call failed")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    histogram = record["runs"][0]["histograms"]["response_time"]
    metrics = record["runs"][0]["metrics"]
    return {"rate": bench.metric(record, "calls_per_second"),
            "p50": histogram["percentiles"]["50"], "p99": histogram["percentiles"]["99"],
            "client CPU": bench.cpu_per_operation(bench.process(record, "client")),
            "busy": metrics["live_view_busy"]["value"] if "live_view_busy" in metrics else 0}


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    bench.heading(f"the live view, on over off: {arguments.rounds} rounds of 4 runs of "
                  f"{arguments.seconds:g} s")
    verdicts = bench.Verdicts("live_view")
    rows = []
    for name, options in CASES:
        on, off = [], []
        for _ in range(arguments.rounds):
            for live in ("off", "on", "on", "off"):
                (on if live == "on" else off).append(measure(options, arguments.seconds, live))
        row = [name]
        for key in ("rate", "p50", "p99", "client CPU"):
            pairs = [(one[key], other[key]) for one, other in zip(on, off)
                     if one[key] and other[key]]  # too few calls for a percentile
            if not pairs:
                row.append("-")
                continue
            ratio = bench.ratios(*zip(*pairs))
            verdicts.keep(f"{name}: {key}", ratio)
            row.append(ratio.text("{:.3f}"))
            if key in ("rate", "p50"):
                verdicts.judge(f"{name}, {key}", ratio.text("{:.3f}"), f"within {CHANGE_MOST:.0%}",
                               abs(ratio.median - 1) <= CHANGE_MOST)
        busy = bench.Figure([one["busy"] for one in on])
        verdicts.keep(f"{name}: busy", busy)
        rows.append([*row, busy.text("{:.5f}")])
        verdicts.judge(f"{name}, CPU of the view", busy.text("{:.5f}"), f"at most {BUSY_MOST}",
                       busy.median <= BUSY_MOST)
    bench.table(["case", "rate", "p50", "p99", "client CPU/call", "CPU of the view"], rows)
    verdicts.write(arguments.json)


main()
