"""What the HTTP benchmarks share: web servers of a private directory, clients of several kinds, each
measured alike: by what the kernel says of the whole process when it has ended."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import _bench as bench
from _clients import BUILT, CLIENT_CPU, SERVER_CPU, Run

GIB = 1 << 30
LIMIT_SECONDS = 300

NGINX = """
{user}
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on; # both as Debian has it: head and file in one segment
    keepalive_requests 10000000;
    keepalive_timeout 300s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}/files; }}
}}
"""
LIGHTTPD = """
server.document-root = "{folder}/files"
server.bind = "127.0.0.1"
server.port = {port}
server.max-keep-alive-requests = 10000000
server.max-connections = 4096
server.max-fds = 8192
server.listen-backlog = 4096
"""
# At the end of a run alone: no request and no answer goes through Lua.
WRK_DONE = """
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\\n{"requests": %d, "bytes": %d, "seconds": %.6f, "failed": %d, "p50": %d, "p99": %d}\\n',
        summary.requests, summary.bytes, summary.duration / 1e6, errors.connect + errors.read +
        errors.write + errors.status + errors.timeout, latency:percentile(50) * 1000,
        latency:percentile(99) * 1000))
end
"""


# Of the same kind as sonde's: its receives are lasting ones where connections are many.
BARE_OF = {"epoll": "bare epoll", "uring": "bare uring, multishot"}


def program(name, package):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        bench.fail(f"{name} is not there (apt-get install {package})")
    return path


def bare_program(name):
    path = BUILT / name
    if not os.access(path, os.X_OK):
        bench.fail(f"{path} is not there: make build")
    return str(path)


def wait_for(port, server, said):
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if server.poll() is not None or time.monotonic() > deadline:
            said.seek(0)
            bench.fail(f"{' '.join(server.args)}: does not listen: {said.read().strip()}")
        time.sleep(0.02)


@contextlib.contextmanager
def serving(name, files, pin=SERVER_CPU):
    """A web server of one process (nginx: one worker) on a CPU, over files of a private directory,
    {"200": 200} is one of 200 bytes: yields (the pid that serves, its URL)."""
    with tempfile.TemporaryDirectory(prefix="sonde-bench-") as folder, \
            tempfile.TemporaryFile(mode="w+") as said:
        os.mkdir(os.path.join(folder, "files"))
        for file_name, length in files.items():
            with open(os.path.join(folder, "files", file_name), "wb") as file:
                for _ in range(length >> 20):
                    file.write(b"x" * (1 << 20))
                file.write(b"x" * (length & 0xfffff))
        port = bench.port_of_nobody()
        configuration = pathlib.Path(folder, "configuration")
        user = "user root;" if os.geteuid() == 0 else ""
        text = {"nginx": NGINX, "lighttpd": LIGHTTPD}[name]
        configuration.write_text(text.format(folder=folder, port=port, user=user))
        how = {"nginx": ["-e", "stderr", "-p", folder, "-c"], "lighttpd": ["-D", "-f"]}[name]
        command = [program(name, "nginx-light" if name == "nginx" else name), *how,
                   str(configuration)]
        pinned = ["taskset", "-c", pin] if pin else []
        server = subprocess.Popen([*pinned, *command], stdin=subprocess.DEVNULL, stdout=said,
                                  stderr=said)
        try:
            wait_for(port, server, said)
            # taskset has become the server; nginx's worker is its child.
            pid = bench.children_of(server.pid)[0] if name == "nginx" else server.pid
            yield pid, f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


class Ended:
    """A child that has ended: what it wrote, its CPU seconds, the most memory that it was seen to
    hold at once."""

    def __init__(self, command, pin=CLIENT_CPU):
        pinned = ["taskset", "-c", pin] if pin else []
        with tempfile.TemporaryFile(mode="w+") as out, tempfile.TemporaryFile(mode="w+") as error:
            start = time.monotonic()
            child = subprocess.Popen([*pinned, *command], stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=error)
            timer = threading.Timer(LIMIT_SECONDS, child.kill)
            timer.start()
            self.peak_bytes = self.peak_virtual_bytes = 0
            while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                self.look(child.pid)
                time.sleep(0.05)
            _, status, usage = os.wait4(child.pid, 0)
            self.seconds = time.monotonic() - start
            timer.cancel()
            child.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_seconds = usage.ru_utime + usage.ru_stime
            for file in (out, error):
                file.seek(0)
            self.out, self.error = out.read(), error.read()
        if child.returncode:
            bench.fail(f"{' '.join(command)}: exit {child.returncode}: "
                       f"{(self.error or self.out).strip()[-500:]}")

    def look(self, pid):
        """ru_maxrss would begin with what python holds; this is of the program alone."""
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
            if "VmHWM" in fields and fields["Name"].strip() != "taskset":
                self.peak_bytes = int(fields["VmHWM"].split()[0]) * 1024
                self.peak_virtual_bytes = int(fields["VmPeak"].split()[0]) * 1024


class Result:
    """What a client says of its run, beside what it cost: requests and bytes are all that the CPU time
    of the process was for. `loop`: CPU ns, requests and GiB of the measured time alone, as programs say
    that look at themselves; without what starting and ending takes, which short runs would show."""

    def __init__(self, ended, requests, wire_bytes, seconds, p50_ns=None, p99_ns=None, failed=0):
        self.ended, self.requests, self.gibibytes = ended, requests, wire_bytes / GIB
        self.requests_per_second = requests / seconds
        self.gibibytes_per_second = self.gibibytes / seconds
        self.p50_ns, self.p99_ns, self.failed = p50_ns, p99_ns, failed
        self.loop = None

    def of_requests(self):
        return self.run(self.requests, self.requests_per_second, 1)

    def of_gibibytes(self):
        return self.run(self.gibibytes, self.gibibytes_per_second, 2)

    def run(self, count, rate, what):
        run = Run(count, rate, self.ended.cpu_seconds * 1e9 / count, self.p50_ns, self.p99_ns,
                  self.failed)
        run.loop_ns = self.loop and self.loop[0] / self.loop[what]
        return run


def wrk(url, connections, seconds):
    with tempfile.NamedTemporaryFile(mode="w", suffix=".lua") as script:
        script.write(WRK_DONE)
        script.flush()
        ended = Ended([program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s",
                       script.name, url])
    seen = json.loads(ended.out.strip().rpartition("\n")[2])
    return Result(ended, seen["requests"], seen["bytes"], seen["seconds"], seen["p50"],
                  seen["p99"], seen["failed"])


def h2load(url, connections, seconds):
    """It has no percentiles unless it writes a line for each request, which would cost it CPU."""
    ended = Ended([program("h2load", "nghttp2-client"), "--h1", "-t1", f"-c{connections}", "-D",
                   f"{seconds}", url])
    took = re.search(r"^finished in ([\d.]+)(us|ms|s)\b", ended.out, re.MULTILINE)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", ended.out)
    traffic = re.search(r"^traffic: \S+ \((\d+)\) total", ended.out, re.MULTILINE)
    if not (took and counts and traffic):
        bench.fail(f"h2load said: {ended.out}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1}[took[2]]
    return Result(ended, int(counts[1]), int(traffic[1]), float(took[1]) * unit,
                  failed=sum(map(int, counts.groups()[1:])))


def bare(engine, url, connections, seconds, *more):
    address, _, path = url.removeprefix("http://").partition("/")
    host, port = address.split(":")
    ended = Ended([bare_program(f"bare_http_{engine}"), host, port, "/" + path, str(connections),
                   str(seconds), *more])
    seen = json.loads(ended.out)
    result = Result(ended, seen["calls"], seen["bytes"], seen["seconds"], seen["p50_ns"],
                    seen["p99_ns"])
    result.loop = (seen["cpu_ns_per_call"] * seen["calls"], seen["calls"], seen["bytes"] / GIB)
    return result


def sonde_record(*arguments, pin=CLIENT_CPU):
    """One run of `sonde http`: the process, and its record."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "record.json")
        ended = Ended([bench.SONDE, "http", *arguments, "-q", "--json=" + path], pin)
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    if not record["complete"] or record["errors"]:
        bench.fail(f"sonde http {' '.join(arguments)}: incomplete: {record['error']} "
                   f"{record['errors']}")
    return ended, record


def percentile(record, share, histogram="response_time"):
    return record["runs"][0]["histograms"][histogram]["percentiles"][share]


def sonde(engine, url, body_bytes, connections, seconds, *more):
    """What is in flight at the end comes to its end, outside the window: the rates are without it, what
    the CPU time was for is with it."""
    ended, record = sonde_record(url, "-e", engine, "-c", str(connections), "-d", f"{seconds}s",
                                 "-w", "0", *more)
    one = {name: bench.metric(record, name) for name in (
        "requests", "finished_after", "requests_failed", "header_bytes", "body_bytes",
        "body_bytes_per_second", "requests_per_second")}
    answered = one["requests"] + one["finished_after"]
    result = Result(ended, answered, answered * body_bytes + one["header_bytes"], seconds,
                    percentile(record, "50"), percentile(record, "99"), one["requests_failed"])
    result.requests_per_second = one["requests_per_second"]
    result.gibibytes_per_second = one["body_bytes_per_second"] / GIB
    process = bench.process(record, "client")
    result.loop = (process["cpu_user_ns"] + process["cpu_system_ns"], one["requests"],
                   (one["header_bytes"] + one["body_bytes"]) / GIB)
    return result


def clients(url, body_bytes, connections, seconds, form):
    """Every client as {name: function that runs it once}; `form` of Result makes its Run."""
    every = {
        "sonde epoll": lambda: sonde("epoll", url, body_bytes, connections, seconds),
        "sonde uring": lambda: sonde("uring", url, body_bytes, connections, seconds),
        "wrk": lambda: wrk(url, connections, seconds),
        "h2load": lambda: h2load(url, connections, seconds),
        "bare epoll": lambda: bare("epoll", url, connections, seconds),
        "bare uring": lambda: bare("uring", url, connections, seconds),
        "bare uring, multishot": lambda: bare("uring", url, connections, seconds, "multishot"),
    }

    def once(client):
        return lambda: form(client())
    return {name: once(client) for name, client in every.items()}
