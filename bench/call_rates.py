#!/usr/bin/python3
"""Rates of `sonde call` through one connection with each way to write, and sonde's own cost.

Every round runs gather, each, queue=10ms and batch=64 against sonde's own server, then gather and
each on the null engine, one after the other. Medians over the rounds, [least, most] beside them.
CPU is user and system time of a process, over the calls of the same window."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

CASES = [
    # name, options
    ("gather", ["--write", "gather"]),
    ("each", ["--write", "each"]),
    ("each, uring", ["--write", "each", "-e", "uring"]),
    ("queue=10ms", ["--write", "queue=10ms"]),
    ("batch=64", ["--write", "batch=64"]),
    ("null gather", ["--write", "gather", "-e", "null"]),
    ("null each", ["--write", "each", "-e", "null"]),
]
GATHER_LEAST = 20e6  # calls/s
EACH_LEAST = 2 * 62782  # twice what the original benchmark reached
NULL_MOST_NS = 60


def measure(options, seconds):
    record = bench.run_sonde(["call", *options, "-d", f"{seconds}s", "-w", "500ms"])
    client, server = bench.process(record, "client"), bench.process(record, "server")
    return {"rate": bench.metric(record, "calls_per_second"),
            "client_ns": bench.cpu_per_operation(client),
            "client_user_ns": client["cpu_per_operation"]["user"]["value"],
            "server_ns": bench.cpu_per_operation(server),
            "busy": client["busiest_thread"]["value"],
            "entries": bench.entries_per_operation(client)}


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    bench.heading(f"1-byte calls, 1 connection, epoll: {arguments.rounds} rounds of "
                  f"{arguments.seconds:g} s")
    verdicts = bench.Verdicts("call_rates")

    measured = {name: [] for name, _ in CASES}
    for _ in range(arguments.rounds):
        for name, options in CASES:
            measured[name].append(measure(options, arguments.seconds))

    figures, rows = {}, []
    for name, runs in measured.items():
        one = {key: bench.Figure([run[key] for run in runs])
               for key in runs[0] if runs[0][key] is not None}
        figures[name] = one
        verdicts.keep(name, {key: figure.data() for key, figure in one.items()})
        rows.append([name, one["rate"].text("{:,.0f}"), one["client_ns"].text("{:,.1f}"),
                     f"{one['client_user_ns'].median:,.1f}",
                     one["server_ns"].text("{:,.1f}") if "server_ns" in one else "-",
                     f"{100 * one['busy'].median:.0f} %", f"{one['entries'].median:.3g}"])
    bench.table(["write", "calls/s", "client CPU ns/call", "of it user", "server CPU ns/call",
                 "client busy", "entries/call"], rows)

    gather, each = figures["gather"]["rate"], figures["each"]["rate"]
    null = figures["null gather"]["client_ns"]
    verdicts.judge("gather", gather.text("{:.2f}", 1e6) + " M calls/s", "at least 20 M",
                   gather.median >= GATHER_LEAST)
    verdicts.judge("each", each.text("{:,.0f}") + " calls/s", f"at least {EACH_LEAST:,}",
                   each.median >= EACH_LEAST)
    uring = figures["each, uring"]["rate"]
    verdicts.judge("each, uring", uring.text("{:,.0f}") + " calls/s", f"at least {EACH_LEAST:,}",
                   uring.median >= EACH_LEAST)
    verdicts.judge("null engine, gather", null.text("{:.1f}") + " ns a call",
                   f"at most {NULL_MOST_NS}", null.median <= NULL_MOST_NS)
    verdicts.write(arguments.json)


main()
