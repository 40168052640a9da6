#!/usr/bin/python3
"""HTTP answers of 2 MiB from nginx: sonde http beside wrk, h2load and bare loops of the same kernel
interface.

nginx with one worker on one CPU, the client on the other, 100 connections, one request in flight on
each. Every client once a round, every second round backwards. CPU time is that of the whole process
(wait4) for each GiB that came, of whole answers or not; sonde and the bare loops are compared by the CPU
time of the measured time alone, which both say. A ratio is of the same round; it stands with its
median's 95 % interval (bootstrap over the rounds)."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench
import _clients as clients
import _http as http

MEBIBYTES = 2
COST_MOST, BARE_MOST = 0.8, 1.05


def judge(verdicts, seen):
    for engine in ("epoll", "uring"):
        one = "sonde " + engine
        for other, key, most in (("wrk", "cpu_ns", COST_MOST), (http.BARE_OF[engine], "loop_ns", BARE_MOST)):
            figure = clients.ratio(seen, one, other, key)
            what = "client CPU" if key == "cpu_ns" else "CPU in the loop"
            verdicts.judge(f"{one} over {other}, {what} a GiB", figure.interval_text(),
                           f"at most {most}", figure.median <= most)
        figure = clients.ratio(seen, one, "wrk", "rate")
        print(f"  {one} over wrk: rate {figure.interval_text()}, limited by "
              f"{clients.limit_of(seen[one])}")
    for name in ("bare epoll", "bare uring", "bare uring, multishot"):
        figure = clients.ratio(seen, name, "wrk", "cpu_ns")
        print(f"  the limit here, {name} over wrk: client CPU a GiB {figure.interval_text()}")


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=100)
    arguments = parser.parse_args()
    bench.heading(f"HTTP answers of {MEBIBYTES} MiB from nginx, {arguments.connections} connections: "
                  f"{arguments.rounds} rounds of {arguments.seconds} s")
    verdicts = bench.Verdicts("http_downloads")
    with http.serving("nginx", {"payload": MEBIBYTES << 20}) as (pid, url):
        variants = http.clients(f"{url}/payload", MEBIBYTES << 20, arguments.connections,
                                arguments.seconds, http.Result.of_gibibytes)
        seen = clients.rounds_of(variants, arguments.rounds, pid, "nginx")
    clients.show(seen, "GiB", "{:.2f}", ("CPU ms a GiB", "{:.0f}", 1e6))
    clients.keep(verdicts, "nginx", seen)
    judge(verdicts, seen)
    print(f"load after: {bench.load()}")
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
