"""What benchmarks share that run clients of several kinds against one server: runs in turn, what each
cost at both ends, tables and ratios."""

import os
import pathlib

import _bench as bench

BUILT = pathlib.Path(bench.SONDE).resolve().parent / "bench"
SERVER_CPU, CLIENT_CPU = "0", "1"
ATTEMPTS = 3


def cpu_ns_of(pid):
    """CPU time of a process and all its threads until now."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e9 / os.sysconf("SC_CLK_TCK")


class Run:
    """One run of a client: what it did a second, CPU ns for each, and the server's share of a CPU."""

    def __init__(self, count, rate, cpu_ns, p50_ns=None, p99_ns=None, failed=0):
        self.count, self.rate, self.cpu_ns, self.failed = count, rate, cpu_ns, failed
        self.p50_ns, self.p99_ns = p50_ns, p99_ns
        self.client_busy = rate * cpu_ns / 1e9
        self.server_cpu_ns = self.server_busy = None
        self.loop_ns = None  # as cpu_ns, of the measured time alone
        self.why = ""


def measured(server_pid, server_name, name, client):
    """One run; one of which something failed is said and made again."""
    for _ in range(ATTEMPTS):
        before_ns = cpu_ns_of(server_pid)
        run = client()
        spent_ns = cpu_ns_of(server_pid) - before_ns
        if not run.failed:
            run.server_cpu_ns = spent_ns / run.count
            run.server_busy = min(1, run.server_cpu_ns * run.rate / 1e9)
            return run
        print(f"  {name} against {server_name}: {run.failed} failed{run.why}; again", flush=True)
    return bench.fail(f"{name} against {server_name}: fails again and again")


def rounds_of(variants, rounds, server_pid, server_name):
    """Runs every variant once a round, every second round backwards: a list of runs for each."""
    seen = {name: [] for name in variants}
    for number in range(rounds):
        for name in variants if number % 2 == 0 else reversed(variants):
            seen[name].append(measured(server_pid, server_name, name, variants[name]))
    return seen


def show(seen, what, rate="{:,.0f}", cost=("CPU us each", "{:.2f}", 1e3)):
    """A row a client; `cost`: title, form and divisor of the CPU ns that one of `what` takes."""
    def figure(runs, key, form, scale=1.0):
        values = [getattr(run, key) for run in runs]
        return "-" if None in values or 0 in values else bench.Figure(values).text(form, scale)

    bench.table(["client", f"{what}/s", cost[0], "client busy", "server busy", "p50 ms",
                 "p99 ms"],
                [[name, figure(runs, "rate", rate), figure(runs, "cpu_ns", *cost[1:]),
                  figure(runs, "client_busy", "{:.2f}"), figure(runs, "server_busy", "{:.2f}"),
                  figure(runs, "p50_ns", "{:.1f}", 1e6), figure(runs, "p99_ns", "{:.1f}", 1e6)]
                 for name, runs in seen.items()])


def ratio(seen, one, other, key):
    return bench.ratios([getattr(run, key) for run in seen[one]],
                        [getattr(run, key) for run in seen[other]])


def limit_of(runs):
    """Which end was out of CPU, of the median run."""
    client = bench.Figure([run.client_busy for run in runs]).median
    server = bench.Figure([run.server_busy for run in runs]).median
    ends = [name for name, busy in (("client", client), ("server", server)) if busy >= 0.9]
    return " and ".join(ends) or "waiting"


def keep(verdicts, server, seen):
    for name, runs in seen.items():
        for key in ("rate", "cpu_ns", "server_busy", "p50_ns", "p99_ns"):
            values = [getattr(run, key) for run in runs]
            if None not in values:
                verdicts.keep(f"{name} against {server}, {key}", bench.Figure(values))
