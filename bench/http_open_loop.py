#!/usr/bin/python3
"""HTTP requests on a schedule: does sonde http --rate keep the rate, and how late are the answers beside
what wrk2 says?

nginx with one worker on one CPU, the client on the other, a file of 200 bytes, 100 connections. First
the most that is answered in a closed loop (wrk: a judge that is not sonde's), then half of that on a
schedule, every client once a round, every second round backwards. Both count a response time from the
instant at which the request was due. wrk2 is in no package: --wrk2 says where it was built; its first
10 seconds are thrown away (and so they are of sonde's, as warm-up), shorter runs are taken whole.
A ratio is of the same round; it stands with its median's 95 % interval (bootstrap over the rounds)."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench
import _clients as clients
import _http as http

BYTES = 200
OFF_MOST = 0.001
CALIBRATION_SECONDS = 10
UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9}


class Scheduled:
    """One run: the rate that was reached, percentiles of the response time, client CPU ns each."""

    def __init__(self, rate, percentiles, cpu_ns, lag_ns=None):
        self.rate, self.cpu_ns, self.lag_ns = rate, cpu_ns, lag_ns
        self.p50_ns, self.p99_ns, self.p999_ns = percentiles


def sonde(engine, url, rate, arguments):
    warm = CALIBRATION_SECONDS if arguments.seconds > CALIBRATION_SECONDS else 0
    ended, record = http.sonde_record(
        url, "-e", engine, "-c", str(arguments.connections), "--rate", str(rate), "-w",
        f"{warm}s", "-d", f"{arguments.seconds - warm}s")
    if bench.metric(record, "requests_failed"):
        bench.fail(f"sonde {engine}: {bench.metric(record, 'requests_failed')} requests failed")
    whole = bench.metric(record, "requests") * arguments.seconds / (arguments.seconds - warm)
    return Scheduled(bench.metric(record, "requests_per_second"),
                     [http.percentile(record, share) for share in ("50", "99", "99.9")],
                     ended.cpu_seconds * 1e9 / whole,
                     http.percentile(record, "99.9", "send_lag"))


def wrk2(path, url, rate, arguments):
    ended = http.Ended([path, "-t1", f"-c{arguments.connections}", f"-d{arguments.seconds}s",
                        f"-R{rate}", "-L", url])
    reached = re.search(r"^Requests/sec:\s+([\d.]+)", ended.out, re.MULTILINE)
    counted = re.search(r"^\s*(\d+) requests in", ended.out, re.MULTILINE)
    said = {share: float(value) * UNITS[unit] for share, value, unit in
            re.findall(r"^\s*([\d.]+)%\s+([\d.]+)(us|ms|s|m)\s*$", ended.out, re.MULTILINE)}
    if not (reached and counted and "99.900" in said):
        bench.fail(f"wrk2 said: {ended.out}")
    return Scheduled(float(reached[1]), [said[share] for share in ("50.000", "99.000", "99.900")],
                     ended.cpu_seconds * 1e9 / int(counted[1]))


def most(url, arguments):
    runs = [http.wrk(url, arguments.connections, min(arguments.seconds, 3)) for _ in range(3)]
    return bench.Figure([run.requests_per_second for run in runs]).median


def show(seen):
    def column(runs, key):
        values = [getattr(run, key) for run in runs]
        return "-" if None in values else bench.Figure(values).text("{:.2f}", 1e6)

    bench.table(["client", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "lag p99.9 ms",
                 "CPU us each"],
                [[name, bench.Figure([run.rate for run in runs]).text("{:,.1f}"),
                  *(column(runs, key) for key in ("p50_ns", "p99_ns", "p999_ns", "lag_ns")),
                  bench.Figure([run.cpu_ns for run in runs]).text("{:.2f}", 1e3)]
                 for name, runs in seen.items()])


def judge(verdicts, seen, rate):
    for name, runs in seen.items():
        off = bench.Figure([abs(run.rate / rate - 1) for run in runs])
        verdicts.keep(f"{name} rate", bench.Figure([run.rate for run in runs]))
        verdicts.keep(f"{name} p99.9 ns", bench.Figure([run.p999_ns for run in runs]))
        if name == "wrk2":
            print(f"  wrk2 is off the rate by {off.text('{:.4%}')}")
            continue
        verdicts.judge(f"{name}, off the rate of {rate:,}/s by", off.text("{:.4%}"),
                       f"at most {OFF_MOST:.1%}", off.median <= OFF_MOST)
        if "wrk2" in seen:
            for key, words in (("p999_ns", "p99.9"), ("p99_ns", "p99"), ("p50_ns", "p50")):
                figure = clients.ratio(seen, name, "wrk2", key)
                verdicts.judge(f"{name} over wrk2, {words}", figure.interval_text(), "at most 1",
                               figure.median <= 1)


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--rate", type=int, help="instead of half of the most")
    parser.add_argument("--wrk2", metavar="PATH", help="also run wrk2 (its program is named wrk)")
    arguments = parser.parse_args()
    if arguments.wrk2 and not os.access(arguments.wrk2, os.X_OK):
        bench.fail(f"{arguments.wrk2} is not there")
    bench.heading(f"HTTP requests on a schedule, answers of {BYTES} bytes from nginx, "
                  f"{arguments.connections} connections: {arguments.rounds} rounds of "
                  f"{arguments.seconds} s")
    verdicts = bench.Verdicts("http_open_loop")
    with http.serving("nginx", {str(BYTES): BYTES}) as (_, url):
        url = f"{url}/{BYTES}"
        rate = arguments.rate or int(most(url, arguments) / 2)
        print(f"at {rate:,} requests/s")
        variants = {"sonde epoll": lambda: sonde("epoll", url, rate, arguments),
                    "sonde uring": lambda: sonde("uring", url, rate, arguments)}
        if arguments.wrk2:
            variants["wrk2"] = lambda: wrk2(arguments.wrk2, url, rate, arguments)
        else:
            print("wrk2: not measured: --wrk2 says where it is")
        seen = {name: [] for name in variants}
        for number in range(arguments.rounds):
            for name in variants if number % 2 == 0 else reversed(variants):
                seen[name].append(variants[name]())
    show(seen)
    judge(verdicts, seen, rate)
    print(f"load after: {bench.load()}")
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
