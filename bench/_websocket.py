"""What the WebSocket benchmarks share: servers to measure against, clients that are not sonde's."""

import contextlib
import json
import os
import pathlib
import subprocess

import _bench as bench

BUILT = pathlib.Path(bench.SONDE).resolve().parent / "bench"
SERVER_CPU, CLIENT_CPU = "0", "1"
ATTEMPTS = 3


def program(name):
    path = BUILT / name
    if not os.access(path, os.X_OK):
        bench.fail(f"{path} is not there: install g++, libwebsocketpp-dev and libboost-dev, then "
                   "make clean bench")
    return str(path)


@contextlib.contextmanager
def running(*command):
    """A server that prints its port: yields (process, port)."""
    server = subprocess.Popen(["taskset", "-c", SERVER_CPU, *command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True)
    try:
        said = server.stdout.readline().strip()
        if not said:
            bench.fail(f"{' '.join(command)}: exit {server.wait()}")
        yield server, int(said)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


SERVERS = {
    "sonde": lambda: bench.serving(scheme="ws", pin=SERVER_CPU),
    "websocketpp": lambda: running(program("websocketpp_server")),
    "python3-websockets": lambda: running(
        "/usr/bin/python3", str(bench.ROOT / "bench" / "_websockets_server.py")),
}


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
        self.why = ""


def foreign(*command):
    """Runs a client of bench/ to its end: its line of JSON."""
    done = subprocess.run(["taskset", "-c", CLIENT_CPU, *command], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0 or not done.stdout:
        bench.fail(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return {**json.loads(done.stdout), "said": done.stderr.strip()}


def bare(*command):
    seen = foreign(*command)
    return Run(seen["calls"], seen["calls_per_second"], seen["cpu_ns_per_call"], seen["p50_ns"],
               seen["p99_ns"])


def websocketpp(*command):
    seen = foreign(program("websocketpp_client"), *command)
    run = Run(seen["count"], seen["per_second"], seen["cpu_ns_each"], seen["p50_ns"],
              seen["p99_ns"], seen["failed"])
    run.why = f" ({seen['said']})" if seen["said"] else ""
    return run


def sonde(*arguments, done, rate, failed=None):
    """`done`, `rate` and `failed` name the metrics."""
    record = bench.run_sonde(["ws", *arguments], pin=CLIENT_CPU)
    one = record["runs"][0]
    percentiles = one["histograms"]["response_time"]["percentiles"]
    return Run(bench.metric(record, done), bench.metric(record, rate),
               bench.cpu_per_operation(bench.process(record, "client")), percentiles["50"],
               percentiles["99"], bench.metric(record, failed) if failed else 0)


def measured(server, server_name, name, client, port):
    """One run; one of which something failed is said and made again."""
    for _ in range(ATTEMPTS):
        before_ns = cpu_ns_of(server.pid)
        run = client(port)
        spent_ns = cpu_ns_of(server.pid) - before_ns
        if not run.failed:
            run.server_cpu_ns = spent_ns / run.count
            run.server_busy = min(1, run.server_cpu_ns * run.rate / 1e9)
            return run
        print(f"  {name} against {server_name}: {run.failed} failed{run.why}; again", flush=True)
    return bench.fail(f"{name} against {server_name}: fails again and again")


def rounds_against(server_name, clients, rounds):
    """Runs every client once a round, every second round backwards, against one server: a list of
    runs for each."""
    seen = {name: [] for name in clients}
    with SERVERS[server_name]() as (server, port):
        for number in range(rounds):
            for name in clients if number % 2 == 0 else reversed(clients):
                seen[name].append(measured(server, server_name, name, clients[name], port))
    return seen


def show(seen, what):
    def figure(runs, key, form, scale=1.0):
        values = [getattr(run, key) for run in runs]
        return "-" if None in values or 0 in values else bench.Figure(values).text(form, scale)

    bench.table(["client", f"{what}/s", "CPU us each", "client busy", "server busy", "p50 ms",
                 "p99 ms"],
                [[name, figure(runs, "rate", "{:,.0f}"), figure(runs, "cpu_ns", "{:.2f}", 1e3),
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
