#!/usr/bin/python3
"""Many large downloads at a time, as Haiku's network benchmark has them: 100 connections, each of which
asks lighttpd once for 200 MiB, through threads, poll, epoll and io_uring, beside iperf3 -P 4.

Every engine and iperf3 once a round, every second round backwards; nothing is pinned, since the seed
pinned nothing. The rate of all downloads together is body bytes over the time in which they came. What
the seed's machine moved with iperf3 is not known, and so sonde is held to what iperf3 moves here, over
the same kernel in the same round. Memory is the most that the client held at once (VmHWM, VmPeak), seen
every 50 ms. A ratio stands with its median's 95 % interval (bootstrap over the rounds).

--buffer and --keep-body are sonde's: with --buffer 4m each connection has its own buffer, as the seed's
programs had."""

import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench
import _clients as clients
import _http as http
import stream_iperf3

ENGINES = ("threads", "poll", "epoll", "uring")
MEMORY_MOST = 8 << 20  # of poll, epoll and uring; the seed's poll took 306 MiB
SEED = "the seed's machine: threads 94.2 MiB/s a connection, 2.13 s, 33.5 MiB on average; poll 88.5 " \
       "MiB/s, 2.79 s, 306 MiB"


class Downloads:
    """One run: GiB/s of all connections together, its time, memory, and CPU seconds for a GiB."""

    def __init__(self, rate, seconds, cost, peak_bytes=0, virtual_bytes=0, each_rate=None):
        self.rate, self.seconds, self.cost = rate, seconds, cost
        self.peak_bytes, self.virtual_bytes, self.each_rate = peak_bytes, virtual_bytes, each_rate


def sonde(engine, url, length, arguments):
    more = ["--buffer", arguments.buffer] if arguments.buffer else []
    more += ["--keep-body"] if arguments.keep_body else []
    ended, record = http.sonde_record(url, "-e", engine, "-c", str(arguments.connections), "-n",
                                      str(arguments.connections), "--no-keep-alive", "--http", "1.0",
                                      "--timeout", "1m", *more, pin=None)
    body = bench.metric(record, "body_bytes")
    if bench.metric(record, "requests_failed") or body != length * arguments.connections:
        bench.fail(f"sonde {engine}: {body} bytes of {length * arguments.connections}, "
                   f"{bench.metric(record, 'requests_failed')} requests failed")
    download_ns = http.percentile(record, "50", "response_time")
    return Downloads(bench.metric(record, "body_bytes_per_second") / http.GIB, ended.seconds,
                     ended.cpu_seconds / (body / http.GIB), ended.peak_bytes,
                     ended.peak_virtual_bytes, length / download_ns * 1e9 / (1 << 20))


def iperf3(seconds):
    result, cpu = stream_iperf3.iperf3_run(["-t", str(seconds), "-P", "4"])
    received = result["end"]["sum_received"]
    return Downloads(received["bits_per_second"] / 8 / http.GIB, received["seconds"],
                     cpu / (received["bytes"] / http.GIB))


def show(seen):
    def column(runs, key, form, scale=1.0):
        values = [getattr(run, key) for run in runs]
        return "-" if None in values or 0 in values else bench.Figure(values).text(form, scale)

    bench.table(["", "GiB/s of all", "MiB/s of one", "run s", "CPU s a GiB", "peak MiB",
                 "peak virtual MiB"],
                [[name, column(runs, "rate", "{:.2f}"), column(runs, "each_rate", "{:.1f}"),
                  column(runs, "seconds", "{:.2f}"), column(runs, "cost", "{:.3f}"),
                  column(runs, "peak_bytes", "{:.1f}", 1 << 20),
                  column(runs, "virtual_bytes", "{:,.0f}", 1 << 20)]
                 for name, runs in seen.items()])
    print("CPU is the client's; iperf3's is that of both ends")
    print(SEED)


def judge(verdicts, seen, of_default_memory):
    for engine in ENGINES:
        figure = clients.ratio(seen, engine, "iperf3 -P 4", "rate")
        verdicts.keep(f"{engine} GiB/s", bench.Figure([run.rate for run in seen[engine]]))
        verdicts.judge(f"{engine} over iperf3 -P 4, rate", figure.interval_text(), "at least 1",
                       figure.median >= 1)
    for engine in ENGINES[1:] if of_default_memory else ():
        peak = bench.Figure([run.peak_bytes for run in seen[engine]])
        verdicts.judge(f"{engine}, peak memory in MiB", peak.text("{:.1f}", 1 << 20),
                       "at most 8", peak.median <= MEMORY_MOST)


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--mebibytes", type=int, default=200, help="of an answer")
    parser.add_argument("--seconds", type=int, default=3, help="of a run of iperf3")
    parser.add_argument("--buffer", help="of each connection, such as 4m")
    parser.add_argument("--keep-body", action="store_true",
                        help="keep whole answers: memory for all connections' at once")
    arguments = parser.parse_args()
    if not shutil.which("iperf3"):
        bench.fail("iperf3 is not there (apt-get install iperf3)")
    length = arguments.mebibytes << 20
    bench.heading(f"{arguments.connections} connections x {arguments.mebibytes} MiB from lighttpd: "
                  f"{arguments.rounds} rounds")
    verdicts = bench.Verdicts("seed_downloads")
    with http.serving("lighttpd", {"testpayload": length}, pin=None) as (_, url):
        def downloads(engine):
            return lambda: sonde(engine, f"{url}/testpayload", length, arguments)
        variants = {engine: downloads(engine) for engine in ENGINES}
        variants["iperf3 -P 4"] = lambda: iperf3(arguments.seconds)
        seen = {name: [] for name in variants}
        for number in range(arguments.rounds):
            for name in variants if number % 2 == 0 else reversed(variants):
                seen[name].append(variants[name]())
    show(seen)
    judge(verdicts, seen, not (arguments.buffer or arguments.keep_body))
    print(f"load after: {bench.load()}")
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
