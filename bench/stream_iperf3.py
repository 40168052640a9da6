#!/usr/bin/python3
"""sonde stream beside Debian's iperf3: rate, and CPU time of both ends together for 10 GB.

TCP over 127.0.0.1, cubic, blocks of 128 KiB, one and four streams, runs of 2 s, interleaved: each
round runs every variant once, every second round backwards. CPU time is that of the whole processes
(wait4), start and end included, over the payload that arrived.

usage: bench/stream_iperf3.py [ROUNDS]    (default: 3)
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

SONDE = str(pathlib.Path(__file__).resolve().parent.parent / "build/sonde")
SECONDS = 2
PORT = 5299


def finish(process):
    """Waits for a child: its CPU seconds and those of its own children."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def run_sonde(streams, *more):
    process = subprocess.Popen(
        [SONDE, "stream", "tcp:", "-P", str(streams), "-d", str(SECONDS), "-w", "0", "-q",
         "--congestion", "cubic", "--json", *more], stdout=subprocess.PIPE)
    record = json.loads(process.stdout.read())
    cpu = finish(process)
    metrics = record["runs"][0]["metrics"]
    return metrics["bytes_per_second"]["value"], cpu, metrics["server_received_bytes"]["value"]


def run_iperf3(streams):
    server = subprocess.Popen(["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", str(PORT)],
                              stdout=subprocess.DEVNULL)
    for _ in range(200):
        listening = subprocess.run(["ss", "-Hltn", f"sport = :{PORT}"], capture_output=True,
                                   check=True).stdout
        if listening:
            break
        time.sleep(0.01)
    client = subprocess.Popen(
        ["iperf3", "-c", "127.0.0.1", "-p", str(PORT), "-t", str(SECONDS), "-P", str(streams),
         "-C", "cubic", "-l", "128K", "-J"], stdout=subprocess.PIPE)
    result = json.loads(client.stdout.read())
    cpu = finish(client) + finish(server)
    received = result["end"]["sum_received"]
    return received["bits_per_second"] / 8, cpu, received["bytes"]


VARIANTS = {
    "sonde threads": run_sonde,
    "sonde threads, not pinned": lambda streams: run_sonde(streams, "--no-pin"),
    "sonde epoll": lambda streams: run_sonde(streams, "-e", "epoll"),
    "sonde uring": lambda streams: run_sonde(streams, "-e", "uring"),
    "iperf3": run_iperf3,
}


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for streams in (1, 4):
        seen = {name: [] for name in VARIANTS}
        for number in range(rounds):
            names = list(VARIANTS) if number % 2 == 0 else list(reversed(VARIANTS))
            for name in names:
                seen[name].append(VARIANTS[name](streams))
        for name, runs in seen.items():
            rates = [rate / 1e9 for rate, _, _ in runs]
            costs = [cpu / received * 1e10 for _, cpu, received in runs]
            print(f"{streams} streams  {name:26} GB/s {statistics.median(rates):6.2f}"
                  f" ({min(rates):.2f} .. {max(rates):.2f})"
                  f"   CPU s/10 GB {statistics.median(costs):6.2f}"
                  f" ({min(costs):.2f} .. {max(costs):.2f})", flush=True)


if __name__ == "__main__":
    main()
