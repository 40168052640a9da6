#!/usr/bin/python3
"""Full round trips of 64-byte messages over loopback: sonde ping, sockperf ping-pong, a bare loop.

Every round runs all three over UDP and TCP, one after the other and to and fro (A B C, C B A), each
with its server pinned to CPU 0 and its client to CPU 1, blocking calls at both ends. Medians over
the rounds, [least, most] beside them; ratios are of the same round. With --fifo all three run as
real-time processes (SCHED_FIFO), for a machine on which others are busy."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

SERVER_CPU, CLIENT_CPU = "0", "1"
BARE = str(bench.ROOT / "build" / "bench" / "bare_ping")
SOCKPERF = shutil.which("sockperf")
KEYS = ("mean", "p50", "p99")


def sonde(protocol, seconds):
    record = bench.run_sonde(["ping", protocol + ":", "-m", "64", "-d", f"{seconds}s", "-w",
                              "500ms"])
    times = record["runs"][0]["histograms"]["service_time"]
    if times["percentiles"]["99"] is None:
        bench.fail("fewer than 1,000 round trips in a run: the machine is too busy (try --fifo)")
    return {"mean": times["mean"], "p50": times["percentiles"]["50"],
            "p99": times["percentiles"]["99"]}


def sockperf(protocol, seconds):
    tcp = ["--tcp"] if protocol == "tcp" else []
    where = ["-i", "127.0.0.1", "-p", str(bench.port_of_nobody())]
    server = subprocess.Popen(["taskset", "-c", SERVER_CPU, SOCKPERF, "server", *tcp, *where],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        done = subprocess.run(["taskset", "-c", CLIENT_CPU, SOCKPERF, "ping-pong", *tcp, *where,
                               "-m", "64", "-t", str(round(seconds)), "--full-rtt"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False)
    finally:
        server.kill()
        server.wait()

    def find(pattern):
        found = re.search(pattern, done.stdout)
        return float(found[1]) * 1e3 if found else bench.fail("sockperf: " + done.stdout)

    return {"mean": find(r"avg-rtt=([\d.]+)"), "p50": find(r"percentile 50.000 = +([\d.]+)"),
            "p99": find(r"percentile 99.000 = +([\d.]+)")}


def bare(protocol, seconds):
    done = subprocess.run([BARE, "-d", str(seconds), "-p", CLIENT_CPU, "-s", SERVER_CPU,
                           *(["-u"] if protocol == "udp" else [])], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=True)
    return {key: json.loads(done.stdout)[key + "_ns"] for key in KEYS}


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--fifo", action="store_true", help="run everything with SCHED_FIFO")
    arguments = parser.parse_args()
    if arguments.fifo: # children inherit it
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    if not SOCKPERF:
        bench.fail("sockperf is not there (apt-get install sockperf)")
    bench.heading(f"64-byte round trips over loopback: {arguments.rounds} rounds of "
                  f"{arguments.seconds:g} s")
    verdicts = bench.Verdicts("ping_latency")
    programs = [("bare", bare), ("sonde", sonde), ("sockperf", sockperf)]
    for protocol in ("udp", "tcp"):
        runs = {name: [] for name, _ in programs}
        for number in range(arguments.rounds):
            for name, measure in programs if number % 2 == 0 else reversed(programs):
                runs[name].append(measure(protocol, arguments.seconds))
        figures = {name: {key: bench.Figure([run[key] for run in of]) for key in KEYS}
                   for name, of in runs.items()}
        print(f"\n{protocol}, µs")
        bench.table(["", *KEYS], [[name, *(figures[name][key].text("{:.2f}", 1e3)
                                            for key in KEYS)] for name, _ in programs])
        for name, other in (("sonde", "bare"), ("sonde", "sockperf")):
            for key in ("mean", "p50", "p99"):
                ratio = bench.ratios(figures_of(runs, name, key), figures_of(runs, other, key))
                verdicts.keep(f"{protocol} {name}/{other} {key}", ratio)
                print(f"  {name} / {other}, {key}: {ratio.text('{:.3f}')}")
        for name, _ in programs:
            for key in KEYS:
                verdicts.keep(f"{protocol} {name} {key} ns", figures[name][key])
        ratio = bench.ratios(figures_of(runs, "sonde", "p50"), figures_of(runs, "bare", "p50"))
        verdicts.judge(f"{protocol}, sonde over the bare loop, p50", ratio.text("{:.3f}"),
                       "at most 1.05", ratio.median <= 1.05)
    verdicts.write(arguments.json)


def figures_of(runs, name, key):
    return [run[key] for run in runs[name]]


main()
