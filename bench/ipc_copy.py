#!/usr/bin/python3
"""The bandwidth of sonde's copy loop against a bare C loop, and of each method for a pipe against
copy, in interleaved rounds of one process each.

usage: bench/ipc_copy.py [--via sonde|loop] [--rounds N] [--repeats N] [--cpus R,S] [--case TEXT]

A process makes one transfer that is thrown away and then --repeats more, which count together. The
two processes of a round saw the same noise of the machine: the figure is the median of the ratios
of each round, [least, most]. --via loop drives the library's methods in the bare loop's own frame
(bench/transfer_loop.c); --via sonde is `sonde ipc`. Both are pinned alike: receiver, sender."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

KIB = 1024
MIB = 1024 * KIB
LEAST_RATIO = 0.99  # of copy to bare
LEAST_BEST = 2.0    # of the best method for a pipe to copy, at 1 MiB
COPY_BUFFERS = [("1k", KIB), ("16k", 16 * KIB), ("128k", 128 * KIB), ("1m", MIB)]
COPY_TRANSPORTS = ["pipe", "local", "tcp"]
PIPE_METHODS = ["writev", "vmsplice", "splice", "uring"]
LIMIT_SECONDS = 300


def total_of(buffer, scale):
    """Bytes of one transfer: about 0.1 s of work, where one call costs 1 to 2 microseconds."""
    return int(scale * min(max(buffer * 64 * KIB, 64 * MIB), 256 * MIB)) // buffer * buffer


def rate_of(lines):
    """Bytes a second of the transfers that a bare loop prints, but for the first."""
    transfers = [json.loads(line) for line in lines.splitlines()][1:]
    return sum(one["bytes"] for one in transfers) * 1e9 / sum(one["ns"] for one in transfers)


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=LIMIT_SECONDS, check=False)
    if done.returncode != 0:
        bench.fail(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


class Machine:
    """How each of the programs is run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.folder = pathlib.Path(bench.SONDE).resolve().parent / "bench"
        self.via = arguments.via or self.find_via()

    def find_via(self):
        known = subprocess.run([bench.SONDE, "ipc", "--help"], stdin=subprocess.DEVNULL,
                               capture_output=True, check=False)
        return "sonde" if known.returncode == 0 else "loop"

    def loop(self, program, case, method="copy"):
        transport, buffer, total = case
        command = [str(self.folder / program), "-m", self.arguments.mode, "-i", transport,
                   "-b", str(buffer), "-t", str(total), "-M", method,
                   "-n", str(self.arguments.repeats + 1)]
        if self.arguments.cpus:
            command += ["-p", self.arguments.cpus]
        if self.arguments.pipe_bytes and transport == "pipe":
            command += ["-S", str(self.arguments.pipe_bytes)]
        return rate_of(run(command))

    def bare(self, case):
        return self.loop("bare_ipc", case)

    def sonde(self, case, method="copy"):
        if self.via == "loop":
            return self.loop("transfer_loop", case, method)
        transport, buffer, total = case
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "record.json")
            command = [bench.SONDE, "ipc", self.arguments.mode, "--transport", transport,
                       "-b", str(buffer), "--total", str(total), "--method", method,
                       "-n", str(self.arguments.repeats), "--warmup", "1ns", "-q",
                       "--json=" + path]
            if self.arguments.cpus:
                command += ["--cpu", ",".join(reversed(self.arguments.cpus.split(",")))]
            if self.arguments.pipe_bytes and transport == "pipe":
                command += ["--pipe-size", str(self.arguments.pipe_bytes)]
            run(command)
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        return record["runs"][0]["metrics"]["bytes_per_second"]["value"]


def interleaved(rounds, one, other):
    """Two functions in turns, neither always first: their values."""
    above, below = [], []
    for number in range(rounds):
        if number % 2:
            below.append(other())
            above.append(one())
        else:
            above.append(one())
            below.append(other())
    return above, below


def compare(name, arguments, one, other):
    above, below = interleaved(arguments.rounds, one, other)
    ratio = bench.ratios(above, below)
    row = [name, bench.Figure(above).text("{:.2f}", 1e9), bench.Figure(below).text("{:.2f}", 1e9),
           ratio.text("{:.3f}")]
    print("  ".join(str(cell).ljust(26) for cell in row).rstrip(), flush=True)
    return ratio


def head(what, one, other):
    print("  ".join(text.ljust(26) for text in (what, one, other, "ratio")).rstrip(), flush=True)


def measure_copy(machine, arguments, verdicts):
    head("copy", f"{machine.via} GB/s", "bare GB/s")
    for transport in COPY_TRANSPORTS:
        for text, buffer in COPY_BUFFERS:
            name = f"copy, {transport}, {text}"
            if arguments.case not in name:
                continue
            case = (transport, buffer, total_of(buffer, arguments.scale))
            ratio = compare(name, arguments, lambda: machine.sonde(case),
                            lambda: machine.bare(case))
            verdicts.keep(name, ratio)
            verdicts.judge(name, ratio.text("{:.3f}"), f">= {LEAST_RATIO}",
                           ratio.median >= LEAST_RATIO)


def measure_methods(machine, arguments, verdicts):
    best = None
    case = ("pipe", MIB, total_of(MIB, arguments.scale))
    head("method, pipe, 1m", "GB/s", "copy GB/s")
    for method in PIPE_METHODS:
        name = f"{method}, pipe, 1m"
        if arguments.case not in name:
            continue
        ratio = compare(name, arguments, lambda: machine.sonde(case, method),
                        lambda: machine.sonde(case))
        verdicts.keep(name, ratio)
        if best is None or ratio.median > best[1].median:
            best = (name, ratio)
    if best:
        verdicts.judge(f"best: {best[0]}", best[1].text("{:.2f}"), f">= {LEAST_BEST:g} x copy",
                       best[1].median >= LEAST_BEST)


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--via", choices=["sonde", "loop"],
                        help="what stands for sonde (default: sonde, where it has ipc)")
    parser.add_argument("--mode", choices=["2thread", "2proc"], default="2thread")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--repeats", type=int, default=5, help="transfers of a process that count")
    parser.add_argument("--scale", type=float, default=1.0, help="of the bytes of a transfer")
    parser.add_argument("--cpus", default="0,1" if (os.cpu_count() or 1) > 1 else "",
                        help="RECEIVER,SENDER; empty: not pinned")
    parser.add_argument("--pipe-bytes", type=int, default=0, help="capacity of the pipe")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    arguments = parser.parse_args()
    machine = Machine(arguments)
    bench.heading(f"ipc: {machine.via}, {arguments.mode}, {arguments.rounds} rounds of "
                  f"{arguments.repeats} transfers, CPUs {arguments.cpus or 'not pinned'}")
    verdicts = bench.Verdicts("ipc_copy")
    measure_copy(machine, arguments, verdicts)
    measure_methods(machine, arguments, verdicts)
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
