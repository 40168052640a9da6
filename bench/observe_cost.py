#!/usr/bin/python3
"""What observing adds to one system call (a getppid loop): `sonde observe` against bpftrace.

usage: bench/observe_cost.py [--rounds N] [--calls N] [--sonde FILE]

Each round measures bare, sonde, bare, bpftrace, in turn, on a fresh process; the cost of a tool is
its time less that of the bare loop just before it. Medians, with the quartiles. Both tools' own
counts are checked: a loop that was not wholly observed does not count. Needs root and bpftrace.
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


class Loop:
    """The process that calls."""

    def __init__(self, program, calls):
        self.child = subprocess.Popen([program, str(calls)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)

    def run(self):
        self.child.stdin.write("go\n")
        self.child.stdin.flush()
        return float(self.child.stdout.readline())

    def end(self):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


def with_sonde(sonde, loop, calls, folder):
    path = os.path.join(folder, "record.json")
    tool = subprocess.Popen([sonde, "observe", "-i", "100ms", "--json=" + path,
                             "pid=%d" % loop.child.pid], stdout=subprocess.PIPE, text=True)
    tool.stdout.readline()  # the first interval: it is attached
    cost = loop.run()
    tool.send_signal(signal.SIGINT)
    tool.communicate()
    with open(path, encoding="utf-8") as file:
        process = json.load(file)["runs"][0]["processes"][0]
    seen = {call["name"]: call["calls"] for call in process["kernel_calls"]["syscalls"]}
    if seen.get("getppid") != calls:
        sys.exit("sonde counted %s of %d calls" % (seen.get("getppid"), calls))
    return cost


def with_bpftrace(loop, calls):
    tool = subprocess.Popen(["unshare", "--mount", "sh", "-c", MOUNT, BPFTRACE % loop.child.pid],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in tool.stdout:
        if line.startswith("Attaching"):
            break
    time.sleep(1.5)  # it says so before it has attached
    cost = loop.run()
    tool.send_signal(signal.SIGINT)
    text = tool.communicate()[0]
    counts = [int(count) for count in re.findall(r"@\[\d+\]: (\d+)", text)]
    if calls not in counts:
        sys.exit("bpftrace counted %s, not %d calls:\n%s" % (counts, calls, text))
    return cost


def show(name, values):
    low, middle, high = statistics.quantiles(values, n=4)
    print("%-22s %7.1f ns a call   (quartiles %.1f to %.1f)" % (name, middle, low, high))
    return statistics.median(values)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--calls", type=int, default=300000)
    options.add_argument("--sonde", default=os.environ.get("SONDE", "build/sonde"))
    options = options.parse_args()
    for tool in ("bpftrace", "unshare"):
        if os.geteuid() != 0 or shutil.which(tool) is None:
            print("observe_cost: not measured: needs root and", tool)
            return
    bare, sonde, bpftrace = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "observe_cost")
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, HERE / "observe_cost.c"],
                       check=True)
        for _ in range(options.rounds):
            loop = Loop(program, options.calls)
            loop.run()  # warm
            loop.end()
            for kept, observed in ((sonde, lambda loop: with_sonde(options.sonde, loop,
                                                                   options.calls, folder)),
                                   (bpftrace, lambda loop: with_bpftrace(loop, options.calls))):
                loop = Loop(program, options.calls)
                # Around it, so that a drift of the machine's speed cancels out.
                bare_loop = Loop(program, options.calls)
                before = bare_loop.run()
                cost = observed(loop)
                after = bare_loop.run()
                loop.end()
                bare_loop.end()
                bare.append((before + after) / 2)
                kept.append(cost - (before + after) / 2)
    show("bare getppid", bare)
    added = show("sonde observe adds", sonde)
    other = show("bpftrace adds", bpftrace)
    print("ratio of what they add: %.2f (goal: at most 0.40)" % (added / other))


if __name__ == "__main__":
    main()
