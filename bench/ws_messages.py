#!/usr/bin/python3
"""WebSocket messages of 64 bytes to and fro on 100 connections, several in flight on each: sonde ws
beside a client of websocketpp ("websocketpp -r": with a cheap source of random numbers, see
bench/websocketpp_client.cpp) and a bare loop that sends frames made beforehand.

Against each of two servers in turn (sonde's, websocketpp's echo server), each client once a round,
every second round backwards, client and server on a CPU of their own. A ratio is of the same round.
Every echo of sonde's is compared with what was sent; websocketpp's client looks at their length, the
bare loop counts bytes."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench
import _websocket as websocket

CONNECTIONS, BYTES = "100", "64"
METRICS = {"done": "round_trips", "rate": "round_trips_per_second", "failed": "messages_lost"}
RATE_LEAST, COST_MOST = 1_000_000, 0.5


def sonde(engine, high, seconds):
    return lambda port: websocket.sonde(
        f"ws://127.0.0.1:{port}/", "--mode", "message", "-e", engine, "-c", CONNECTIONS, "--high",
        high, "-m", BYTES, "-d", f"{seconds}s", "-w", "250ms", **METRICS)


def clients(high, seconds):
    bare = websocket.program("bare_websocket_messages")
    return {
        "sonde epoll": sonde("epoll", high, seconds),
        "sonde uring": sonde("uring", high, seconds),
        "websocketpp": lambda port: websocket.websocketpp(
            "messages", f"ws://127.0.0.1:{port}/", "1", CONNECTIONS, high, BYTES, str(seconds)),
        "websocketpp -r": lambda port: websocket.websocketpp(
            "-r", "messages", f"ws://127.0.0.1:{port}/", "1", CONNECTIONS, high, BYTES, str(seconds)),
        "bare loop": lambda port: websocket.bare(bare, "127.0.0.1", str(port), CONNECTIONS, high,
                                                 BYTES, str(seconds)),
    }


def judge(verdicts, server, seen):
    for name in ("sonde epoll", "sonde uring"):
        for other in ("websocketpp", "websocketpp -r"):
            cost = websocket.ratio(seen, name, other, "cpu_ns")
            verdicts.judge(f"{server}: {name} over {other}, client CPU", cost.text("{:.3f}"),
                           f"at most {COST_MOST}", cost.median <= COST_MOST)
            rate = websocket.ratio(seen, name, other, "rate")
            print(f"  {name} / {other}: rate {rate.text('{:.2f}')}, limited by "
                  f"{websocket.limit_of(seen[name])}")
        bare = websocket.ratio(seen, name, "bare loop", "cpu_ns")
        print(f"  {name} / bare loop: client CPU {bare.text('{:.2f}')}")
        if server == "sonde":
            figure = bench.Figure([run.rate for run in seen[name]])
            verdicts.judge(f"own server, {name}: echoes/s", figure.text("{:,.0f}"),
                           f"at least {RATE_LEAST:,}", figure.median >= RATE_LEAST)


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--high", default="32", help="messages in flight on a connection")
    arguments = parser.parse_args()
    bench.heading(f"WebSocket messages, {BYTES} bytes, {CONNECTIONS} connections, "
                  f"{arguments.high} in flight on each: {arguments.rounds} rounds of "
                  f"{arguments.seconds:g} s")
    verdicts = bench.Verdicts("ws_messages")
    for server in ("sonde", "websocketpp"):
        print(f"\nagainst {server}")
        seen = websocket.rounds_against(server, clients(arguments.high, arguments.seconds),
                                        arguments.rounds)
        websocket.show(seen, "echoes")
        websocket.keep(verdicts, server, seen)
        judge(verdicts, server, seen)
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
