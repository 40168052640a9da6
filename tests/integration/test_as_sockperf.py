"""`sonde as sockperf` beside the real sockperf: the same command lines in all pairings, and output
that the same parser takes."""

import re
import shutil
import signal
import subprocess
import time
import unittest

from sonde_program import PATIENCE_S, SONDE, Folder, run
from test_sockperf import free_port

REAL = [shutil.which("sockperf")]
OWN = [SONDE, "as", "sockperf"]
PAIRINGS = [(REAL, REAL), (REAL, OWN), (OWN, REAL), (OWN, OWN)]

# One expression a line, as scripts take them apart.
TOTAL = re.compile(r"^sockperf: \[Total Run\] RunTime=(\d+\.\d{3}) sec; Warm up time=400 msec; "
                   r"SentMessages=(\d+); ReceivedMessages=(\d+)$", re.M)
VALID = re.compile(r"^sockperf: \[Valid Duration\] RunTime=(\d+\.\d{3}) sec; SentMessages=(\d+); "
                   r"ReceivedMessages=(\d+)$", re.M)
AVERAGE = re.compile(r"====> avg-(latency|rtt)=(\d+\.\d{3}) \(std-dev=(\d+\.\d{3})\)")
COUNTS = re.compile(r"# dropped messages = (\d+); # duplicated messages = (\d+); "
                    r"# out-of-order messages = (\d+)")
SUMMARY = re.compile(r"^sockperf: Summary: (Latency|Round trip) is (\d+\.\d{3}) usec$", re.M)
OBSERVATIONS = re.compile(r"Total (\d+) observations.*; each percentile contains (\d+\.\d\d) "
                          r"observations")
PERCENTILES = re.compile(r"^sockperf: ---> (<MAX> observation|percentile [\d.]{6}|<MIN> observation)"
                         r" = +(\d+\.\d{3})$", re.M)
RATE = re.compile(r"^sockperf: Summary: Message Rate is (\d+) \[msg/sec\]$", re.M)
BANDWIDTH = re.compile(r"^sockperf: Summary: BandWidth is ([\d.]+) MBps \(([\d.]+) Mbps\)$", re.M)


class Server:
    def __init__(self, program, *arguments):
        self.protocol = "tcp" if "--tcp" in arguments else "udp"
        self.port = free_port(self.protocol)
        self.process = subprocess.Popen(
            [*program, "server", "-i", "127.0.0.1", "-p", str(self.port), *arguments], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = ""
        end = time.monotonic() + PATIENCE_S
        while not self.listens():
            assert time.monotonic() < end and self.process.poll() is None
            time.sleep(0.02)

    def listens(self):
        state = "0A" if self.protocol == "tcp" else "07"
        with open("/proc/net/" + self.protocol, encoding="ascii") as file:
            rows = [line.split() for line in file]
        return any(row[1] == "0100007F:%04X" % self.port and row[3] == state for row in rows)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.output = self.process.communicate(timeout=PATIENCE_S)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.output = self.process.communicate()[0]


def client(program, server, mode, *arguments):
    protocol = ["--tcp"] if server.protocol == "tcp" else []
    return subprocess.run([*program, mode, "-i", "127.0.0.1", "-p", str(server.port), *protocol,
                           *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE_S, check=False)


def own(*arguments):
    return run("as", "sockperf", *arguments)


def without_figures(text):
    return re.sub(r" *\d+(\.\d+)?", " N", text)


@unittest.skipUnless(REAL[0], "without sockperf")
class Pairings(unittest.TestCase):
    def check_latency(self, text, seconds):
        """Takes the text apart and holds its figures against each other."""
        run_time, sent, received = TOTAL.search(text).groups()
        self.assertGreaterEqual(float(run_time), seconds - 0.01)
        self.assertLessEqual(int(received), int(sent))
        valid_time, valid_sent, valid_received = VALID.search(text).groups()
        self.assertLess(float(valid_time), float(run_time) - 0.4)
        self.assertLessEqual(int(valid_received), int(received))
        self.assertIsNotNone(COUNTS.search(text))
        kind, average, _ = AVERAGE.search(text).groups()
        summary = SUMMARY.search(text)
        self.assertEqual(summary[2], average)
        self.assertEqual(summary[1], "Latency" if kind == "latency" else "Round trip")
        count, per_cent = OBSERVATIONS.search(text).groups()
        self.assertEqual(count, valid_received)
        self.assertAlmostEqual(int(count) / 100, float(per_cent), delta=0.01)
        values = [float(value) for _, value in PERCENTILES.findall(text)]
        self.assertEqual(values, sorted(values, reverse=True))
        self.assertLessEqual(values[-1], float(average))
        self.assertLessEqual(float(average), values[0])
        return int(valid_sent), int(count)

    def test_the_plain_command_lines(self):
        """sockperf server -i HOST; sockperf ping-pong -i HOST -m 64 -t 1"""
        for protocol in ([], ["--tcp"]):
            texts = []
            for one, other in PAIRINGS:
                with self.subTest(client=one, server=other, protocol=protocol):
                    with Server(other, *protocol) as server:
                        done = client(one, server, "ping-pong", "-m", "64", "-t", "1")
                    self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
                    sent, received = self.check_latency(done.stdout, 1)
                    self.assertLessEqual(abs(sent - received), 1)
                    self.assertEqual(len(PERCENTILES.findall(done.stdout)), 10)
                    texts.append(without_figures(done.stdout))
            for other in texts[1:]:
                self.assertEqual(other, texts[0])

    def test_under_load(self):
        texts = []
        for one, other in PAIRINGS:
            with self.subTest(client=one, server=other), Server(other) as server:
                log = Folder(self).file("log.csv")
                done = client(one, server, "under-load", "-t", "1", "--mps", "1000", "--reply-every",
                              "10", "--full-rtt", "--full-log", log)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.check_latency(done.stdout, 1)
                self.assertIn("avg-rtt=", done.stdout)
                _, sent, received = TOTAL.search(done.stdout).groups()
                self.assertLessEqual(int(received), int(sent) // 10 + 1)
                with open(log, encoding="utf-8") as file:
                    lines = file.read().splitlines()
                begin = lines.index("packet, txTime(sec), rxTime(sec), rtt(usec)")
                rows = [line.split(", ") for line in lines[begin + 1:-1]]
                self.assertGreater(len(rows), 0)
                for number, (packet, sent, received, took) in enumerate(rows):
                    self.assertEqual(int(packet), number)
                    self.assertAlmostEqual((float(received) - float(sent)) * 1e6, float(took),
                                           delta=0.01)
                texts.append([re.sub(r"[\d.]+", "N", line) for line in lines[:3]])
        for other in texts[1:]:
            self.assertEqual(other, texts[0])

    def test_throughput(self):
        for protocol in ([], ["--tcp"]):
            for rate in ([], ["--mps", "1000"]):
                texts = []
                for one, other in ((REAL, REAL), (OWN, REAL), (OWN, OWN)):
                    with self.subTest(client=one, server=other, protocol=protocol, rate=rate):
                        with Server(other, *protocol) as server:
                            done = client(one, server, "throughput", "-t", "1", "-m", "200", *rate)
                        self.assertEqual(done.returncode, 0, done.stderr)
                        messages = int(RATE.search(done.stdout)[1])
                        megabytes = float(BANDWIDTH.search(done.stdout)[1])
                        self.assertAlmostEqual(messages * 200 / 2**20, megabytes, delta=0.001)
                        self.assertGreater(messages, 0)
                        texts.append(without_figures(done.stdout))
                for other in texts[1:]:
                    self.assertEqual(other, texts[0])

    def test_messages_without_an_answer_arrive(self):
        """The server counts what the client says that it has sent; none is answered."""
        with Server(OWN, "--tcp") as server:
            done = client(OWN, server, "throughput", "-t", "1", "-m", "200")
        sent = int(re.search(r"Total of (\d+) messages sent", done.stdout)[1])
        handled = int(re.search(r"Total (\d+) messages received and handled", server.output)[1])
        self.assertEqual(handled, sent)


class Own(unittest.TestCase):
    def test_wrong_options(self):
        """As the program: it says what is wrong, its usage, and ends with 0."""
        for arguments, text in ((["ping-pong", "-m", "3"], "'-m' Invalid message size: 3"),
                                (["ping-pong", "-t", "x"], "'-t' Invalid duration: x"),
                                (["ping-pong", "-p", "0"], "'-p' Invalid port: 0"),
                                (["ping-pong", "--nonsense"], "Usage: sockperf ping-pong"),
                                (["ping-pong", "more"], "Usage: sockperf ping-pong"),
                                (["ping-pong", "--reply-every", "3"], "Usage: sockperf ping-pong"),
                                (["nonsense"], "Available subcommands:"),
                                ([], "Available subcommands:")):
            with self.subTest(arguments=arguments):
                done = own(*arguments)
                self.assertEqual(done.returncode, 0)
                self.assertIn(text, done.stdout)
                self.assertNotIn("Starting test", done.stdout)

    def test_as_many_as_go(self):
        """Nothing waits for answers, and nearly all of what was sent was answered or dropped."""
        with Server(REAL) as server:
            done = client(OWN, server, "under-load", "-t", "1", "--mps=max", "--reply-every", "1",
                          "--nonblocked")
        self.assertEqual(done.returncode, 0, done.stderr)
        sent, received = map(int, re.search(
            r"Valid Duration.*SentMessages=(\d+); ReceivedMessages=(\d+)", done.stdout).groups())
        dropped = int(re.search(r"dropped messages = (\d+)", done.stdout)[1])
        self.assertGreater(sent, 0)
        self.assertLess(abs(sent - received - dropped), 2000 + sent / 20)

    def test_refused_by_name(self):
        for arguments, name in ((["ping-pong", "-f", "x"], "-f"),
                                (["ping-pong", "--srv-num", "2"], "--srv-num"),
                                (["server", "--threads-num", "2"], "--threads-num"),
                                (["playback"], "playback")):
            with self.subTest(arguments=arguments):
                done = own(*arguments)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertEqual(done.stderr,
                                 "sockperf: %s is not supported by this stand-in\n" % name)

    def test_nobody_there(self):
        done = own("ping-pong", "-i", "127.0.0.1", "-p", str(free_port("udp")), "-t", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("No messages were received from the server. Is the server down?", done.stdout)
        done = own("ping-pong", "-i", "127.0.0.1", "-p", str(free_port("tcp")), "--tcp")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Connection refused", done.stderr)

    def test_listed(self):
        lines = run("as").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines],
                         ["iperf3", "sockperf", "ipc-static", "wsperf", "wsperf.py",
                          "bench-overhead"])


if __name__ == "__main__":
    unittest.main()
