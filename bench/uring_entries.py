#!/usr/bin/python3
"""io_uring against epoll at 100 connections with one call in flight each: entries into the kernel
and CPU per call of the client, both against the same `sonde serve`: one that runs epoll (its
answers come one by one), and one that runs uring (they come in batches).

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


def compare(server_engine, arguments, verdicts):
    """Rounds against one server; prints them; the ratios uring/epoll."""
    runs = {"epoll": [], "uring": []}
    with bench.serving("-e", server_engine, pin=arguments.server_cpu) as (_, port):
        for number in range(arguments.rounds):
            for engine in ("epoll", "uring") if number % 2 == 0 else ("uring", "epoll"):
                runs[engine].append(measure(engine, port, arguments))
    rows = []
    for engine, values in runs.items():
        one = {key: bench.Figure([run[key] for run in values]) for key in values[0]}
        verdicts.keep(f"{engine} to {server_engine} server",
                      {key: figure.data() for key, figure in one.items()})
        rows.append([f"{engine} to {server_engine} server", one["entries"].text("{:.4f}"),
                     one["cpu_ns"].text("{:,.0f}"), one["rate"].text("{:,.0f}"),
                     f"{100 * one['busy'].median:.0f} %"])
    bench.table(["client", "entries/call", "client CPU ns/call", "calls/s", "client busy"], rows)
    return {key: bench.ratios([run[key] for run in runs["uring"]],
                              [run[key] for run in runs["epoll"]])
            for key in ("entries", "cpu_ns")}


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--client-cpu", type=int, default=1)
    parser.add_argument("--server-cpu", type=int, default=0)
    arguments = parser.parse_args()
    bench.heading(f"{arguments.connections} connections, 1 call in flight each: "
                  f"{arguments.rounds} rounds of {arguments.seconds:g} s")
    verdicts = bench.Verdicts("uring_entries")
    ratios = {server: compare(server, arguments, verdicts) for server in ("epoll", "uring")}
    for server, ratio in ratios.items():
        entries, cpu = ratio["entries"], ratio["cpu_ns"]
        verdicts.judge(f"entries, uring/epoll, to the {server} server", entries.text("{:.3f}"),
                       "at most 0.500", entries.median <= 0.5)
        verdicts.judge(f"client CPU, uring/epoll, to the {server} server", cpu.text("{:.3f}"),
                       "at most 1.000", cpu.median <= 1)
        verdicts.keep(f"ratios to the {server} server", {"entries": entries.data(),
                                                         "cpu_ns": cpu.data()})
    verdicts.write(arguments.json)


main()
