#!/usr/bin/python3
"""What sonde's seams cost: client CPU per call of `sonde call` against bare loops that do the same
work through the same kernel interface, against the same running server, in interleaved rounds.

    bench/engine_seam.py [--build build] [--rounds 7] [--seconds 2]
                         [--client-cpu 1] [--server-cpu 0] [--case TEXT] [--json]

The ratio is the median of the ratios of each round: both runs of a round see the same noise of the
machine. Rounds of fewer calls than --least are said, since their figures mean little."""

import argparse
import json
import os
import statistics
import subprocess
import sys

CASES = [
    # name, bare program and its options, options of sonde call
    ("epoll, 1 connection", ["bare_call_epoll", "-c", "1"],
     ["-e", "epoll", "-c", "1", "--high", "1"]),
    ("uring, 1 connection", ["bare_call_uring", "-q", "-f", "-c", "1"],
     ["-e", "uring", "-c", "1", "--high", "1"]),
    ("epoll, 100 connections", ["bare_call_epoll", "-c", "100"],
     ["-e", "epoll", "-c", "100", "--high", "1"]),
    ("uring, 100 connections", ["bare_call_uring", "-q", "-f", "-c", "100"],
     ["-e", "uring", "-c", "100", "--high", "1"]),
    ("gather, epoll, 1 connection", ["bare_call_gather", "-H", "20000"],
     ["-e", "epoll", "-c", "1", "--write", "gather", "--high", "20000", "--low", "10001"]),
    ("each, epoll, 1 connection", ["bare_call_gather", "-e", "-H", "20000"],
     ["-e", "epoll", "-c", "1", "--write", "each", "--high", "20000", "--low", "10001"]),
]


def run(command, limit):
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def run_bare(arguments, program, port):
    out = run([os.path.join(arguments.build, "bench", program[0]), *program[1:],
               "-d", str(arguments.seconds), "-p", str(arguments.client_cpu), "127.0.0.1", port],
              arguments.seconds + 10)
    return {"calls": out["calls"], "cpu_ns": out["cpu_ns_per_call"],
            "kernel_calls": out["kernel_calls_per_call"], "rate": out["calls_per_second"]}


def run_sonde(arguments, options, port):
    out = run(["taskset", "-c", str(arguments.client_cpu),
               os.path.join(arguments.build, "sonde"), "call", f"tcp://127.0.0.1:{port}",
               *options, "-d", f"{arguments.seconds}s", "-w", "250ms", "--json"],
              arguments.seconds + 20)
    if not out["complete"]:
        sys.exit(f"sonde call {' '.join(options)}: incomplete: {out['errors']}")
    client = next(p for p in out["runs"][0]["processes"] if p["role"] == "client")
    calls = client["cpu_operations"]
    return {"calls": calls,
            "cpu_ns": (client["cpu_user_ns"] + client["cpu_system_ns"]) / calls,
            "kernel_calls": sum(s["calls_per_operation"]
                                for s in client["engine_calls"]["syscalls"]),
            "rate": out["runs"][0]["metrics"]["calls_per_second"]["value"]}


def measure(arguments, case, port):
    name, bare_program, sonde_options = case
    rounds = []
    for number in range(arguments.rounds):
        pair = [lambda: run_bare(arguments, bare_program, port),
                lambda: run_sonde(arguments, sonde_options, port)]
        if number % 2:  # neither always comes first
            sonde, bare = pair[1](), pair[0]()
        else:
            bare, sonde = pair[0](), pair[1]()
        rounds.append((bare, sonde))
    median = lambda side, key: statistics.median(pair[side][key] for pair in rounds)
    ratios = sorted(sonde["cpu_ns"] / bare["cpu_ns"] for bare, sonde in rounds)
    return {"case": name, "rounds": len(rounds),
            "bare_cpu_ns": median(0, "cpu_ns"), "sonde_cpu_ns": median(1, "cpu_ns"),
            "ratio": statistics.median(ratios), "ratio_low": ratios[0], "ratio_high": ratios[-1],
            "bare_kernel_calls": median(0, "kernel_calls"),
            "sonde_kernel_calls": median(1, "kernel_calls"),
            "bare_rate": median(0, "rate"), "sonde_rate": median(1, "rate"),
            "fewest_calls": min(min(bare["calls"], sonde["calls"]) for bare, sonde in rounds)}


def show(row, least):
    print(f"{row['case']:28} {row['bare_cpu_ns']:9.1f} {row['sonde_cpu_ns']:9.1f} "
          f"{row['ratio']:7.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]  "
          f"{row['bare_kernel_calls']:8.4f} {row['sonde_kernel_calls']:8.4f}  "
          f"{row['bare_rate']:11.0f} {row['sonde_rate']:11.0f}"
          + ("  few calls: the machine was busy" if row["fewest_calls"] < least else ""),
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--client-cpu", type=int, default=1)
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--least", type=int, default=20000)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.case in case[0]]
    if not cases:
        parser.error(f"no case contains '{arguments.case}'")

    server = subprocess.Popen([os.path.join(arguments.build, "bench", "bare_echo_server"),
                               "-p", str(arguments.server_cpu), "127.0.0.1", "0"],
                              stdout=subprocess.PIPE, text=True)
    rows = []
    try:
        port = server.stdout.readline().strip()
        if not arguments.json:
            print(f"{'':28} {'client CPU ns a call':>19} {'sonde':>7} {'[of all rounds]':>16}  "
                  f"{'kernel calls a call':>17}  {'calls/s':>23}\n"
                  f"{'':28} {'bare':>9} {'sonde':>9} {'/ bare':>7} {'':16}  "
                  f"{'bare':>8} {'sonde':>8}  {'bare':>11} {'sonde':>11}")
        for case in cases:
            rows.append(measure(arguments, case, port))
            if not arguments.json:
                show(rows[-1], arguments.least)
    finally:
        server.terminate()
        server.wait()
    if arguments.json:
        json.dump(rows, sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
