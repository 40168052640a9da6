#!/usr/bin/python3
"""io_uring against epoll at 100 connections with one call in flight each: entries into the kernel
and CPU per call of the client, against one and the same `sonde serve`.

Interleaved rounds, neither always first; the ratio is the median of the ratios of each round. The
client is one thread on a CPU of its own. Entries are the client's own exact counts."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench


def measure(engine, port, arguments):
    record = bench.run_sonde(["call", f"tcp://127.0.0.1:{port}", "-e", engine,
                              "-c", str(arguments.connections), "--high", "1", "-t", "1",
                              "-d", f"{arguments.seconds}s", "-w", "300ms"],
                             pin=arguments.client_cpu)
    client = bench.process(record, "client")
    return {"rate": bench.metric(record, "calls_per_second"),
            "entries": bench.entries_per_operation(client),
            "cpu_ns": bench.cpu_per_operation(client),
            "busy": client["busiest_thread"]["value"]}


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--client-cpu", type=int, default=1)
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--server-engine", default="epoll")
    arguments = parser.parse_args()
    bench.heading(f"{arguments.connections} connections, 1 call in flight each, server "
                  f"{arguments.server_engine}: {arguments.rounds} rounds of "
                  f"{arguments.seconds:g} s")
    verdicts = bench.Verdicts("uring_entries")

    runs = {"epoll": [], "uring": []}
    with bench.serving("-e", arguments.server_engine, pin=arguments.server_cpu) as (_, port):
        for number in range(arguments.rounds):
            for engine in ("epoll", "uring") if number % 2 == 0 else ("uring", "epoll"):
                runs[engine].append(measure(engine, port, arguments))

    figures, rows = {}, []
    for engine, values in runs.items():
        one = {key: bench.Figure([run[key] for run in values]) for key in values[0]}
        figures[engine] = one
        verdicts.keep(engine, {key: figure.data() for key, figure in one.items()})
        rows.append([engine, one["entries"].text("{:.4f}"), one["cpu_ns"].text("{:,.0f}"),
                     one["rate"].text("{:,.0f}"), f"{100 * one['busy'].median:.0f} %"])
    bench.table(["engine", "entries/call", "client CPU ns/call", "calls/s", "client busy"], rows)

    values = {key: bench.ratios([run[key] for run in runs["uring"]],
                                [run[key] for run in runs["epoll"]])
              for key in ("entries", "cpu_ns")}
    verdicts.judge("entries, uring/epoll", values["entries"].text("{:.3f}"), "at most 0.500",
                   values["entries"].median <= 0.5)
    verdicts.judge("client CPU, uring/epoll", values["cpu_ns"].text("{:.3f}"), "at most 1.000",
                   values["cpu_ns"].median <= 1)
    for key, value in values.items():
        verdicts.keep("ratio_" + key, value)
    verdicts.write(arguments.json)


main()
