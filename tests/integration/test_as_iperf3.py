"""`sonde as iperf3` beside the real iperf3: the same command lines in all pairings, output that the
same parser takes, the same keys of JSON."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from sonde_program import PATIENCE_S, SONDE, Folder, run

REAL = [shutil.which("iperf3")]
OWN = [SONDE, "as", "iperf3"]
PAIRINGS = [(REAL, REAL), (REAL, OWN), (OWN, REAL), (OWN, OWN)]

ROW = re.compile(
    r"\[(?P<id> *\d+|SUM)\](?P<role>\[[TR]X-[CS]\])? +(?P<start>\d+\.\d\d)-(?P<end>\d+\.\d\d) +sec"
    r"  (?P<bytes>[\d. ]{4} [KMGT]?Bytes)  (?P<rate>[\d. ]{4} [KMGT]?(?:bits|Bytes)/sec) ?"
    r"(?P<rest>.*)$")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def free_pair():
    """The first of two ports below those that the kernel gives away."""
    for port in random.sample(range(12000, 32000, 2), 100):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
                return port
            except OSError:
                pass
    raise AssertionError("no two ports are free")


class Server:
    """Either server; `one_off`: it ends by itself after one test."""

    def __init__(self, program, *arguments, one_off=False, host="127.0.0.1"):
        self.port = free_port()
        self.one_off = one_off
        self.process = subprocess.Popen(
            [*program, "-s", "-p", str(self.port), *(["-1"] if one_off else []), *arguments],
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        self.output = self.errors = ""
        end = time.monotonic() + PATIENCE_S
        while not self.listens():
            assert time.monotonic() < end and self.process.poll() is None, self.process.poll()
            time.sleep(0.02)

    def listens(self):
        """By what the kernel says: a connection would be taken for a client."""
        for name in ("tcp", "tcp6"):
            with open("/proc/net/" + name, encoding="ascii") as file:
                for line in file:
                    words = line.split()
                    if words[1].endswith(":%04X" % self.port) and words[3] == "0A":
                        return True
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.one_off:
            self.process.send_signal(signal.SIGINT)
        try:
            self.output, self.errors = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.output, self.errors = self.process.communicate()


def client(program, server, *arguments):
    return subprocess.run([*program, "-c", "127.0.0.1", "-p", str(server.port), *arguments],
                          text=True, capture_output=True, timeout=PATIENCE_S, check=False)


def own(*arguments):
    return run("as", "iperf3", *arguments)


def shape(text):
    """The output without its figures: what a parser of columns sees."""
    lines = []
    for line in text.splitlines():
        match = ROW.match(line)
        if match:
            rest = re.sub(r"[\d.]+(e-\d+)?", "N", match["rest"])
            rest = re.sub(r" *N [KMGT]?Bytes", " N Bytes", rest)
            rest = re.sub(r" +N", " N", rest)
            lines.append((match["id"].strip().isdigit(), match["role"], rest))
        else:
            lines.append(re.sub(r"\d+", "N", re.sub(r" +\d+\]", " N]", line)))
    return lines


def final(rows):
    """Without the rows of intervals: how many there are is a matter of time."""
    return [row for row in rows
            if (not row.startswith("- -") if isinstance(row, str) else row[2].endswith("er"))]


def keys(value, path=""):
    """All paths of a JSON value, with the kind of what is there."""
    found = set()
    if isinstance(value, dict):
        for key, inner in value.items():
            kind = "number" if isinstance(inner, (int, float)) and not isinstance(inner, bool) \
                else type(inner).__name__
            found |= {"%s.%s: %s" % (path, key, kind)} | keys(inner, "%s.%s" % (path, key))
    elif isinstance(value, list):
        for inner in value:
            found |= keys(inner, path + "[]")
    return found


@unittest.skipUnless(REAL[0], "without iperf3")
class Pairings(unittest.TestCase):
    def test_the_plain_command_line(self):
        """iperf3 -s; iperf3 -c HOST -t 1 -P 4"""
        shapes = []
        for one, other in PAIRINGS:
            with self.subTest(client=one, server=other):
                with Server(other) as server:
                    done = client(one, server, "-t", "1", "-P", "4")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                rows = [ROW.match(line) for line in done.stdout.splitlines()]
                ends = [row for row in rows if row and row["rest"].endswith(("sender", "receiver"))]
                self.assertEqual(len(ends), 10)
                self.assertEqual([row["id"].strip() for row in ends[-2:]], ["SUM", "SUM"])
                shapes.append(final(shape(done.stdout)))
                self.assertIn("Server listening on %d (test #1)" % server.port, server.output)
                self.assertIn("Accepted connection from 127.0.0.1, port ", server.output)
                self.assertIn("iperf3: interrupt - the server has terminated", server.errors)
        for other in shapes[1:]:
            self.assertEqual(other, shapes[0])

    def test_text_of_every_mode(self):
        for mode in (["-t", "1", "-R"], ["-t", "1", "--bidir"], ["-t", "1", "--bidir", "-P", "2"],
                     ["-t", "1", "-u", "-b", "10M"], ["-t", "1", "-u", "-R", "-P", "2"],
                     ["-t", "1", "-u", "--bidir", "-T", "title"], ["-n", "20M", "-V"],
                     ["-k", "100", "-f", "M"], ["-t", "1", "-O", "1", "-i", "0.5"]):
            with self.subTest(mode=mode):
                texts, servers = [], []
                for one, other in ((REAL, REAL), (OWN, OWN)):
                    with Server(other, one_off=True) as server:
                        done = client(one, server, *mode)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertEqual(server.process.returncode, 0, server.errors)
                    texts.append(final(shape(done.stdout)))
                    servers.append(final(shape(server.output)))
                texts = [[row for row in text if not str(row).startswith((
                    "iperf N.N", "Linux", "CPU", "      Cookie", "Time"))] for text in texts]
                self.assertEqual(texts[1], texts[0])
                # One that ends at once says nothing of a further test.
                self.assertEqual([row for row in servers[1] if "test #" not in row],
                                 [row for row in servers[0] if "test #" not in row])

    def test_json_has_the_same_keys(self):
        for mode in (["-t", "1"], ["-t", "1", "-P", "4"], ["-t", "1", "-R"], ["-t", "1", "--bidir"],
                     ["-t", "1", "-u"], ["-t", "1", "-u", "--bidir", "-P", "2"], ["-n", "20M"],
                     ["-t", "1", "-u", "-R"], ["-t", "1", "-O", "1", "-M", "1400"]):
            with self.subTest(mode=mode):
                found, served = [], []
                for one, other in ((REAL, OWN), (OWN, REAL)):
                    with Server(other, "-J", one_off=True) as server:
                        done = client(one, server, "-J", *mode)
                    self.assertEqual(done.returncode, 0, done.stdout)
                    found.append(keys(json.loads(done.stdout)))
                    served.append(keys(json.loads(server.output)))
                self.assertEqual(found[1], found[0])
                self.assertEqual(served[0], served[1])

    def test_omitted_datagrams_are_in_no_count(self):
        """A server of 3.12 does not leave them out of its packets: its client has to."""
        for mode in ([], ["-R"], ["-P", "2", "--bidir"]):
            with self.subTest(mode=mode), Server(REAL, one_off=True) as server:
                done = client(OWN, server, "-J", "-u", "-b", "20M", "-t", "1", "-O", "1", *mode)
                end = json.loads(done.stdout)["end"]
                for key in ("sum", "sum_bidir_reverse") if "--bidir" in mode else ("sum",):
                    one = end[key]
                    block = json.loads(done.stdout)["start"]["test_start"]["blksize"]
                    self.assertLessEqual(abs(one["packets"] - one["bytes"] / block), 3, one)

    def test_figures_agree(self):
        """What both ends say, and the intervals and their sum."""
        for one, other in ((OWN, REAL), (OWN, OWN), (REAL, OWN)):
            with self.subTest(client=one, server=other), Server(other) as server:
                done = client(one, server, "-J", "-n", "50M", "-P", "2")
                end = json.loads(done.stdout)
                intervals = end["intervals"]
                sent = end["end"]["sum_sent"]["bytes"]
                self.assertGreaterEqual(sent, 50 << 20)
                self.assertLess(sent, 60 << 20)
                self.assertEqual(sum(row["sum"]["bytes"] for row in intervals), sent)
                self.assertEqual(sum(row["sender"]["bytes"] for row in end["end"]["streams"]), sent)
                self.assertLessEqual(end["end"]["sum_received"]["bytes"], sent)
                self.assertEqual(end["start"]["test_start"]["bytes"], 50 << 20)
                total = end["end"]["sum_sent"]
                self.assertAlmostEqual(total["bits_per_second"] * total["seconds"], 8 * sent,
                                       delta=sent)

    def test_options_reach_the_sockets(self):
        with Server(OWN) as server:
            done = client(OWN, server, "-J", "-t", "1", "-b", "8M", "-l", "10000", "-w", "64K", "-N",
                          "-C", "cubic", "-S", "0x20", "-Z", "-4", "-B", "127.0.0.1",
                          "--get-server-output")
            self.assertEqual(done.returncode, 0, done.stdout)
            said = json.loads(done.stdout)
            start = said["start"]
            self.assertEqual(start["test_start"]["blksize"], 10000)
            self.assertEqual(start["test_start"]["tos"], 32)
            self.assertEqual(start["target_bitrate"], 8000000)
            self.assertEqual(start["sock_bufsize"], 65536)
            self.assertEqual(said["end"]["sender_tcp_congestion"], "cubic")
            self.assertIn("Accepted connection from", said["server_output_text"])

    def test_server_output_of_the_real_one(self):
        with Server(REAL) as server:
            done = client(OWN, server, "-t", "1", "--get-server-output")
            self.assertEqual(done.returncode, 0)
            self.assertIn("\nServer output:\n", done.stdout)
            self.assertIn("Accepted connection from 127.0.0.1", done.stdout)


class Own(unittest.TestCase):
    def test_wrong_options(self):
        for arguments, text in (
                ([], "must either be a client (-c) or server (-s)"),
                (["-s", "-c", "x"], "cannot be both server and client"),
                (["-s", "-t", "5"], "some option you are trying to set is client only"),
                (["-c", "x", "-1"], "some option you are trying to set is server only"),
                (["-c", "x", "-P", "200"], "number of parallel streams too large (maximum = 128)"),
                (["-c", "x", "-R", "--bidir"], "cannot be both reverse and bidirectional"),
                (["-c", "x", "-t", "1", "-n", "1"], "only one test end condition"),
                (["-c", "x", "-l", "2M"], "block size too large"),
                (["-c", "x", "-p", "0"], "port number must be between"),
                (["-c", "x", "-f", "x"], "bad format specifier"),
                (["-c", "x", "-i", "0.01"], "invalid report interval"),
                (["-c", "x", "-b", "1x"], "-b: 1x is no bitrate"),
                (["-c", "x", "more"], "more is no option"),
                (["-c", "x", "-t", "86401"], "test duration too long (maximum = 86400 seconds)"),
                (["-c", "x", "--cport", "0"], "port number must be between")):
            with self.subTest(arguments=arguments):
                done = own(*arguments)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertTrue(done.stderr.startswith("iperf3: parameter error - " + text),
                                done.stderr)
        for arguments, text in (
                (["-s", "-F", "x"], "-F is not supported by this stand-in"),
                (["-c", "x", "--sctp"], "--sctp is not supported by this stand-in"),
                (["-c", "x", "-A", "1,2"], "-A n,m: a server's CPU is not supported by this "
                                           "stand-in")):
            with self.subTest(arguments=arguments):
                done = own(*arguments)
                self.assertEqual((done.returncode, done.stdout, done.stderr),
                                 (1, "", "iperf3: parameter error - " + text + "\n"))
        for arguments in (["--nonsense"], ["-c"]):
            done = own(*arguments)
            self.assertEqual(done.returncode, 1)
            self.assertIn("Usage: iperf3 [-s|-c host] [options]\n", done.stderr)

    def test_help_and_version(self):
        self.assertTrue(own("-v").stdout.startswith("iperf 3.12"))
        self.assertEqual(own("--help").returncode, 0)

    def test_nobody_there(self):
        port = str(free_port())
        done = own("-c", "127.0.0.1", "-p", port)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr,
                         "iperf3: error - unable to connect to server: Connection refused\n")
        done = own("-c", "127.0.0.1", "-p", port, "-J")
        self.assertEqual(done.returncode, 0) # as the real one: the JSON says it
        said = json.loads(done.stdout)
        self.assertEqual(said["error"], "unable to connect to server: Connection refused")
        self.assertEqual((said["intervals"], said["end"]), ([], {}))

    def test_an_error_is_told_as_the_real_one_does(self):
        port = str(free_port())
        both = [subprocess.run([*program, "-c", "127.0.0.1", "-p", port, "-J"], text=True,
                               capture_output=True, timeout=PATIENCE_S) for program in (OWN, REAL)]
        self.assertEqual(both[0].returncode, both[1].returncode)
        self.assertEqual(*(json.loads(done.stdout)["error"] for done in both))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            both = [subprocess.run([*program, "-s", "-B", "127.0.0.1", "-p", port], text=True,
                                   capture_output=True, timeout=PATIENCE_S)
                    for program in (OWN, REAL)]
        self.assertEqual(both[0].returncode, both[1].returncode)
        self.assertEqual(both[0].stderr, both[1].stderr)

    def test_a_time_that_is_no_number_is_no_end(self):
        with Server(OWN) as server:
            for time_text in ("abc", "0.5"):
                process = subprocess.Popen(
                    [*OWN, "-c", "127.0.0.1", "-p", str(server.port), "-t", time_text], text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                while " sec " not in (line := process.stdout.readline()):
                    self.assertNotEqual(line, "")
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=PATIENCE_S)
                self.assertEqual(process.returncode, 1)

    def test_ports_and_times(self):
        for pairing in PAIRINGS:
            port = free_pair()
            with self.subTest(pairing=pairing), Server(pairing[1]) as server:
                done = client(pairing[0], server, "-n", "1M", "-P", "2", "--cport", str(port),
                              "--timestamps=at %Y: ", "--extra-data", "more", "-T", "named")
                self.assertEqual(done.returncode, 0, done.stderr)
                for number in (port, port + 1):
                    self.assertIn("local 127.0.0.1 port %d connected" % number, done.stdout)
                for line in done.stdout.splitlines():
                    self.assertRegex(line, r"^at \d{4}: ")

    def test_in_the_background(self):
        folder = Folder(self)
        for program in (OWN, REAL):
            path, port = folder.file("pid" + str(len(program))), free_port()
            done = subprocess.run([*program, "-s", "-D", "-1", "-p", str(port), "-I", path],
                                  text=True, capture_output=True, timeout=PATIENCE_S)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            end = time.monotonic() + PATIENCE_S
            while not os.path.exists(path) or not os.path.getsize(path):
                self.assertLess(time.monotonic(), end)
                time.sleep(0.01)
            with open(path, encoding="ascii") as file:
                os.kill(int(file.read()), 0)
            while own("-c", "127.0.0.1", "-p", str(port), "-n", "1M").returncode:
                self.assertLess(time.monotonic(), end)
            while os.path.exists(path):
                self.assertLess(time.monotonic(), end)
                time.sleep(0.01)

    def test_one_test_at_a_time(self):
        with Server(OWN) as server:
            first = subprocess.Popen([*OWN, "-c", "127.0.0.1", "-p", str(server.port), "-t", "3"],
                                     text=True, stdout=subprocess.PIPE)
            while "connected to" not in (line := first.stdout.readline()):
                self.assertNotEqual(line, "")
            done = client(OWN, server, "-t", "1")
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr, "iperf3: error - the server is busy running a test. try "
                                          "again later\n")
            first.communicate(timeout=PATIENCE_S)
            self.assertEqual(first.returncode, 0)

    def test_interrupted(self):
        with Server(OWN) as server:
            process = subprocess.Popen([*OWN, "-c", "127.0.0.1", "-p", str(server.port), "-t", "60"],
                                       text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while "sec" not in (line := process.stdout.readline()):
                self.assertNotEqual(line, "")
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 1)
            self.assertIn("sender", output)
            self.assertEqual(errors, "iperf3: interrupt - the client has terminated\n")
        self.assertIn("iperf3: the client has terminated", server.errors)

    def test_a_second_test_is_announced(self):
        with Server(OWN) as server:
            for number in (1, 2):
                done = client(OWN, server, "-n", "1M")
                self.assertEqual(done.returncode, 0, done.stderr)
                for line in server.process.stdout:
                    if line == "Server listening on %d (test #%d)\n" % (server.port, number + 1):
                        break
                else:
                    self.fail("not announced")

    def test_log_file_and_link(self):
        folder = Folder(self)
        with Server(OWN) as server:
            link, log = folder.file("iperf3"), folder.file("log")
            os.symlink(SONDE, link)
            done = client([link], server, "-t", "1", "--logfile", log)
            self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
            with open(log, encoding="utf-8") as file:
                self.assertTrue(file.read().endswith("\niperf Done.\n"))


if __name__ == "__main__":
    unittest.main()
