#!/usr/bin/python3
"""sonde stream beside Debian's iperf3 and a bare loop: rate, and CPU time of both ends for 10 GB.

TCP over 127.0.0.1, cubic, one and four streams, interleaved: each round runs every variant once,
every second round backwards. CPU time is that of the whole processes (wait4), start and end
included, over the payload that arrived. A ratio is of the same round.

Blocks of 128 KiB are iperf3's default, and sonde's; those of 1 MiB the longest that iperf3 takes.

With --best, instead: every combination of engine, --zerocopy and block length (short runs of one
stream, in rounds of an order of their own), the best of them by rate and by CPU time, and these two
once more beside iperf3 with and without its own -Z (sendfile), as above."""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

BARE = str(bench.ROOT / "build" / "bench" / "bare_stream")
IPERF3 = shutil.which("iperf3")
SHORT_SECONDS = 0.5

ENGINES = ("threads", "poll", "epoll", "uring")
ZEROCOPY = ("none", "msg", "sendfile")
LENGTHS = ("64k", "128k", "256k", "512k", "1m", "4m")


def finish(process):
    """Waits for a child: its CPU seconds and those of its own children."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        bench.fail(f"{' '.join(process.args)}: exit {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def started(command):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    result = json.loads(process.stdout.read())
    return result, finish(process)


class Run:
    """One run: bytes/s that arrived, CPU seconds for 10 GB of them."""

    def __init__(self, rate, cpu_seconds, received_bytes):
        self.rate = rate
        self.cost = cpu_seconds / received_bytes * 1e10


def sonde(*more):
    def run(streams, seconds):
        record, cpu = started([bench.SONDE, "stream", "tcp:", "-P", str(streams), "-d",
                               f"{seconds}s", "-w", "0", "-q", "--congestion", "cubic", "--json",
                               *more])
        metrics = record["runs"][0]["metrics"]
        return Run(metrics["bytes_per_second"]["value"], cpu,
                   metrics["server_received_bytes"]["value"])
    return run


def bare(length_bytes):
    def run(streams, seconds):
        result, cpu = started([BARE, "-P", str(streams), "-l", str(length_bytes), "-d",
                               str(seconds)])
        return Run(result["bytes_per_second"], cpu, result["bytes"])
    return run


def iperf3_run(options):
    """A client against a server of its own: its result, and the CPU seconds of both."""
    port = str(bench.port_of_nobody())
    server = subprocess.Popen([IPERF3, "-s", "-1", "-B", "127.0.0.1", "-p", port],
                              stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True,
                              check=True).stdout:
                break
            time.sleep(0.01)
        result, cpu = started([IPERF3, "-c", "127.0.0.1", "-p", port, "-J", *options])
        return result, cpu + finish(server)
    finally:
        if server.returncode is None:
            server.kill()
            server.wait()


def iperf3(*more):
    def run(streams, seconds):
        result, cpu = iperf3_run(["-t", str(seconds), "-P", str(streams), "-C", "cubic", *more])
        received = result["end"]["sum_received"]
        return Run(received["bits_per_second"] / 8, cpu, received["bytes"])
    return run


VARIANTS = {
    "sonde": sonde(),
    "sonde epoll": sonde("-e", "epoll"),
    "sonde uring": sonde("-e", "uring"),
    "bare loop": bare(128 << 10),
    "iperf3": iperf3(),
    "sonde -l 1m": sonde("-l", "1m"),
    "bare loop, 1 MiB": bare(1 << 20),
    "iperf3 -l 1M": iperf3("-l", "1M"),
}


def compare(variants, streams, arguments):
    seen = {name: [] for name in variants}
    for number in range(arguments.rounds):
        names = list(variants) if number % 2 == 0 else list(reversed(variants))
        for name in names:
            seen[name].append(variants[name](streams, arguments.seconds))
    print(f"\n{streams} stream{'s' if streams > 1 else ''}")
    show(seen)
    return seen


def show(seen):
    bench.table(["", "GB/s", "CPU s/10 GB"],
                [[name, bench.Figure([run.rate for run in runs]).text("{:.2f}", 1e9),
                  bench.Figure([run.cost for run in runs]).text("{:.2f}")]
                 for name, runs in seen.items()])


def ratio(seen, one, other, what):
    return bench.ratios([getattr(run, what) for run in seen[one]],
                        [getattr(run, what) for run in seen[other]])


def judge(verdicts, seen, streams, one, other, what, least=None, most=None):
    figure = ratio(seen, one, other, what)
    verdicts.judge(f"{streams} streams, {one} over {other}, {what}", figure.text("{:.3f}"),
                   f"at least {least}" if least else f"at most {most}",
                   figure.median >= least if least else figure.median <= most)


def search(rounds):
    """Every combination that there is; the best by rate, and by CPU time, as options."""
    combinations = [(engine, how, length) for engine in ENGINES for how in ZEROCOPY
                    for length in LENGTHS if (engine, how) != ("uring", "sendfile")]
    seen = {combination: [] for combination in combinations}
    for _ in range(rounds):
        random.shuffle(combinations)
        for engine, how, length in combinations:
            seen[engine, how, length].append(
                sonde("-e", engine, "-Z", how, "-l", length)(1, SHORT_SECONDS))

    def median(key, what):
        return statistics.median(getattr(run, what) for run in seen[key])
    show({" ".join(key): seen[key]
          for key in sorted(seen, key=lambda key: median(key, "rate"), reverse=True)})
    return (max(seen, key=lambda key: median(key, "rate")),
            min(seen, key=lambda key: median(key, "cost")))


def best(verdicts, arguments):
    variants = {"iperf3": iperf3(), "iperf3 -Z": iperf3("-Z"), "iperf3 -l 1M": iperf3("-l", "1M")}
    for what, (engine, how, length) in zip(("fastest", "cheapest"), search(arguments.rounds)):
        variants[f"{what}: -e {engine} -Z {how} -l {length}"] = sonde(
            "-e", engine, "-Z", how, "-l", length)
    seen = compare(variants, 1, arguments)
    fastest, cheapest = list(variants)[-2:]
    judge(verdicts, seen, 1, fastest, "iperf3", "rate", least=1)
    judge(verdicts, seen, 1, cheapest, "iperf3", "cost", most=0.9)


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--best", action="store_true", help="search engine, zero-copy and length")
    arguments = parser.parse_args()
    if not IPERF3:
        bench.fail("iperf3 is not there (apt-get install iperf3)")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    bench.heading(f"bulk TCP streams over loopback: {arguments.rounds} rounds of "
                  f"{arguments.seconds} s")
    verdicts = bench.Verdicts("stream_iperf3")
    if arguments.best:
        best(verdicts, arguments)
    else:
        for streams in (1, 4):
            seen = compare(VARIANTS, streams, arguments)
            judge(verdicts, seen, streams, "sonde", "iperf3", "rate",
                  least=1 if streams == 1 else 3)
            judge(verdicts, seen, streams, "sonde", "iperf3", "cost", most=0.9)
            judge(verdicts, seen, streams, "sonde", "bare loop", "rate", least=0.97)
            judge(verdicts, seen, streams, "sonde", "bare loop", "cost", most=1.03)
            judge(verdicts, seen, streams, "sonde -l 1m", "iperf3", "cost", most=0.9)
            judge(verdicts, seen, streams, "sonde -l 1m", "iperf3 -l 1M", "rate", least=1)
    verdicts.write(arguments.json)


if __name__ == "__main__":
    main()
