#!/usr/bin/python3
"""What one held WebSocket connection costs: at the client, at sonde's own server, in the kernel.

Each case is `sonde ws --mode hold` in fresh processes with 1,000 and with 9,000 connections, looked at
in the middle of the window; the difference over 8,000 is the cost of one. Client and server: anonymous
memory (smaps_rollup), which is heap and stacks. Kernel: the slabs of both ends' sockets together, in
active objects (/proc/slabinfo, for root alone) and as the whole of /proc/meminfo's Slab, which others
change too; and what TCP has in buffers (/proc/net/sockstat). At last the same for a million, in
processes of 20,000 files each."""

import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _bench as bench

FEW, MANY = 1000, 9000
ENGINES = ("epoll", "poll", "uring")
MOST_BYTES = 1024
WAIT_SECONDS = 60
SLABS = ("TCP", "sock_inode_cache", "filp", "eventpoll_epi", "dentry", "lsm_inode_cache")
# Of a process: standard input, output and error, the engine's, the record's, listeners.
FILES_EACH, FILES_BESIDE = 20_000, 64


def slabs():
    """Bytes in the active objects of each slab; none where it cannot be read."""
    try:
        with open("/proc/slabinfo", encoding="ascii") as file:
            rows = [line.split() for line in file.read().splitlines()[2:]]
    except PermissionError:
        return {}
    return {row[0]: int(row[1]) * int(row[3]) for row in rows if row[0] in SLABS}


def field(path, *words):
    """The number behind these words, in the line that begins with the first."""
    with open(path, encoding="ascii") as file:
        for line in file:
            parts = line.split()
            if parts[0] == words[0] and words[-1] in parts:
                return int(parts[parts.index(words[-1]) + 1])
    return 0


def established(port):
    with open("/proc/net/tcp", encoding="ascii") as file:
        next(file)
        return sum(line.split()[3] == "01" and int(line.split()[2].split(":")[1], 16) == port
                   for line in file)


def listener_of(pid):
    """The port on which a process's own server listens."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    with open("/proc/net/tcp", encoding="ascii") as file:
        next(file)
        for line in file:
            parts = line.split()
            if parts[3] == "0A" and parts[9] in inodes:
                return int(parts[1].split(":")[1], 16)
    return None


def looked_at(pid, server):
    now = {"client": bench.memory_of(pid)["Anonymous"],
           "server": bench.memory_of(server)["Anonymous"],
           "kernel, all slabs": field("/proc/meminfo", "Slab:") * 1024,
           "TCP buffers": field("/proc/net/sockstat", "TCP:", "mem") * 4096}
    for name, used in slabs().items():
        now["kernel, " + name] = used
    return now


def held(engine, count):
    """What everything holds while so many connections are held."""
    process = subprocess.Popen(
        [bench.SONDE, "ws", "--mode", "hold", "-e", engine, "-c", str(count), "--ramp", "2s", "-d",
         "300s", "-q"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + WAIT_SECONDS
    port = None
    try:
        while port is None or established(port) < count:
            if process.poll() is not None or time.monotonic() > deadline:
                bench.fail(f"{count} connections were not opened")
            time.sleep(0.2)
            servers = bench.children_of(process.pid)
            port = port or (listener_of(servers[0]) if servers else None)
        time.sleep(0.5)
        return looked_at(process.pid, bench.children_of(process.pid)[0])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_SECONDS)


def for_a_million(of):
    """The arithmetic of the documentation."""
    count = 1_000_000
    each = FILES_EACH - FILES_BESIDE
    processes = -(-count // each)
    ports = field_ports()
    slab = of["kernel, all slabs"].median
    named = sum(figure.median for key, figure in of.items()
                if key.startswith("kernel, ") and key != "kernel, all slabs")
    bench.table(["for a million connections", ""], [
        ["client's memory, GiB", f"{of['client'].median * count / 2**30:.2f}"],
        ["server's memory, GiB", f"{of['server'].median * count / 2**30:.2f}"],
        ["kernel, both ends, GiB", f"{max(slab, named) * count / 2**30:.2f}"],
        [f"processes at each end ({FILES_EACH:,} files)", f"{processes}"],
        [f"source addresses ({ports:,} ports each)", f"{-(-count // ports)}"]])


def field_ports():
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low, high = (int(word) for word in file.read().split())
    return high - low + 1


def main():
    parser = bench.options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    bench.heading(f"one held connection, from {FEW:,} to {MANY:,}: {arguments.rounds} rounds")
    verdicts = bench.Verdicts("held_connections")
    costs = {engine: [] for engine in ENGINES}
    for _ in range(arguments.rounds):
        for engine in ENGINES:
            few, many = held(engine, FEW), held(engine, MANY)
            costs[engine].append({key: (many[key] - few[key]) / (MANY - FEW) for key in many})
    figures = {engine: {key: bench.Figure([one[key] for one in of]) for key in of[0]}
               for engine, of in costs.items()}
    bench.table(["bytes a connection", *ENGINES],
                [[key, *(figures[engine][key].text("{:.0f}") for engine in ENGINES)]
                 for key in figures[ENGINES[0]]])
    for_a_million(figures["epoll"])
    for engine, of in figures.items():
        verdicts.keep(engine, {key: figure.data() for key, figure in of.items()})
        for end in ("client", "server"):
            verdicts.judge(f"{engine}, {end}", of[end].text("{:.0f}") + " bytes",
                           f"less than {MOST_BYTES}", of[end].median < MOST_BYTES)
    verdicts.write(arguments.json)


main()
