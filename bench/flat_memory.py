#!/usr/bin/python3
"""That sonde's memory does not grow at full rate, and that its hot path allocates nothing.

Flat: memory of the client and of its own server each second from the end of the warm-up; one case
is observed. Neither the address space nor its private writable part may grow by a byte: whatever
sonde may ever touch has been asked for by then, which bounds a run of any length. RSS may rise a
little within it, where a latency is the first of its size and touches another page of a histogram:
this must level off: the last third of a run may add a third of what the first added, or 64 KiB.
A leak adds as much in the last as in the first.

Allocations: malloc, calloc, realloc and memalign of each thread during two seconds in the window of
a run of four, by a preloaded counter. Worker threads must make none; the main thread's are shown."""

import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

FLAT = [
    # name, options
    ("epoll, gather", ["-e", "epoll"]),
    ("epoll, gather, --observe server", ["-e", "epoll", "--observe", "server",
                                         "--require-observe"]),
    ("uring, 100 connections, --high 1", ["-e", "uring", "-c", "100", "--high", "1"]),
]
ALLOCATING = [
    ("epoll, gather", ["-e", "epoll"]),
    ("epoll, each", ["-e", "epoll", "--write", "each"]),
    ("epoll, queue=10ms", ["-e", "epoll", "--write", "queue=10ms"]),
    ("epoll, 100 connections, --high 1", ["-e", "epoll", "-c", "100", "--high", "1"]),
    ("uring, gather", ["-e", "uring"]),
    ("uring, 100 connections, --high 1", ["-e", "uring", "-c", "100", "--high", "1"]),
    ("poll, 100 connections, --high 1", ["-e", "poll", "-c", "100", "--high", "1"]),
    ("threads, 8 connections", ["-e", "threads", "-c", "8", "--high", "1"]),
    ("epoll, --rate 20k, Poisson", ["-e", "epoll", "--rate", "20k", "--arrival", "poisson"]),
]
LATE_GROWTH_LEAST = 64 * 1024
ROWS, ROW = 4096, struct.Struct("=iiQ")


def start(options, seconds, environment=None):
    """Starts sonde call with its own server; (client, pid of the server)."""
    client = subprocess.Popen([bench.SONDE, "call", "-d", f"{seconds}s", "-w", "1s", "-q",
                               *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 10
    while not (children := bench.children_of(client.pid)):
        if client.poll() is not None or time.monotonic() > deadline:
            bench.fail("sonde call has no server: " + client.communicate()[1].strip())
        time.sleep(0.01)
    return client, children[0]


def end(client, options):
    said = client.communicate(timeout=30)[1]
    if client.returncode != 0:
        bench.fail(f"sonde call {' '.join(options)}: exit {client.returncode}: {said.strip()}")


def spaces_of(pid):
    """The address space, and its private writable part (VmSize, VmData)."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        fields = file.read().split()
    page = os.sysconf("SC_PAGE_SIZE")
    return int(fields[0]) * page, int(fields[5]) * page


def flat(options, seconds):
    """(RSS, address space, writable) each second of both processes."""
    client, server = start(options, seconds)
    began = time.monotonic()
    samples = {"client": [], "server": []}
    try:
        for second in range(2, seconds + 1):  # the warm-up lasts one
            time.sleep(max(0, began + second - time.monotonic()))
            for role, pid in (("client", client.pid), ("server", server)):
                memory = bench.memory_of(pid)
                if memory is None:
                    bench.fail(f"the {role} ended early")
                samples[role].append((memory["Rss"], *spaces_of(pid)))
        end(client, options)
    finally:
        if client.poll() is None:
            client.kill()
            client.wait()
    return samples


def counts(path):
    with open(path, "rb") as file:
        rows = ROW.iter_unpack(file.read())
        return {(process, thread): count for process, thread, count in rows if process}


def allocations(options, library, folder):
    """Allocations of {(process, thread)} over two seconds of the window, and over all the run."""
    path = os.path.join(folder, "counts")
    with open(path, "wb") as file:
        file.write(bytes(ROWS * ROW.size))
    client, server = start(options, 4, {**os.environ, "LD_PRELOAD": library,
                                        "COUNT_ALLOCATIONS": path})
    try:
        time.sleep(1.8)  # 1 s of warm-up, and some of the window
        before = counts(path)
        time.sleep(2)
        after = counts(path)
        end(client, options)
    finally:
        if client.poll() is None:
            client.kill()
            client.wait()
    result = {}
    for (process, thread), count in after.items():
        role = {client.pid: "client", server: "server"}.get(process)
        if role is None:
            continue
        kind = "main thread" if process == thread else "workers"
        window, ever = result.get((role, kind), (0, 0))
        result[role, kind] = (window + count - before.get((process, thread), 0), ever + count)
    return result


def levelling(rss):
    """Growth of RSS in the first and in the last third of a run."""
    third = len(rss) // 3
    return rss[third] - rss[0], rss[-1] - rss[-1 - third]


def show_flat(arguments, verdicts):
    rows, worst, level, more = [], 0, True, 0
    for name, options in FLAT:
        samples = flat(options, arguments.seconds)
        verdicts.keep("memory: " + name, samples)
        for role, triples in samples.items():
            rss, space, writable = zip(*triples)
            early, late = levelling(rss)
            worst = max(worst, late)
            level = level and late <= max(LATE_GROWTH_LEAST, early // 3)
            growth = max(max(space) - min(space), max(writable) - min(writable))
            more = max(more, growth)
            rows.append([name, role, len(rss), *(f"{value / 1024:,.0f}" for value in (
                rss[0], rss[-1], max(rss) - min(rss), early, late, writable[-1], growth))])
    bench.table(["KiB", "end", "samples", "RSS first", "last", "range", "first third",
                 "last third", "writable", "range"], rows)
    verdicts.judge(f"address space in {arguments.seconds} s", f"{more / 1024:,.0f} KiB more",
                   "0", more == 0)
    verdicts.judge("RSS in the last third", f"{worst / 1024:,.0f} KiB more",
                   "a third of the first third's, or 64 KiB", level)


def show_allocations(arguments, verdicts):
    rows, of_workers = [], 0
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "count_allocations.so")
        source = pathlib.Path(__file__).resolve().parent / "_count_allocations.c"
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-D_GNU_SOURCE", "-shared", "-fPIC",
                        "-fno-builtin", "-o", library, source], check=True)
        for name, options in ALLOCATING:
            found = allocations(options, library, folder)
            cells = []
            for role in ("client", "server"):
                for kind in ("workers", "main thread"):
                    window, ever = found.get((role, kind), (0, 0))
                    cells.append(f"{window} of {ever}")
                    if kind == "workers":
                        of_workers += window
                        if role == "client" and ever == 0:
                            bench.fail("the counter saw no allocation of the client's workers: "
                                       "is the preload ignored?")
            verdicts.keep("allocations: " + name, {f"{role}, {kind}": value for (role, kind), value
                                                   in found.items()})
            rows.append([name, *cells])
    bench.table(["allocations, 2 s of all", "client workers", "client main", "server workers",
                 "server main"], rows)
    verdicts.judge("allocations of workers in 2 s", of_workers, "0", of_workers == 0)


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="length of each flat run")
    arguments = parser.parse_args()
    if arguments.seconds < 3:
        parser.error("--seconds: at least 3")
    bench.heading(f"memory at full rate: {len(FLAT)} runs of {arguments.seconds} s")
    verdicts = bench.Verdicts("flat_memory")
    show_flat(arguments, verdicts)
    show_allocations(arguments, verdicts)
    verdicts.write(arguments.json)


main()
