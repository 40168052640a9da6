"""`sonde http` against servers that break HTTP, stall, reset, refuse, die and come back: what they do is
an error by its own name, never a success, and never the end of what others answer."""

import collections
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from http_servers import adds_up, errors, finished, http_record
from sonde_program import (PATIENCE_S, Misbehaving, check_one_line, checked_record, engines, metric,
                           run)
from websocket_raw import Wire, reset

HERE = os.path.dirname(os.path.abspath(__file__))
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SILENCE = ("receive", "nothing came within --timeout")
TOO_LONG = ("receive", "an answer was not whole within --max-time")
UNANSWERED = ("protocol", "the end of the connection before an answer")
GONE = {UNANSWERED, ("receive", "ECONNRESET"), ("send", "EPIPE"), ("send", "ECONNRESET")}
# What only smaller limits than the usual ones refuse.
LIMITED = ("HEAD_LONG", "HEAD_LINES", "INTERIM_MANY")

Row = collections.namedtuple("Row", "asked ends name text data")


def corpus():
    """The rows of tests/unit/http_hostile_answers.h."""
    root = os.path.join(HERE, "..", "..")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    with tempfile.TemporaryDirectory(prefix="sonde-") as folder:
        program = os.path.join(folder, "corpus")
        subprocess.run([compiler, "-D_GNU_SOURCE", "-w", "-O1", "-o", program,
                        os.path.join(HERE, "http_corpus.c")] +
                       ["-I" + os.path.join(root, name)
                        for name in ("src", "tests/unit", "tests/judge")], check=True)
        printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    rows = [line.split("\t") for line in printed.splitlines()]
    return [Row(asked, int(ends), name, text, bytes.fromhex(data))
            for asked, ends, name, text, data in rows]


class Raw(Misbehaving):
    """A server whose connections are served by these functions of a Wire in turn, and all further
    ones by the last."""

    def __init__(self, *turns, **options):
        self.turns, self.served, self.lock = turns, 0, threading.Lock()
        super().__init__(self.one, **options)
        self.url = self.address.replace("tcp:", "http:") + "/"

    def one(self, _, client):
        with self.lock:
            turn = self.turns[min(self.served, len(self.turns) - 1)]
            self.served += 1
        client.settimeout(PATIENCE_S)
        try:
            turn(Wire(client))
        except EOFError:
            pass


def serves(wire):
    """In order, until the client leaves."""
    while True:
        wire.head()
        wire.send(GOOD)


def says(*pieces, pause=0.0):
    """Answers the first request so and ends the connection."""
    def turn(wire):
        wire.head()
        for piece in pieces:
            wire.send(piece)
            time.sleep(pause)
        ends(wire)
    return turn


def ends(wire):
    """Not by a reset, which what it has not read would make of it."""
    wire.client.shutdown(socket.SHUT_WR)
    wire.rest()


def drips(data):
    def turn(wire):
        wire.head()
        wire.drip(data)
        ends(wire)
    return turn


def says_and_waits(*pieces):
    def turn(wire):
        wire.head()
        wire.send(*pieces)
        wire.rest()
    return turn


def says_and_resets(*pieces):
    def turn(wire):
        wire.head()
        wire.send(*pieces)
        time.sleep(0.05)  # what was said is read before it
        reset(wire.client)
    return turn


class Corpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = corpus()

    def test_it_is_there(self):
        self.assertGreaterEqual(len(self.rows), 350)

    def broken(self, engine, rows, act, *arguments):
        """Each on a connection of its own, an answer in order behind it."""
        turns = itertools.chain.from_iterable((act(row.data), says(GOOD)) for row in rows)
        with Raw(*turns) as server:
            one = http_record(self, server.url, "--no-keep-alive", "-c", "1", "-n",
                              str(2 * len(rows)), "-e", engine, "--max-response", "1000",
                              "--timeout", "20s", *arguments)
        self.assertEqual(errors(one), collections.Counter(("protocol", row.text) for row in rows))
        self.assertEqual(metric(one, "requests"), len(rows))
        self.assertEqual(metric(one, "requests_failed"), len(rows))
        self.assertEqual(metric(one, "unexpected"), 0)

    def test_whole(self):
        rows = [row for row in self.rows if row.asked == "G" and row.name not in LIMITED]
        self.assertGreater(len(rows), 300)
        for engine in engines():
            with self.subTest(engine=engine):
                self.broken(engine, rows, says)

    def test_cut(self):
        """What is behind a whole answer may come too late to be seen, so that those are not here."""
        rows = [row for row in self.rows
                if row.asked == "G" and row.name not in LIMITED and row.ends == 0]
        for engine in engines():
            with self.subTest(engine=engine, how="single bytes"):
                self.broken(engine, rows, drips)
            some = rows[engines().index(engine)::4]
            with self.subTest(engine=engine, how="halves"):
                self.broken(engine, some, lambda data: says(
                    data[:len(data) // 2], data[len(data) // 2:], pause=0.002))

    def test_pipelined(self):
        """Two requests at a time: the first answer counts where it is whole, and nothing else."""
        rows = [row for row in self.rows if row.asked == "GG" and row.name not in LIMITED]
        for engine in engines():
            for row in rows:
                with self.subTest(engine=engine, row=row.data), Raw(says(row.data),
                                                                    serves) as server:
                    one = http_record(self, server.url, "-c", "1", "-n", "6", "--pipeline", "2",
                                      "-e", engine, "--expect-status", "any")
                    failed = metric(one, "requests_failed")
                    self.assertEqual(metric(one, "requests") + failed, 6)
                    if metric(one, "requests_repeated"):  # as the first answer had said
                        self.assertEqual((row.name, one["errors"], failed), ("UNANSWERED", [], 0))
                    else:
                        self.assertEqual(errors(one), {("protocol", row.text): 1})
                        self.assertIn(failed, (1, 2))


class Servers(unittest.TestCase):
    """Single servers: what they do on a first connection, and then serve."""

    def one_fails(self, turn, expected, *arguments, count=6, failed=1):
        """A first connection that fails, and others in its place."""
        for engine in engines():
            for way in ((), ("--no-keep-alive",)):
                with self.subTest(engine=engine, way=way, expected=expected), \
                        Raw(turn, serves) as server:
                    one = http_record(self, server.url, "-n", str(count), "-c", "1", "-e", engine,
                                      *way, *arguments)
                    self.assertEqual(errors(one), {expected: 1})
                    self.assertEqual(metric(one, "requests_failed"), failed)
                    self.assertEqual(metric(one, "requests"), count - failed)

    def test_stalls(self):
        limit = ("--timeout", "150ms")
        self.one_fails(lambda wire: wire.rest(), SILENCE, *limit)
        for said in (b"H", GOOD[:30], LONG, LONG + b"half", CHUNKED, CHUNKED + b"5\r\nhel",
                     CHUNKED + b"5\r\nhello\r\n0\r\nX: y"):
            self.one_fails(says_and_waits(said), SILENCE, *limit)

    def test_a_server_that_never_reads(self):
        def turn(wire):
            time.sleep(1)

        with tempfile.NamedTemporaryFile() as body:
            body.write(bytes(32 << 20))
            body.flush()
            for engine in engines():
                with self.subTest(engine=engine), Raw(turn) as server:
                    done = run("http", server.url, "-n", "1", "--body", body.name, "-e", engine,
                               "--timeout", "200ms", "-q")
                    self.assertIn("--timeout", check_one_line(self, done, 1))

    def test_slowly(self):
        """Byte by byte: each is in time, all of them are not."""
        def turn(wire):
            wire.head()
            for i in range(len(GOOD)):
                wire.send(GOOD[i:i + 1])
                time.sleep(0.03)
            wire.rest()
        self.one_fails(turn, TOO_LONG, "--max-time", "250ms", "--timeout", "2s")

    def test_resets(self):
        self.one_fails(says_and_resets(), ("receive", "ECONNRESET"))
        self.one_fails(says_and_resets(LONG, b"some"), ("receive", "ECONNRESET"))
        self.one_fails(says_and_resets(CHUNKED, b"5\r\nhello\r\n"), ("receive", "ECONNRESET"))
        self.one_fails(says_and_resets(b"HTTP/1.1 200 OK\r\n\r\nsome"), ("receive", "ECONNRESET"))

    def test_ends(self):
        self.one_fails(says(), UNANSWERED)
        self.one_fails(says(GOOD[:20]), ("protocol", "the end of the connection inside a head"))
        for data in (LONG, LONG + b"x" * 999999, CHUNKED, CHUNKED + b"5\r\nhello\r\n"):
            self.one_fails(says(data), ("protocol", "the end of the connection inside a body"))

    def test_too_much(self):
        endless = ("protocol", "a body longer than is allowed")
        head = ("protocol", "a head longer than is allowed")

        def without_end(first, piece):
            def turn(wire):
                wire.head()
                wire.send(first)
                while True:
                    wire.send(piece)
            return turn

        most = ("--max-response", "1m")
        self.one_fails(without_end(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), endless, *most)
        self.one_fails(without_end(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"), endless, *most)
        self.one_fails(without_end(LONG.replace(b": 1", b": 2"), b"x" * 65536), endless, *most)
        self.one_fails(without_end(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536), head)
        self.one_fails(says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n"), head)
        self.one_fails(without_end(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
                       ("protocol", "more header lines than are allowed"))
        self.one_fails(without_end(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
                       ("protocol", "more interim answers than are allowed"))

    def test_a_length_that_is_too_small(self):
        wrong = GOOD.replace(b": 2", b": 1")
        self.one_fails(says_and_waits(wrong), ("protocol", "an answer that was not asked for"))

    def test_answers_behind_the_last(self):
        self.one_fails(says_and_waits(LAST + GOOD), ("protocol", "bytes behind the last answer"))

    def test_answers_that_nobody_asked_for(self):
        """While the connection is idle, so that they take nothing with them."""
        def turn(wire):
            wire.head()
            wire.send(GOOD)
            time.sleep(0.03)
            wire.send(GOOD)
            wire.rest()

        for engine in engines():
            with self.subTest(engine=engine), Raw(turn, serves) as server:
                one = http_record(self, server.url, "-n", "8", "-c", "1", "-e", engine, "--rate",
                                  "10")
                self.assertEqual(errors(one), {("protocol", "an answer that was not asked for"): 1})
                self.assertEqual((metric(one, "requests"), metric(one, "requests_failed")), (8, 0))
                self.assertEqual(metric(one, "connections_dialed"), 1)

    def test_it_ends_each_connection_and_says_so(self):
        for engine in engines():
            for way in (("-c", "1"), ("-c", "4"), ("-c", "2", "--pipeline", "8"),
                        ("-c", "2", "--pipeline", "3", "--rate", "500")):
                with self.subTest(engine=engine, way=way), Raw(says(LAST)) as server:
                    one = http_record(self, server.url, "-n", "40", "-e", engine, *way)
                    self.assertEqual(one["errors"], [])
                    self.assertEqual(metric(one, "requests"), 40)
                    self.assertGreaterEqual(metric(one, "connections_dialed"), 40 - 4)

    def test_it_ends_each_connection_without_a_word(self):
        for engine in engines():
            for way in (("-c", "1"), ("-c", "4"), ("-c", "2", "--pipeline", "8")):
                with self.subTest(engine=engine, way=way), Raw(says(GOOD)) as server:
                    one = http_record(self, server.url, "-n", "40", "-e", engine, *way)
                    self.assertLessEqual(set(errors(one)), GONE)
                    self.assertEqual(metric(one, "requests") + metric(one, "requests_failed"), 40)
                    self.assertGreater(metric(one, "requests"), 0)

    def test_it_ends_idle_connections(self):
        """Nothing was asked: no failure. Another connection takes the next request."""
        def turn(wire):
            wire.head()
            wire.send(GOOD)
            time.sleep(0.02)
            ends(wire)

        for engine in engines():
            with self.subTest(engine=engine), Raw(turn) as server:
                one = http_record(self, server.url, "-n", "8", "-c", "1", "-e", engine, "--rate",
                                  "10")
                self.assertLessEqual(set(errors(one)), GONE)  # it was asked just then
                self.assertEqual(metric(one, "requests") + metric(one, "requests_failed"), 8)
                self.assertGreater(metric(one, "idle_closed"), 0)


class Absent(unittest.TestCase):
    def test_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
        for engine in engines():
            for way in ((), ("--no-keep-alive",), ("--rate", "100"),
                        ("--no-keep-alive", "--rate", "100")):
                with self.subTest(engine=engine, way=way):
                    done = run("http", url, "-n", "20", "-c", "2", "-q", "-e", engine, *way)
                    self.assertIn("Connection refused", check_one_line(self, done, 1))

    def test_nobody_accepts(self):
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            with socket.create_connection(listener.getsockname()):  # the one that has room
                for engine in engines():
                    for way in ((), ("--no-keep-alive",)):
                        with self.subTest(engine=engine, way=way):
                            done = run("http", "http://127.0.0.1:%d/" % listener.getsockname()[1],
                                       "-n", "2", "-c", "2", "-e", engine, "-q",
                                       "--connect-timeout", "300ms", *way)
                            self.assertIn("connect", check_one_line(self, done, 1))

    def test_it_dies_and_comes_back(self):
        """What is dialed meanwhile is refused, and counted; what comes back is used."""
        for engine in engines():
            for way in ((), ("--rate", "500"), ("--no-keep-alive",)):
                with self.subTest(engine=engine, way=way), Mortal() as server:
                    done = server.while_it_dies(True, "-d", "1s", "-w", "0", "-c", "3", "-e",
                                                engine, *way)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    one = checked_record(self, done.stdout)["runs"][0]
                    adds_up(self, one)
                    found = errors(one)
                    self.assertGreater(found["connect", "ECONNREFUSED"], 0)
                    # A pause of 1 ms behind each: that of 0.4 s, and of each thread.
                    self.assertLess(found["connect", "ECONNREFUSED"], 3 * 600)
                    self.assertLessEqual(set(found), GONE | {("connect", "ECONNREFUSED"),
                                                             ("connect", "ECONNRESET")})
                    self.assertGreater(server.lives[1], 0)
                    self.assertGreaterEqual(sum(server.lives), finished(one))
                    self.assertLessEqual(sum(server.lives), finished(one) + 3 * 3)

    def test_it_dies_for_good(self):
        """A run by count has no other end."""
        for engine in engines():
            for way in ((), ("--rate", "500")):
                with self.subTest(engine=engine, way=way), Mortal() as server:
                    done = server.while_it_dies(False, "-n", "100000000", "-c", "3", "-e", engine,
                                                "--connect-timeout", "300ms", *way)
                    self.assertIn("Connection refused", check_one_line(self, done, 1))


class Mortal:
    """A server that serves, dies with all of its connections after 0.3 s, and may come back after 0.4
    s. `lives`: what it answered in each."""

    def __init__(self):
        self.lives, self.clients, self.over = [0], [], False
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.clients.append(client)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        wire, last = Wire(client), False
        with client:
            try:
                while not last:
                    last = b"Connection: close" in wire.head()
                    wire.send(LAST if last else GOOD)
                    with self.lock:
                        self.lives[-1] += 1
            except (OSError, EOFError):
                pass

    def die(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            clients, self.clients = self.clients, []
        for client in clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def while_it_dies(self, comes_back, *arguments):
        def act():
            time.sleep(0.3)
            self.die()
            if comes_back:
                time.sleep(0.4)
                self.lives.append(0)
                self.listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
                self.accept(self.listener)

        threading.Thread(target=act, daemon=True).start()
        return run("http", "http://127.0.0.1:%d/" % self.port, "--json", "-q", *arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.die()
        except OSError:
            pass


if __name__ == "__main__":
    unittest.main()
