#!/usr/bin/python3
"""What it costs to read an HTTP answer of 200 bytes, and what llhttp takes for the same ones.

usage: bench/http_parse.py [--rounds N] [--json FILE]

bench/http_parse.c measures all of them in turn in each round; a figure is the median over the rounds,
[least, most]. The goal: at most 300 ns an answer."""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

MOST_NS = 300
NAMES = ["an answer", "one of 16 behind one another", "an answer in two pieces",
         "a chunked answer", "a request at the server's end", "copying a prepared request",
         "an answer, llhttp"]


def measure(rounds):
    """The ns of a message, a list for each of NAMES."""
    program = pathlib.Path(bench.SONDE).resolve().parent / "bench" / "http_parse"
    done = subprocess.run([program, str(rounds + 1)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        bench.fail(f"{program}: exit {done.returncode}: {done.stderr.strip()}")
    lines = done.stdout.splitlines()[1:]  # the first warms up
    return list(zip(*([float(word) for word in line.split()] for line in lines)))


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    verdicts = bench.Verdicts("http_parse")
    bench.heading("reading HTTP, in ns for one message")
    figures = [bench.Figure(ns) for ns in measure(max(3, arguments.rounds))]
    bench.table(["", "ns"], [[name, figure.text("{:.0f}")] for name, figure in zip(NAMES, figures)
                             if figure.median > 0])
    for name, figure in zip(NAMES, figures):
        if figure.median > 0:
            verdicts.keep(name, figure)
    verdicts.judge("an answer of 200 bytes", round(figures[0].median), f"at most {MOST_NS} ns",
                   figures[0].median <= MOST_NS)
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
