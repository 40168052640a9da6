"""What the benchmarks share: running sonde, statistics, tables, the verdict line."""

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SONDE = os.environ.get("SONDE", str(ROOT / "build" / "sonde"))


def fail(text):
    """Ends the benchmark: it could not be measured. A missed target is no failure."""
    sys.exit(f"{pathlib.Path(sys.argv[0]).stem}: {text}")


def options(doc):
    """The options that every benchmark has; add more, then parse_args."""
    if not os.access(SONDE, os.X_OK):
        fail(f"{SONDE} is not there: make build, or say where in $SONDE")
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    return parser


def load():
    """The load averages of 1 and 5 minutes: who else wants these CPUs."""
    one, five, _ = os.getloadavg()
    return f"{one:.2f} {five:.2f}"


def heading(text):
    print(f"{text}\nload before: {load()} on {os.cpu_count()} CPUs", flush=True)


def run_sonde(arguments, limit_seconds=120, pin=None):
    """Runs sonde to its end; its record."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "record.json")
        command = ["taskset", "-c", str(pin)] if pin is not None else []
        command += [SONDE, *arguments, "-q", "--json=" + path]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=limit_seconds, check=False)
        if done.returncode != 0:
            fail(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    if not record["complete"] or record["errors"]:
        fail(f"{' '.join(command)}: incomplete: {record['error']} {record['errors']}")
    return record


def process(record, role):
    for one in record["runs"][0]["processes"]:
        if one["role"] == role:
            return one
    return None


def metric(record, name):
    return record["runs"][0]["metrics"][name]["value"]


def cpu_per_operation(one):
    """User and system CPU ns per operation of a process; None where there is no such process."""
    if one is None:
        return None
    return (one["cpu_user_ns"] + one["cpu_system_ns"]) / one["cpu_operations"]


def entries_per_operation(one):
    """The process's own count of its calls to the kernel, per operation."""
    return sum(call["calls_per_operation"] for call in one["engine_calls"]["syscalls"])


def port_of_nobody():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def serving(*arguments, pin=None, scheme="tcp"):
    """Runs `sonde serve` on a port of its own: yields (process, port)."""
    port = port_of_nobody()
    command = ["taskset", "-c", str(pin)] if pin is not None else []
    command += [SONDE, "serve", f"{scheme}://127.0.0.1:{port}", "-q", *arguments]
    said = tempfile.TemporaryFile(mode="w+")
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=said)
    try:
        deadline = time.monotonic() + 10
        while True:
            if server.poll() is not None:
                said.seek(0)
                fail(f"{' '.join(command)}: exit {server.returncode}: {said.read().strip()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > deadline:
                fail(f"{' '.join(command)}: does not listen")
            time.sleep(0.02)
        yield server, port
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        said.close()


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def memory_of(pid):
    """What a process holds: {"Rss": bytes, "Pss": …, "Anonymous": …}; None where it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            lines = file.read().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


class Figure:
    """Repeated measurements of one thing: the median, always beside its spread."""

    def __init__(self, values):
        self.values = sorted(values)
        self.median = statistics.median(self.values)

    def text(self, form="{:.3g}", scale=1.0):
        low, middle, high = (form.format(value / scale)
                             for value in (self.values[0], self.median, self.values[-1]))
        return f"{middle} [{low}, {high}]"

    def interval(self, draws=2000):
        """Where the median lies with 95 %: a bootstrap over the rounds, the same at every call."""
        generator = random.Random(1)
        medians = sorted(statistics.median(generator.choices(self.values, k=len(self.values)))
                         for _ in range(draws))
        return medians[int(0.025 * draws)], medians[int(0.975 * draws) - 1]

    def interval_text(self, form="{:.3f}"):
        low, high = self.interval()
        return f"{form.format(self.median)} [{form.format(low)}, {form.format(high)}]"

    def data(self):
        return {"median": self.median, "least": self.values[0], "most": self.values[-1],
                "values": self.values}


def ratios(above, below):
    """The ratios of each round: both of a round saw the same noise of the machine."""
    return Figure([one / other for one, other in zip(above, below)])


def table(head, rows):
    """Prints aligned columns: the first to the left, the others to the right."""
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [str(cell).rjust(width) for cell, width in zip(row, widths)]
        cells[0] = str(row[0]).ljust(widths[0])
        print("  ".join(cells).rstrip(), flush=True)


class Verdicts:
    """The lines `NAME: value (target …) met|missed`, and the figures for --json."""

    def __init__(self, name):
        self.name = name
        self.figures = {"benchmark": name, "load_before": load(), "results": []}

    def judge(self, what, value, target, met):
        print(f"{self.name}: {what} {value} (target {target}) {'met' if met else 'missed'}",
              flush=True)
        self.figures["results"].append({"what": what, "value": value, "target": target,
                                        "met": bool(met)})

    def keep(self, key, value):
        self.figures[key] = value.data() if isinstance(value, Figure) else value

    def write(self, path):
        self.figures["load_after"] = load()
        if path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(self.figures, file, indent=1)
                file.write("\n")
