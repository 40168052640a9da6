"""sonde tour: short runs of every workload as tables. `make run` shows its first chapter."""

import csv
import ctypes
import json
import os
import re
import signal
import struct
import tempfile
import time
import unittest

import check_record
import sonde_program

CHAPTERS = ("call", "ws", "http", "stream", "ipc")
ENGINES = ("threads", "poll", "epoll", "uring")
COMMAND = re.compile(r"(?m)^  sonde (.*?)(?:  # .*)?$")
SYS_IO_URING_SETUP = 425
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def commands_of(text):
    """The lines that made the rows, without their names in column titles."""
    return [line for line in COMMAND.findall(text) if " -d " in line]


def forbid_io_uring():
    """In the child: io_uring_setup fails with EPERM, as where an administrator forbids it."""
    rows = [(0x20, 0, 0, 0),  # load the number
            (0x15, 0, 1, SYS_IO_URING_SETUP), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
        os._exit(99)


class Tour(unittest.TestCase):
    def tour(self, *arguments, status=0, **options):
        """Its text, and its record, which keeps to the schema."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tour.json")
            done = sonde_program.run("tour", "--json=" + path, *arguments, **options)
            self.assertEqual(done.returncode, status, done.stderr)
            with open(path, encoding="utf-8") as file:
                record = sonde_program.checked_record(self, file.read())
        self.assertEqual(record["complete"], status == 0)
        return done, record

    def chapter(self, name):
        """What a whole chapter prints and records. Its rows' commands are what was run, and can be
        run again: the first and the last are."""
        done, record = self.tour(name)
        self.assertEqual(done.stderr, "")
        labels = [run["label"] for run in record["runs"]]
        self.assertEqual(len(set(labels)), len(labels))
        commands = commands_of(done.stdout)
        self.assertEqual(len(commands), len(labels))
        for command, label in zip(commands, labels):
            words = command.split()
            self.assertEqual(words[:len(label.split())], label.split())
        for command in (commands[0], commands[-1]):
            words = command.split()
            words[words.index("-d") + 1] = "100ms"
            words[words.index("-w") + 1] = "0"
            again = sonde_program.run(*words, "--json")
            self.assertEqual(again.returncode, 0, again.stderr)
        for label in labels:
            self.assertRegex(done.stdout, r"(?m)^  \d+/\d+  sonde %s: " % re.escape(label))
        return done.stdout, record

    def row(self, text, words):
        """The cells of the row of a table."""
        found = re.search(r"(?m)^  %s  +(\S.*)$" % re.escape(words), text)
        self.assertTrue(found, text)
        return re.split(r"  +", found[1])

    def assert_shows(self, text, words, column, value, unit=""):
        """A plain number is what the record has, as rounded as it is shown."""
        cell = self.row(text, words)[column].replace(",", "").removesuffix(unit)
        self.assertAlmostEqual(float(cell), value, delta=max(abs(value) * 0.006, 0.51))

    def test_call(self):
        text, record = self.chapter("call")
        runs = record["runs"]
        self.assertEqual([run["label"] for run in runs],
                         ["call --write gather", "call --write each", "call --write queue=10ms"])
        self.assertEqual(record["operation"], "call")
        for run in runs:
            self.assertEqual([p["role"] for p in run["processes"]], ["client", "server"])
            words = run["label"].removeprefix("call ")
            self.assert_shows(text, words, 0, run["metrics"]["calls_per_second"]["value"])
            server = run["processes"][1]
            calls = server["kernel_calls"]
            calls = calls if calls["available"] else server["engine_calls"]
            sends = sum(row["calls"] for row in calls["syscalls"] if row["name"] == "sendto")
            self.assert_shows(text, words, 3, sends * 1e9 / calls["window_ns"])
        # What the table is about: calls per send decide how often the server is called.
        per_send = [run["metrics"]["calls_per_send"]["value"] for run in runs]
        self.assertGreater(per_send[0], 100)
        self.assertAlmostEqual(per_send[1], 1, delta=0.01)
        self.assertGreater(per_send[2], 100)

    def test_ws(self):
        text, record = self.chapter("ws")
        self.assertEqual(record["operation"], "handshake")
        for run in record["runs"]:
            words = run["label"].removeprefix("ws ")
            self.assert_shows(text, words, 0, run["metrics"]["handshakes_per_second"]["value"])
            client = run["processes"][0]["engine_calls"]
            per = sum(row["calls"] for row in client["syscalls"]) / client["operations"]
            self.assertAlmostEqual(float(self.row(text, words)[5]), per, delta=per / 100)
        resumed = [run for run in record["runs"] if "--resume" in run["label"]]
        self.assertTrue(resumed)

    def test_http(self):
        text, record = self.chapter("http")
        labels = [run["label"] for run in record["runs"]]
        for engine in ENGINES:
            label = "http -m 4m -c 20 --no-keep-alive -e " + engine
            unavailable = re.search(r"(?m)^  -e %s: cannot be measured here: " % engine, text)
            self.assertNotEqual(label in labels, bool(unavailable))
        for run in record["runs"]:
            if " -m 200 " in run["label"]:
                self.assert_shows(text, run["label"].removeprefix("http "), 0,
                                  run["metrics"]["requests_per_second"]["value"])

    def test_stream(self):
        text, record = self.chapter("stream")
        # Streams and pings have no operation in common.
        self.assertEqual(record["operation"], "operation")
        self.assertIn("stream -P 4", [run["label"] for run in record["runs"]])
        for words in ("udp: -m 64", "tcp: -m 64"):
            cells = self.row(text, words)
            for names in cells[4:6]:
                self.assertRegex(names, r"sendto [\d,]+")
                self.assertRegex(names, r"recvfrom [\d,]+")
        self.assertIn("full round trip", text)

    def test_ipc(self):
        text, record = self.chapter("ipc")
        labels = [run["label"] for run in record["runs"]]
        for transport in ("pipe", "local", "local -s"):
            for size in ("1k", "16k", "128k", "1m"):
                self.assertIn("ipc -i %s -b %s" % (transport, size), labels)
        for words, writes in (("-i pipe -b 1k", 1024), ("-i local -b 16k", 64),
                              ("-i local -s -b 1m", 1)):
            self.assertEqual(float(self.row(text, words)[3].replace(",", "")), writes)

    def test_other_outputs(self):
        done = sonde_program.run("tour", "call", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(check_record.load(done.stdout)["runs"]), 3)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tour.csv")
            done = sonde_program.run("tour", "call", "-q", "--csv=" + path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        self.assertNotRegex(done.stdout, r"(?m)^  \d+/\d+  sonde ")
        self.assertEqual(len(commands_of(done.stdout)), 3)
        self.assertEqual([row["label"] for row in rows],
                         ["call --write gather", "call --write each", "call --write queue=10ms"])
        self.assertGreater(float(rows[0]["calls_per_second"]), 0)

    def test_interrupt(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tour.json")
            process = sonde_program.start("tour", "ipc", "call", "--json=" + path)
            began = time.monotonic()
            for line in process.stdout:  # the first stop has ended where the second begins
                if line.startswith("  2/"):
                    break
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            done = sonde_program.end(process, began)
            with open(path, encoding="utf-8") as file:
                record = sonde_program.checked_record(self, file.read())
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^sonde: tour: interrupted at stop 2 of 15\n$")
        self.assertRegex(done.stdout, r"(?m)^  --write gather  +[\d,]{3}")
        self.assertNotIn("sonde ipc", done.stdout)  # call comes first, whatever is named first
        self.assertFalse(record["complete"])
        self.assertEqual(record["error"]["code"], "interrupted")
        self.assertEqual(record["runs"][0]["label"], "call --write gather")
        self.assertTrue(record["runs"][0]["complete"])

    def test_without_io_uring(self):
        """Its row says why, the others go on, and that is no failure."""
        if "uring" not in sonde_program.engines():
            self.skipTest("io_uring cannot serve here anyway: test_http sees that")
        done, record = self.tour("http", preexec_fn=forbid_io_uring)
        self.assertRegex(done.stdout, r"(?m)^  -e uring: cannot be measured here: .*io_uring")
        labels = " ".join(run["label"] for run in record["runs"])
        self.assertIn("-e epoll", labels)
        self.assertNotIn("-e uring", labels)

    def test_wrong_arguments(self):
        for arguments, subject, hint in ((["strem"], "strem", "did you mean stream?"),
                                         (["call", "tcp://127.0.0.1:1"], "tcp://127.0.0.1:1",
                                          "its chapters are " + ", ".join(CHAPTERS)),
                                         (["--", "call"], "--", "")):
            done = sonde_program.run("tour", *arguments)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(done.stdout, "")
            self.assertRegex(done.stderr, "^sonde: %s: .*%s\n$" % (re.escape(subject),
                                                                   re.escape(hint)))


if __name__ == "__main__":
    unittest.main()
