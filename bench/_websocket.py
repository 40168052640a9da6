"""What the WebSocket benchmarks share: servers to measure against, clients that are not sonde's."""

import contextlib
import json
import os
import subprocess

import _bench as bench
import _clients as clients
from _clients import CLIENT_CPU, SERVER_CPU, Run, keep, limit_of, ratio, show

__all__ = ["keep", "limit_of", "ratio", "show"]


def program(name):
    path = clients.BUILT / name
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


def rounds_against(server_name, variants, rounds):
    """Runs every client once a round, every second round backwards, against one server: a list of
    runs for each."""
    with SERVERS[server_name]() as (server, port):
        def against(client):
            return lambda: client(port)
        return clients.rounds_of({name: against(client) for name, client in variants.items()},
                                 rounds, server.pid, server_name)
