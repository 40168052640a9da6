#!/usr/bin/python3
"""HTTP requests to nginx on connections that stay: sonde http beside wrk, h2load and bare loops of the
same kernel interface.

nginx with one worker on one CPU, the client on the other, a file of 200 bytes, 100 connections, one
request in flight on each. Every client once a round, every second round backwards. CPU time is that of
the whole process (wait4), start and end included, for each request that was answered; sonde and the bare
loops are compared by the CPU time of the measured time alone, which both say. A ratio is of the same
round; it stands with its median's 95 % interval (bootstrap over the rounds). wrk and the bare
loops find an answer's end and read a clock once for it; the bare loops look at nothing else. h2load
says no percentiles unless it writes a line for each request."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench
import _clients as clients
import _http as http

BYTES = 200
COST_MOST, BARE_MOST = 0.7, 1.05


def judge(verdicts, seen):
    def compare(one, other, key, words, target, met):
        figure = clients.ratio(seen, one, other, key)
        verdicts.judge(f"{one} over {other}, {words}", figure.interval_text(), target,
                       met(figure.median))

    for engine in ("epoll", "uring"):
        one = "sonde " + engine
        for other in ("wrk", "h2load"):
            compare(one, other, "cpu_ns", "client CPU", f"at most {COST_MOST}",
                    lambda value: value <= COST_MOST)
        compare(one, http.BARE_OF[engine], "loop_ns", "CPU in the loop", f"at most {BARE_MOST}",
                lambda value: value <= BARE_MOST)
        compare(one, "wrk", "rate", f"rate (limited by {clients.limit_of(seen[one])})",
                "at least 1", lambda value: value >= 1)
        for key in ("p50_ns", "p99_ns"):
            compare(one, "wrk", key, key.removesuffix("_ns"), "at most 1",
                    lambda value: value <= 1)
    for other in ("sonde epoll", "wrk", "h2load"):
        compare("sonde uring", other, "cpu_ns", "the cheapest", "at most 1",
                lambda value: value <= 1)
    for other in ("wrk", "h2load"):
        figure = clients.ratio(seen, "bare epoll", other, "cpu_ns")
        print(f"  the limit here, bare epoll over {other}: client CPU {figure.interval_text()}")
    figure = clients.ratio(seen, "bare uring, multishot", "bare uring", "loop_ns")
    print(f"  bare uring, multishot over single: client CPU {figure.interval_text()}")


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=100)
    arguments = parser.parse_args()
    bench.heading(f"HTTP requests to nginx, answers of {BYTES} bytes, {arguments.connections} "
                  f"connections: {arguments.rounds} rounds of {arguments.seconds} s")
    verdicts = bench.Verdicts("http_requests")
    with http.serving("nginx", {str(BYTES): BYTES}) as (pid, url):
        variants = http.clients(f"{url}/{BYTES}", BYTES, arguments.connections,
                                arguments.seconds, http.Result.of_requests)
        seen = clients.rounds_of(variants, arguments.rounds, pid, "nginx")
    clients.show(seen, "requests")
    clients.keep(verdicts, "nginx", seen)
    judge(verdicts, seen)
    print(f"load after: {bench.load()}")
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
