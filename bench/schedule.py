#!/usr/bin/python3
"""How close to its schedule an open loop sends: sonde ping --rate 10k over loopback.

The lag from the instant at which a message was due to its send, of every message of a run; the
figures are medians over the rounds of each run's percentile. The engines run in turn."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

ENGINES = ("threads", "poll", "epoll", "uring")
LIMIT_NS = 20_000


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rate", default="10k")
    arguments = parser.parse_args()
    bench.heading(f"open loop at {arguments.rate} messages/s: {arguments.rounds} rounds of "
                  f"{arguments.seconds:g} s")
    verdicts = bench.Verdicts("schedule")
    lags = {(protocol, engine): [] for protocol in ("udp", "tcp") for engine in ENGINES}
    for number in range(arguments.rounds):
        for protocol, engine in lags if number % 2 == 0 else reversed(lags):
            record = bench.run_sonde(["ping", protocol + ":", "-e", engine, "--rate",
                                      arguments.rate, "-d", f"{arguments.seconds}s"])
            lags[protocol, engine].append(
                record["runs"][0]["histograms"]["send_lag"]["percentiles"])
    figures = {key: {share: bench.Figure([run[share] for run in runs])
                     for share in ("50", "90", "99")} for key, runs in lags.items()}
    bench.table(["send lag, µs", "p50", "p90", "p99"],
                [[" ".join(key), *(figure.text("{:.2f}", 1e3) for figure in of.values())]
                 for key, of in figures.items()])
    for (protocol, engine), of in figures.items():
        verdicts.keep(f"{protocol} {engine} p99 ns", of["99"])
        verdicts.judge(f"{protocol} {engine} p99 µs", of["99"].text("{:.2f}", 1e3),
                       "at most 20", of["99"].median <= LIMIT_NS)
    verdicts.write(arguments.json)


main()
