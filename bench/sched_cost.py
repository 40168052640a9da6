#!/usr/bin/python3
"""What the sched probe adds to a switch: two processes that wake each other through pipes.

usage: bench/sched_cost.py [--rounds N] [--exchanges N] [--sonde FILE]

Each round measures without, with the programs attached for nobody (which is the floor: the
tracepoints, and seeing that it is none of the observed), with, without, on the same two processes, so that a drift of the
machine's speed cancels out; it gives one ratio. Their geometric mean with its 95 % interval, and what
a switch costs more. The goal is 2 % at 100,000 switches a second: 200 ns a switch. Needs root.
"""

import argparse
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# Student's t, 97.5 %, by degrees of freedom; beyond: the normal distribution's, nearly.
T = [0, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13]


def measure(loop):
    loop.stdin.write("go\n")
    loop.stdin.flush()
    return float(loop.stdout.readline())


def attached(sonde, loop, path, whom):
    tool = subprocess.Popen([sonde, "observe", "--probe=sched", "--json=" + path, whom],
                            stdout=subprocess.DEVNULL)
    time.sleep(1)  # it is attached by then: the counts would say if not
    costs = [measure(loop), measure(loop)]
    tool.send_signal(signal.SIGINT)
    tool.wait()
    return costs


def observed(sonde, loop, exchanges, folder):
    path = os.path.join(folder, "record.json")
    costs = attached(sonde, loop, path, "pid=%d" % loop.pid)
    with open(path, encoding="utf-8") as file:
        probe = json.load(file)["runs"][0]["probes"][0]
    seen = sum(row["metrics"][key]["value"] for row in probe["rows"] if not row["what"]
               for key in ("switches_voluntary", "switches_involuntary"))
    if seen < 3 * exchanges:
        sys.exit("sonde saw %d switches of some %d" % (seen, 4 * exchanges))
    return costs


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--exchanges", type=int, default=200000)
    options.add_argument("--sonde", default=os.environ.get("SONDE", "build/sonde"))
    options = options.parse_args()
    if os.geteuid() != 0:
        print("sched_cost: not measured: needs root")
        return
    ratios, bare, added, floor = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "sched_cost")
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, HERE / "sched_cost.c"],
                       check=True)
        loop = subprocess.Popen([program, str(options.exchanges)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        measure(loop)  # warm
        for _ in range(max(2, options.rounds)):
            before = measure(loop)
            nobody = attached(options.sonde, loop, os.path.join(folder, "nobody.json"),
                              "comm=of-nobody")
            seen = observed(options.sonde, loop, options.exchanges, folder)
            after = measure(loop)
            without, with_probe = (before + after) / 2, statistics.mean(seen)
            bare.append(without)
            added.append(with_probe - without)
            floor.append(statistics.mean(nobody) - without)
            ratios.append(math.log(with_probe / without))
        loop.stdin.close()
        loop.wait()
    middle = statistics.mean(ratios)
    half = (T[len(ratios) - 1] if len(ratios) <= len(T) else 2.0) * statistics.stdev(ratios) \
        / math.sqrt(len(ratios))
    print("a switch without: %.0f ns; with the probe %.1f %% longer (%.1f to %.1f)" %
          (statistics.median(bare), 100 * math.expm1(middle), 100 * math.expm1(middle - half),
           100 * math.expm1(middle + half)))
    print("added to a switch: %.0f ns, median (goal: at most 200); of it the tracepoints and looking "
          "whose it is: %.0f ns" % (statistics.median(added), statistics.median(floor)))


if __name__ == "__main__":
    main()
