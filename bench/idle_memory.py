#!/usr/bin/python3
"""What one idle connection costs in sonde's own memory, in the server and in the client.

Each case is measured in fresh processes with 1,000 and with 9,000 connections; the difference of
their memory over 8,000 is the cost of one. Served connections are measured twice: just connected,
and after each has had one byte answered. The client's have had one call or more each (open loop).
RSS and PSS are of smaps_rollup; the kernel's sockets are not sonde's memory and not in them."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

FEW, MANY = 1000, 9000
MOST_BYTES = 512
WAIT_SECONDS = 15


def settled(pid):
    """A process's memory once it has stopped growing."""
    last = bench.memory_of(pid)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.4)
        now = bench.memory_of(pid)
        if now is None or now["Rss"] == last["Rss"]:
            return now
        last = now
    return last


def files_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def await_files(pid, count):
    deadline = time.monotonic() + WAIT_SECONDS
    while files_of(pid) < count:
        if time.monotonic() > deadline:
            bench.fail(f"only {files_of(pid)} files are open where {count} were expected")
        time.sleep(0.05)


def served(engine, count):
    """Memory of `sonde serve` with so many connections: unused, and used once."""
    with bench.serving("-e", engine, "--max-connections", str(MANY + 10)) as (server, port):
        connections = []
        try:
            for _ in range(count):
                connections.append(socket.create_connection(("127.0.0.1", port), 10))
            await_files(server.pid, count)
            unused = settled(server.pid)
            for connection in connections:
                connection.sendall(b"x")
            for connection in connections:
                if connection.recv(16) != b"x":
                    bench.fail("the server did not answer")
            used = settled(server.pid)
        finally:
            for connection in connections:
                connection.close()
        if unused is None or used is None:
            bench.fail("the server ended")
        return unused, used


def called(engine, count, high):
    """Memory of `sonde call` with so many connections, each used a few times."""
    with bench.serving("--max-connections", str(MANY + 10)) as (_, port), \
            tempfile.TemporaryFile() as said:
        client = subprocess.Popen(
            [bench.SONDE, "call", f"tcp://127.0.0.1:{port}", "-e", engine, "-c", str(count),
             "--high", str(high), "--rate", "10000", "-w", "1s", "-d", "60s", "-q"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while client.poll() is None and files_of(client.pid) < count:
                if time.monotonic() > deadline:
                    bench.fail("sonde call did not connect")
                time.sleep(0.05)
            # Every connection has its turn within a second; histograms get their pages too.
            time.sleep(3)
            memory = bench.memory_of(client.pid) if client.poll() is None else None
            if memory is None:
                said.seek(0)
                bench.fail("sonde call ended: " + said.read().decode().strip())
        finally:
            if client.poll() is None:
                client.send_signal(signal.SIGKILL)
            client.wait()
        return memory


def per_connection(few, many):
    return {key: (many[key] - few[key]) / (MANY - FEW) for key in ("Rss", "Pss", "Anonymous")}


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MANY + 100:
        if hard != resource.RLIM_INFINITY and hard < MANY + 100:
            bench.fail(f"needs {MANY + 100} open files, the limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY + 100, hard))
    bench.heading(f"one idle connection, from {FEW:,} to {MANY:,}: {arguments.rounds} rounds")
    verdicts = bench.Verdicts("idle_memory")

    costs, bases = {}, {}

    def keep(name, few, many):
        costs.setdefault(name, []).append(per_connection(few, many))
        bases.setdefault(name, []).append(few["Rss"])

    for _ in range(arguments.rounds):
        for engine in ("epoll", "uring"):
            few, many = served(engine, FEW), served(engine, MANY)
            keep(f"serve, {engine}, unused", few[0], many[0])
            keep(f"serve, {engine}, used", few[1], many[1])
            keep(f"call, {engine}, --high 1", called(engine, FEW, 1), called(engine, MANY, 1))
        keep("call, epoll, --high 20000", called("epoll", FEW, 20000),
             called("epoll", MANY, 20000))

    rows, figures = [], {}
    for name, values in costs.items():
        one = {key: bench.Figure([value[key] for value in values]) for key in values[0]}
        figures[name] = one
        verdicts.keep(name, {key: figure.data() for key, figure in one.items()})
        rows.append([name, one["Rss"].text("{:.0f}"), one["Pss"].text("{:.0f}"),
                     one["Anonymous"].text("{:.0f}"),
                     f"{bench.Figure(bases[name]).median / 1048576:.1f}"])
    bench.table(["bytes a connection", "RSS", "PSS", "anonymous", f"RSS with {FEW:,}, MiB"], rows)
    for name, one in figures.items():
        verdicts.judge(name, one["Rss"].text("{:.0f}") + " bytes", f"at most {MOST_BYTES}",
                       one["Rss"].median <= MOST_BYTES)
    verdicts.write(arguments.json)


main()
