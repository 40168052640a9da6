#!/usr/bin/python3
"""Datagrams of 1,400 bytes over loopback: sonde stream udp: and Debian's iperf3 -u.

First each as fast as it goes: datagrams/s that arrived, and CPU time of both ends for a million of
them. Then both paced to the same rate: the share that was lost. Interleaved, every second round
backwards; a ratio is of the same round. CPU time is that of the whole processes."""

import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench
from stream_iperf3 import iperf3_run, started

LENGTH = "1400"
EQUAL_RATE = "2G" # bit/s, of payload: what iperf3 carries without being the limit itself


class Run:
    def __init__(self, arrived, sent, seconds, cpu_seconds):
        self.rate = arrived / seconds
        self.cost_us = cpu_seconds / arrived * 1e6
        self.lost = max(0, sent - arrived) / sent


def sonde(*more):
    def run(seconds):
        record, cpu = started([bench.SONDE, "stream", "udp:", "-l", LENGTH, "-d", f"{seconds}s",
                               "-w", "0", "-q", "--json", *more])
        figures = record["runs"][0]["metrics"]
        arrived = figures["arrived_datagrams"]["value"]
        return Run(arrived, arrived + figures["lost_datagrams"]["value"],
                   record["runs"][0]["window_ns"] / 1e9, cpu)
    return run


def iperf3(*more):
    def run(seconds):
        result, cpu = iperf3_run(["-u", "-l", LENGTH, "-t", str(seconds), *more])
        got = result["end"]["sum"]
        return Run(got["packets"] - got["lost_packets"], got["packets"], got["seconds"], cpu)
    return run


def measure(variants, arguments):
    seen = {name: [] for name in variants}
    for number in range(arguments.rounds):
        for name in variants if number % 2 == 0 else reversed(variants):
            seen[name].append(variants[name](arguments.seconds))
    bench.table(["", "datagrams/s", "CPU s a million", "lost"],
                [[name, bench.Figure([run.rate for run in runs]).text("{:,.0f}"),
                  bench.Figure([run.cost_us for run in runs]).text("{:.3f}"),
                  bench.Figure([run.lost * 100 for run in runs]).text("{:.3f} %")]
                 for name, runs in seen.items()])
    return seen


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    if not shutil.which("iperf3"):
        bench.fail("iperf3 is not there (apt-get install iperf3)")
    bench.heading(f"datagrams of {LENGTH} bytes over loopback: {arguments.rounds} rounds of "
                  f"{arguments.seconds} s")
    verdicts = bench.Verdicts("datagram_rates")
    print("\nas fast as it goes")
    seen = measure({"sonde --gso --batch 32": sonde("--gso", "--batch", "32"),
                    "sonde --batch 32": sonde("--batch", "32"), "sonde": sonde(),
                    "iperf3": iperf3("-b", "0")}, arguments)
    for name in list(seen)[:-1]:
        ratio = bench.ratios([run.rate for run in seen[name]], [run.rate for run in seen["iperf3"]])
        cost = bench.ratios([run.cost_us for run in seen[name]],
                            [run.cost_us for run in seen["iperf3"]])
        verdicts.keep(f"{name} over iperf3, datagrams/s", ratio)
        verdicts.keep(f"{name} over iperf3, CPU", cost)
        print(f"  {name} / iperf3: datagrams/s {ratio.text('{:.2f}')}, CPU {cost.text('{:.2f}')}")
        if name == "sonde --gso --batch 32":
            verdicts.judge("datagrams/s with GSO over iperf3", ratio.text("{:.2f}"), "at least 2",
                           ratio.median >= 2)
    print(f"\npaced to {EQUAL_RATE}bit/s of payload")
    seen = measure({"sonde": sonde("--rate", EQUAL_RATE),
                    "sonde --gso --batch 32": sonde("--rate", EQUAL_RATE, "--gso", "--batch", "32"),
                    "iperf3": iperf3("-b", EQUAL_RATE)}, arguments)
    lost = {name: bench.Figure([run.lost for run in runs]) for name, runs in seen.items()}
    for name, figure in lost.items():
        verdicts.keep(f"{name}, share lost at the same rate", figure)
    verdicts.judge("share lost at the same rate, sonde less iperf3",
                   f"{lost['sonde'].median - lost['iperf3'].median:.5f}", "at most 0",
                   lost["sonde"].median <= lost["iperf3"].median)
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
