#!/usr/bin/python3
"""From the start of `sonde call` to the first byte that it sends, as a server sees it.

The server here stamps the accept and the first byte (CLOCK_MONOTONIC); the start is stamped just
before the process is made, so making it and waking the server are within the figure. The first
byte belongs to the warm-up: the figure says when traffic flows, not when the window begins.
Interleaved rounds; medians, [least, most]."""

import os
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

CASES = [
    # name, options, most ms
    ("without observation", [], 20),
    ("--observe self", ["--observe", "self", "--require-observe"], 300),
    ("uring, without observation", ["-e", "uring"], 20),
]


class Server(threading.Thread):
    """Answers one connection and stamps it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.accepted_ns = self.first_ns = None

    def run(self):
        self.listener.settimeout(20)
        connection, _ = self.listener.accept()
        self.accepted_ns = time.monotonic_ns()
        with connection:
            while True:
                data = connection.recv(65536)
                if self.first_ns is None:
                    self.first_ns = time.monotonic_ns()
                if not data:
                    return
                connection.sendall(data)


def measure(options):
    server = Server()
    server.start()
    command = [bench.SONDE, "call", f"tcp://127.0.0.1:{server.port}", "--high", "1", "-d", "100ms",
               "-w", "50ms", "-q", *options]
    start_ns = time.monotonic_ns()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as client:
        said = client.communicate(timeout=60)[1]
    ended_ns = time.monotonic_ns()
    server.join(20)
    server.listener.close()
    if client.returncode != 0 or server.first_ns is None:
        bench.fail(f"{' '.join(command)}: exit {client.returncode}: {said.strip()}")
    return {"accept_ms": (server.accepted_ns - start_ns) / 1e6,
            "first_ms": (server.first_ns - start_ns) / 1e6,
            "whole_ms": (ended_ns - start_ns) / 1e6}


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    bench.heading(f"start to first byte: {arguments.rounds} rounds")
    verdicts = bench.Verdicts("start_time")
    runs = {name: [] for name, _, _ in CASES}
    for number in range(arguments.rounds + 1):
        for name, options, _ in CASES:
            one = measure(options)
            if number:  # the first brings the program into the page cache
                runs[name].append(one)

    rows, figures = [], {}
    for name, values in runs.items():
        one = {key: bench.Figure([run[key] for run in values]) for key in values[0]}
        figures[name] = one
        verdicts.keep(name, {key: figure.data() for key, figure in one.items()})
        rows.append([name, *(one[key].text("{:.1f}") for key in one)])
    bench.table(["", "accepted, ms", "first byte, ms", "150 ms of traffic, all in all, ms"], rows)
    for name, _, most in CASES:
        first = figures[name]["first_ms"]
        verdicts.judge(name, first.text("{:.1f}") + " ms", f"under {most}", first.median < most)
    verdicts.write(arguments.json)


main()
