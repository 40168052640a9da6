#!/usr/bin/python3
"""What masking a WebSocket payload costs beside a memcpy of it, and validating its text.

usage: bench/websocket_mask.py [--rounds N] [--json FILE]

bench/mask.c measures all of them in turn in each round; the figure is the median of the ratios of
each round, [least, most]. The goal: at 64 KiB at most 1.5 times a memcpy."""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

SIZES = [64, 1 << 10, 16 << 10, 64 << 10, 1 << 20]
JUDGED = 64 << 10
MOST_RATIO = 1.5
NAMES = ["mask into another buffer", "mask in place", "validate ASCII"]


def measure(size, rounds):
    """The ns of a pass of each: memcpy and the others, a list for each of them."""
    program = pathlib.Path(bench.SONDE).resolve().parent / "bench" / "mask"
    done = subprocess.run([program, str(size), str(rounds + 1)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        bench.fail(f"{program}: exit {done.returncode}: {done.stderr.strip()}")
    lines = done.stdout.splitlines()[1:]  # the first warms up
    return list(zip(*([float(word) for word in line.split()] for line in lines)))


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    verdicts = bench.Verdicts("websocket_mask")
    bench.heading("masking and validating, as ratios to memcpy")
    rows = []
    for size in SIZES:
        copied, *others = measure(size, max(3, arguments.rounds))
        ratios = [bench.ratios(ns, copied) for ns in others]
        rows.append([size, bench.Figure([size / ns for ns in copied]).text("{:.1f}"),
                     *(ratio.text("{:.2f}") for ratio in ratios)])
        for name, ratio in zip(NAMES, ratios):
            verdicts.keep(f"{name}, {size} bytes", ratio)
        if size == JUDGED:
            judged = ratios
    bench.table(["bytes", "memcpy GB/s", *NAMES], rows)
    for name, ratio in zip(NAMES[:2], judged):
        verdicts.judge(f"{name}, 64 KiB", round(ratio.median, 2), f"at most {MOST_RATIO}",
                       ratio.median <= MOST_RATIO)
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
