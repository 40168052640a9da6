#!/usr/bin/python3
"""sonde stream beside Debian's iperf3: rate, and CPU time of both ends together for 10 GB.

TCP over 127.0.0.1, cubic, blocks of 128 KiB, one and four streams, runs of 2 s, interleaved: each
round runs every variant once, every second round backwards. CPU time is that of the whole processes
(wait4), start and end included, over the payload that arrived.

With --best, instead: every combination of engine, --zerocopy and block length (short runs of one
stream, in ROUNDS rounds of an order of their own), the best of them by rate and by CPU time, and
these two once more beside iperf3 with and without its own -Z (sendfile), as above.

usage: bench/stream_iperf3.py [--best] [ROUNDS]    (default: 3)
"""

import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import time

SONDE = str(pathlib.Path(__file__).resolve().parent.parent / "build/sonde")
SECONDS = 2
SHORT_SECONDS = 0.5
PORT = 5299

ENGINES = ("threads", "poll", "epoll", "uring")
ZEROCOPY = ("none", "msg", "sendfile")
LENGTHS = ("64k", "128k", "256k", "512k", "1m", "4m")


def finish(process):
    """Waits for a child: its CPU seconds and those of its own children."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def run_sonde(streams, *more, seconds=SECONDS):
    process = subprocess.Popen(
        [SONDE, "stream", "tcp:", "-P", str(streams), "-d", f"{seconds}s", "-w", "0", "-q",
         "--congestion", "cubic", "--json", *more], stdout=subprocess.PIPE)
    record = json.loads(process.stdout.read())
    cpu = finish(process)
    metrics = record["runs"][0]["metrics"]
    return metrics["bytes_per_second"]["value"], cpu, metrics["server_received_bytes"]["value"]


def run_iperf3(streams, *more):
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
         "-C", "cubic", "-l", "128K", "-J", *more], stdout=subprocess.PIPE)
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
    "iperf3, pinned": lambda streams: run_iperf3(streams, "-A", "1,0"),
}


def print_row(title, runs):
    rates = [rate / 1e9 for rate, _, _ in runs]
    costs = [cpu / received * 1e10 for _, cpu, received in runs]
    print(f"{title:38} GB/s {statistics.median(rates):6.2f} ({min(rates):.2f} .. {max(rates):.2f})"
          f"   CPU s/10 GB {statistics.median(costs):6.2f} ({min(costs):.2f} .. {max(costs):.2f})",
          flush=True)


def compare(variants, streams, rounds):
    seen = {name: [] for name in variants}
    for number in range(rounds):
        names = list(variants) if number % 2 == 0 else list(reversed(variants))
        for name in names:
            seen[name].append(variants[name](streams))
    for name, runs in seen.items():
        print_row(f"{streams} streams  {name}", runs)


def search(rounds):
    """Every combination that there is; the best by rate, and by CPU time, as options."""
    combinations = [(engine, how, length) for engine in ENGINES for how in ZEROCOPY
                    for length in LENGTHS if (engine, how) != ("uring", "sendfile")]
    seen = {combination: [] for combination in combinations}
    for _ in range(rounds):
        random.shuffle(combinations)
        for engine, how, length in combinations:
            seen[engine, how, length].append(
                run_sonde(1, "-e", engine, "-Z", how, "-l", length, seconds=SHORT_SECONDS))
    rate = {key: statistics.median(rate for rate, _, _ in runs) for key, runs in seen.items()}
    cost = {key: statistics.median(cpu / got for _, cpu, got in runs)
            for key, runs in seen.items()}
    for key in sorted(seen, key=rate.get, reverse=True):
        print_row(" ".join(key), seen[key])
    return max(rate, key=rate.get), min(cost, key=cost.get)


def best(rounds):
    fastest, cheapest = search(rounds)
    variants = {"sonde threads": run_sonde, "iperf3": run_iperf3,
                "iperf3 -Z": lambda streams: run_iperf3(streams, "-Z"),
                "iperf3, pinned": lambda streams: run_iperf3(streams, "-A", "1,0")}
    for what, (engine, how, length) in (("fastest", fastest), ("cheapest", cheapest)):
        variants[f"{what}: {engine} {how} {length}"] = (
            lambda streams, options=("-e", engine, "-Z", how, "-l", length):
            run_sonde(streams, *options))
    print()
    compare(variants, 1, max(rounds, 3))


def main():
    arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if arguments[:1] == ["--best"]:
        best(int(arguments[1]) if len(arguments) > 1 else 3)
        return
    rounds = int(arguments[0]) if arguments else 3
    for streams in (1, 4):
        compare(VARIANTS, streams, rounds)


if __name__ == "__main__":
    main()
