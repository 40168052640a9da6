"""What the tests of sonde's commands share: running the program, servers that behave or do not."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

import check_record

SONDE = os.path.abspath(os.environ.get("SONDE", "build/sonde"))
PATIENCE_S = 60  # nothing takes so long unless it hangs
ENGINES = ("threads", "poll", "epoll", "uring")


def engines():
    """Those that can serve here, as the program itself says."""
    return [name for name in ENGINES
            if run("call", "-e", name, "-n", "1", "local:", "-q").returncode == 0]


class Done:
    """A program that has ended."""

    def __init__(self, process, seconds, stdout, stderr):
        self.returncode, self.seconds = process.returncode, seconds
        self.stdout, self.stderr = stdout, stderr


def start(*arguments, **options):
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    prefix = options.pop("prefix", [])
    return subprocess.Popen([*prefix, SONDE, *arguments], text=True, stdin=subprocess.DEVNULL,
                            **options)


def end(process, began):
    """Waits for it; kills it where it hangs, which the caller sees in the status."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
    return Done(process, time.monotonic() - began, stdout or "", stderr or "")


def run(*arguments, **options):
    began = time.monotonic()
    return end(start(*arguments, **options), began)


def checked_record(case, text):
    """A record that keeps to the schema and to itself."""
    record = check_record.load(text)
    case.assertEqual(check_record.problems(record), [])
    return record


def read_record(case, path):
    with open(path, encoding="utf-8") as file:
        return checked_record(case, file.read())


def call_record(case, *arguments, **options):
    """`sonde call --json` that has to succeed."""
    done = run("call", "--json", *arguments, **options)
    case.assertEqual(done.returncode, 0, done.stderr)
    case.assertEqual(done.stderr, "")
    record = checked_record(case, done.stdout)
    case.assertTrue(record["complete"])
    return record


def check_one_line(case, done, status):
    """Exactly one error line, and the right exit status."""
    lines = done.stderr.splitlines()
    case.assertEqual(len(lines), 1, done.stderr)
    case.assertTrue(lines[0].startswith("sonde: "), lines[0])
    case.assertGreaterEqual(lines[0].count(": "), 2, lines[0])
    case.assertEqual(done.returncode, status, done.stderr)
    return lines[0]


def check_failed_record(case, record):
    case.assertFalse(record["complete"])
    case.assertIsNotNone(record["error"])
    case.assertTrue(any(not one["complete"] for one in record["runs"]))


def metric(one, key):
    return one["metrics"][key]["value"]


class Serving:
    """A `sonde serve` that has said what it listens on."""

    def __init__(self, *arguments, **options):
        self.process = start("serve", *arguments, **options)
        self.addresses = []
        count = sum(":" in argument and not argument.startswith("-") for argument in arguments)
        while len(self.addresses) < count:
            line = self.process.stderr.readline()
            if not line.startswith("sonde: serving on "):
                self.process.kill()
                rest = self.process.communicate()[1]
                raise AssertionError("does not serve: " + line + rest)
            self.addresses.append(line.split()[3])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def address(self):
        return self.addresses[0]

    def connect(self, index=0):
        """A client of Python's own."""
        scheme, rest = self.addresses[index].split(":", 1)
        if scheme == "unix":
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE_S)
            client.connect("\0" + rest[1:] if rest.startswith("@") else rest)
        else:
            host, port = rest.lstrip("/").rsplit(":", 1)
            client = socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S)
        return client

    def stop(self, number=signal.SIGTERM):
        began = time.monotonic()
        self.process.send_signal(number)
        return end(self.process, began)


class Misbehaving:
    """A server in Python: `handle(socket)` on a thread for each connection, which is closed when it
    returns. self.heard is set once a first byte has arrived at anyone."""

    def __init__(self, handle, backlog=128):
        self.handle = handle
        self.heard = threading.Event()
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.address = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.threads = []
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=(client,), daemon=True)
            thread.start()

    def serve(self, client):
        with client:
            try:
                self.handle(self, client)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.acceptor.join(PATIENCE_S)


def hear(server, client):
    data = client.recv(65536)
    if data:
        server.heard.set()
    return data


def never_answers(server, client):
    while hear(server, client):
        pass


def answers_too_much(server, client):
    while data := hear(server, client):
        client.sendall(data + b"\0")


def answers_wrong(server, client):
    while data := hear(server, client):
        client.sendall(bytes(255 - byte for byte in data))


def answers_too_little(server, client):
    rest = 1000
    while data := hear(server, client):
        client.sendall(data[:rest])
        rest -= min(rest, len(data))


def closes_at_once(server, client):
    hear(server, client)


def echoes(server, client):
    while data := hear(server, client):
        client.sendall(data)


class Folder:
    """A temporary folder for a test case."""

    def __init__(self, case):
        holder = tempfile.TemporaryDirectory(prefix="sonde-")
        case.addCleanup(holder.cleanup)
        self.path = holder.name

    def file(self, name):
        return os.path.join(self.path, name)
