#!/usr/bin/python3
"""What observing adds to one system call: each probe of `sonde observe`, and bpftrace.

usage: bench/observe_cost.py [--rounds N] [--calls N] [--probe LIST]... [--sonde FILE]

The calls are getppid for `syscalls` and bpftrace, and a read of one byte for every other list of
probes. Each round measures bare, observed, bare for each of them in turn, on fresh processes. The
cost is the time of a call less that of the bare loop's around it: of the means (median and quartiles
over the rounds), and of the fastest short stretches of all rounds, which a busy machine disturbs
least. The probes' own counts are checked: a loop that was not wholly observed does not count. Needs
root, and bpftrace for its line.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BPFTRACE = "tracepoint:raw_syscalls:sys_enter /pid == %d/ { @[args->id] = count(); }"
# bpftrace looks for tracepoints in tracefs: mounted for it alone where it is not.
MOUNT = ("[ -d /sys/kernel/tracing/events ] || mount -t tracefs none /sys/kernel/tracing; "
         "mount -t debugfs none /sys/kernel/debug 2>/dev/null; exec bpftrace -e \"$0\"")


PROBES = ["syscalls", "sizes", "syscalls,sizes", "latency"]
TARGET_NS = 130  # of syscalls,sizes


class Loop:
    """The process that calls. run: mean and least ns a call."""

    def __init__(self, program, calls, call, prefix=()):
        self.child = subprocess.Popen([*prefix, program, str(calls), call], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)

    def run(self):
        self.child.stdin.write("go\n")
        self.child.stdin.flush()
        return [float(word) for word in self.child.stdout.readline().split()]

    def end(self):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


def seen_by(run, call):
    """How often each probe saw the call, by the probe's name."""
    seen = {}
    for process in run["processes"]:
        for row in (process["kernel_calls"] or {}).get("syscalls", []):
            if row["name"] == call:
                seen["syscalls"] = row["calls"]
    for probe in run["probes"]:
        for one in probe["distributions"]:
            if one["what"] == call:
                seen[probe["name"]] = sum(row["count"] for row in one["classes"])
    return seen


def with_sonde(sonde, probes, program, calls, call):
    folder = os.path.dirname(program)
    path = os.path.join(folder, "record.json")
    loop = Loop(program, calls, call, [sonde, "observe", "--json=" + path, "--output=/dev/null",
                                       "--probe", probes, "--"])
    cost = loop.run()
    loop.end()
    with open(path, encoding="utf-8") as file:
        seen = seen_by(json.load(file)["runs"][0], call)
    for name in probes.split(","):
        if not calls <= seen.get(name, 0) < calls + 20:  # the program's own reads
            sys.exit("%s counted %s of %d calls" % (name, seen.get(name), calls))
    return cost


def with_bpftrace(program, calls):
    loop = Loop(program, calls, "getppid")
    tool = subprocess.Popen(["unshare", "--mount", "sh", "-c", MOUNT, BPFTRACE % loop.child.pid],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in tool.stdout:
        if line.startswith("Attaching"):
            break
    time.sleep(1.5)  # it says so before it has attached
    cost = loop.run()
    loop.end()
    tool.send_signal(signal.SIGINT)
    text = tool.communicate()[0]
    counts = [int(count) for count in re.findall(r"@\[\d+\]: (\d+)", text)]
    if calls not in counts:
        sys.exit("bpftrace counted %s, not %d calls:\n%s" % (counts, calls, text))
    return cost


class Cost:
    """One way to observe, over all rounds."""

    def __init__(self, name, call, observe):
        self.name, self.call, self.observe = name, call, observe
        self.added, self.observed, self.bare = [], [], []

    def measure(self, program, calls):
        bare = Loop(program, calls, self.call)
        # Around it, so that a drift of the machine's speed cancels out.
        before = bare.run()
        observed = self.observe(program)
        after = bare.run()
        bare.end()
        self.added.append(observed[0] - (before[0] + after[0]) / 2)
        self.observed.append(observed[1])
        self.bare.append(min(before[1], after[1]))

    def least(self):
        return min(self.observed) - min(self.bare)

    def show(self):
        low, middle, high = statistics.quantiles(self.added, n=4)
        print("%-24s %8s %8.1f %8.1f  %6.1f to %-6.1f %6.1f"
              % (self.name, self.call, min(self.bare), middle, low, high, self.least()), flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--calls", type=int, default=300000)
    options.add_argument("--probe", action="append", metavar="LIST")
    options.add_argument("--sonde", default=os.environ.get("SONDE", "build/sonde"))
    options = options.parse_args()
    if os.geteuid() != 0:
        print("observe_cost: not measured: needs root")
        return
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "observe_cost")
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, HERE / "observe_cost.c"],
                       check=True)

        def sonde(probes, call):
            return Cost("sonde " + probes, call,
                        lambda program: with_sonde(options.sonde, probes, program, options.calls,
                                                   call))

        costs = [sonde("syscalls", "getppid")] if not options.probe else []
        costs += [sonde(probes, "read") for probes in options.probe or PROBES]
        if shutil.which("bpftrace") and shutil.which("unshare"):
            costs.insert(1, Cost("bpftrace", "getppid",
                                 lambda program: with_bpftrace(program, options.calls)))
        else:
            print("observe_cost: bpftrace not measured: it is not installed")
        for _ in range(options.rounds):
            for cost in costs:
                cost.measure(program, options.calls)
    print("%-24s %8s %8s %8s  %-16s %6s" % ("ns", "call", "bare", "added", "quartiles", "least"))
    for cost in costs:
        cost.show()
    added = {(cost.name, cost.call): cost for cost in costs}
    own, other = added.get(("sonde syscalls", "getppid")), added.get(("bpftrace", "getppid"))
    if own and other:
        print("syscalls: of what bpftrace adds: %.2f (goal: at most 0.40)"
              % (statistics.median(own.added) / statistics.median(other.added)))
    both = added.get(("sonde syscalls,sizes", "read"))
    if both:
        print("syscalls,sizes: %.1f ns a call (goal: at most %d)" % (both.least(), TARGET_NS))


if __name__ == "__main__":
    main()
