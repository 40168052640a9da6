#!/usr/bin/python3
"""WebSocket opening and closing handshakes: sonde ws beside a client of websocketpp, of the kind that
wsperf is, and beside a bare loop of the system calls that a handshake needs. ("websocketpp -r" is
the same client with a cheap source of random numbers, see bench/websocketpp_client.cpp.)

Against each of three servers in turn (sonde's, websocketpp's echo server, python3-websockets), each
client once a round, every second round backwards, client and server on a CPU of their own. 500
connections in flight, again below 250, closed with 1001. A ratio is of the same round. The bare
loop's answers are not looked at, its key and mask are always the same: it is the physical limit.

Afterwards, 200,000 handshakes with sonde's own server: how many a second, and none may fail."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench
import _websocket as websocket

LOW, HIGH, CODE = "250", "500", "1001"
WHOLE = 200_000
# A server that is slow is asked less often.
SHARE = {"sonde": 1, "websocketpp": 0.5, "python3-websockets": 0.1}
METRICS = {"done": "handshakes", "rate": "handshakes_per_second", "failed": "handshakes_failed"}
COST_MOST, RATE_LEAST, BARE_MOST, OWN_LEAST = 0.45, 2, 1.10, 15_000


def sonde(engine, count):
    return lambda port: websocket.sonde(f"ws://127.0.0.1:{port}/", "-e", engine, "-c", HIGH,
                                        "--low", LOW, "--code", CODE, "-n", str(count), **METRICS)


def clients(count):
    bare = websocket.program("bare_websocket_handshakes")
    return {
        "sonde epoll": sonde("epoll", count),
        "sonde uring": sonde("uring", count),
        "websocketpp": lambda port: websocket.websocketpp(
            "handshakes", f"ws://127.0.0.1:{port}/", "1", str(count), LOW, HIGH),
        "websocketpp -r": lambda port: websocket.websocketpp(
            "-r", "handshakes", f"ws://127.0.0.1:{port}/", "1", str(count), LOW, HIGH),
        "bare loop": lambda port: websocket.bare(bare, "127.0.0.1", str(port), str(count), LOW,
                                                 HIGH),
    }


def judge(verdicts, server, seen):
    for name in ("sonde epoll", "sonde uring"):
        for other in ("websocketpp", "websocketpp -r"):
            cost = websocket.ratio(seen, name, other, "cpu_ns")
            verdicts.judge(f"{server}: {name} over {other}, client CPU", cost.text("{:.3f}"),
                           f"at most {COST_MOST}", cost.median <= COST_MOST)
        rate = websocket.ratio(seen, name, "websocketpp", "rate")
        limit = websocket.limit_of(seen[name])
        verdicts.judge(f"{server}: {name} over websocketpp, rate (limited by {limit})",
                       rate.text("{:.2f}"), f"at least {RATE_LEAST}, unless the server limits",
                       rate.median >= RATE_LEAST or "server" in limit)
        bare = websocket.ratio(seen, name, "bare loop", "cpu_ns")
        verdicts.judge(f"{server}: {name} over the bare loop, client CPU", bare.text("{:.3f}"),
                       f"at most {BARE_MOST}", bare.median <= BARE_MOST)
        rate = websocket.ratio(seen, name, "bare loop", "rate")
        verdicts.judge(f"{server}: {name} over the bare loop, rate", rate.text("{:.3f}"),
                       f"at least {1 / BARE_MOST:.2f}", rate.median >= 1 / BARE_MOST)


def whole(verdicts, count):
    """The seed's load with sonde at both ends."""
    print(f"\n{count:,} handshakes with sonde's own server")
    for engine in ("epoll", "uring"):
        record = bench.run_sonde(["ws", "-e", engine, "-c", HIGH, "--low", LOW, "--code", CODE,
                                  "-n", str(count)])
        rate = bench.metric(record, "handshakes_per_second")
        good, failed = (bench.metric(record, name) for name in ("handshakes", "handshakes_failed"))
        verdicts.judge(f"own server, {engine}: handshakes/s", f"{rate:,.0f}",
                       f"at least {OWN_LEAST:,}", rate >= OWN_LEAST)
        verdicts.judge(f"own server, {engine}: of {count:,} failed", failed, "0",
                       failed == 0 and good == count)


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=20_000, help="handshakes of a run")
    parser.add_argument("--whole", type=int, default=WHOLE,
                        help="handshakes of the last runs (0: none)")
    parser.add_argument("--server", choices=websocket.SERVERS, help="only against this one")
    arguments = parser.parse_args()
    bench.heading(f"WebSocket handshakes, {HIGH} in flight: {arguments.rounds} rounds of "
                  f"{arguments.count:,} (fewer against slow servers)")
    verdicts = bench.Verdicts("ws_handshakes")
    for server in [arguments.server] if arguments.server else websocket.SERVERS:
        print(f"\nagainst {server}")
        count = max(1000, int(arguments.count * SHARE[server]))
        seen = websocket.rounds_against(server, clients(count), arguments.rounds)
        websocket.show(seen, "handshakes")
        websocket.keep(verdicts, server, seen)
        judge(verdicts, server, seen)
    if arguments.whole:
        whole(verdicts, arguments.whole)
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
