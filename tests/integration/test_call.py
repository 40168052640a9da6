"""sonde call: what bad input and bad servers get, and that every engine counts what there was."""

import csv
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
import unittest

from sonde_program import (
    PATIENCE_S, SONDE, Folder, Misbehaving, Serving, answers_too_little, answers_too_much,
    answers_wrong, call_record, check_failed_record, check_one_line, checked_record, closes_at_once, echoes, end,
    engines, metric, never_answers, read_record, run, start)

STRATEGIES = ("gather", "each", "queue=1ms", "batch=7")


class BadOptions(unittest.TestCase):
    """Exit status 2, one line that names what is wrong, nothing measured."""

    def check(self, arguments, *words):
        done = run("call", *arguments)
        line = check_one_line(self, done, 2)
        for word in words:
            self.assertIn(word, line)
        self.assertEqual(done.stdout, "")

    def test_each(self):
        for arguments, words in (
            (["--sizee=4"], ["--sizee", "did you mean", "--size"]),
            (["-e", "epol"], ["epol", "did you mean", "epoll"]),
            (["-e", "epoll,pol"], ["pol"]),
            (["-m", "-1"], ["--size", "-1"]),
            (["-m", "0"], ["--size"]),
            (["-m", "2g"], ["--size", "2g"]),
            (["-m", "99999999999999999999999"], ["--size"]),
            (["-m", "18446744073709551617"], ["--size"]),
            (["-m", "1x"], ["--size", "1x"]),
            (["--high", "99999999999999999999"], ["--high"]),
            (["--high", "3", "--low", "5"], ["--low", "5", "3"]),
            (["--write", "eech"], ["--write", "eech", "gather"]),
            (["--write", "batch=0"], ["--write"]),
            (["--write", "queue=x"], ["--write"]),
            (["-d", "0"], ["--duration"]),
            (["-d", "nan"], ["--duration", "nan"]),
            (["-r", "-5"], ["--rate"]),
            (["-c", "0"], ["--connections"]),
            (["-c"], ["--connections"]),
            (["-n", "5", "-w", "1s"], ["--count", "--warmup"]),
            (["tcp://127.0.0.1:99999"], ["99999"]),
            (["tpc://127.0.0.1:80"], ["tpc", "tcp"]),
            (["local:", "pipe:"], ["pipe:"]),
            (["udp:"], ["udp:", "needs a stream", "tcp://HOST:PORT or tls://HOST:PORT or unix:PATH"]),
            (["unix-dgram:/tmp/x"], ["unix-dgram:/tmp/x", "needs a stream"]),
            (["unix:", "--congestion=reno", "-n", "1"], ["unix", "only tcp", "congestion"]),
            (["-o", "everybody", "-n", "1"], ["--observe", "everybody"]),
        ):
            with self.subTest(arguments=arguments):
                self.check(arguments, *words)

    def test_server_engine_without_a_name(self):
        self.check(["-n", "1", "--server-engine", "urin"], "urin", "uring")


class BadServers(unittest.TestCase):
    """Exit status 1, one line, and a record that says so and keeps what was measured."""

    def fail_against(self, address, *arguments, seconds=0.3):
        done = run("call", "--json", "-d", "%gs" % seconds, "-w", "0", "--drain", "500ms", *arguments,
                   address)
        line = check_one_line(self, done, 1)
        self.assertLess(done.seconds, seconds + 5)
        record = checked_record(self, done.stdout)
        check_failed_record(self, record)
        self.assertIn(record["error"]["what"], line)
        return line, record

    def test_unreachable(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        for engine in engines():
            with self.subTest(engine=engine):
                line, _ = self.fail_against("tcp://127.0.0.1:%d" % port, "-e", engine, "-c", "3")
                self.assertIn("refused", line)

    def test_no_such_unix_socket(self):
        line, _ = self.fail_against("unix:/nonexistent/sonde.sock")
        self.assertIn("No such file", line)

    def test_no_such_host(self):
        done = run("call", "-n", "1", "tcp://no-such-host.invalid:7")
        check_one_line(self, done, 1)

    def test_never_connects(self):
        """A listener whose queue is full leaves the connection hanging."""
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        address = "tcp://127.0.0.1:%d" % listener.getsockname()[1]
        process = start("call", "--json", "-d", "100ms", address)
        began = time.monotonic()
        time.sleep(0.5)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        done = end(process, began)
        line = check_one_line(self, done, 1)
        self.assertIn("interrupted", line)
        self.assertLess(done.seconds, 5)
        check_failed_record(self, checked_record(self, done.stdout))

    def test_answers(self):
        for handle, words in ((answers_too_much, "more than it was asked"),
                              (answers_wrong, "not what was sent"),
                              (answers_too_little, "not answered"),
                              (never_answers, "not answered"),
                              (closes_at_once, "")):
            for engine in engines():
                with self.subTest(handle=handle.__name__, engine=engine):
                    with Misbehaving(handle) as server:
                        line, record = self.fail_against(server.address, "-e", engine,
                                                         "--high", "2000")
                    self.assertIn(words, line)
                    one = record["runs"][0]
                    answered = metric(one, "calls") or 0
                    histogram = one["histograms"].get("response_time", {"count": 0})
                    # Answers within the drain are timed but not part of the rate.
                    self.assertGreaterEqual(histogram["count"], answered)
                    if handle is never_answers:
                        self.assertEqual(histogram["count"], 0)
                        self.assertEqual(metric(one, "unfinished"), 2000)
                    if handle is answers_too_little:
                        self.assertEqual(histogram["count"], 1000)

    def test_vanishes_in_mid_run(self):
        folder = Folder(self)
        for engine in engines():
            with self.subTest(engine=engine), Serving("tcp://127.0.0.1:0") as server:
                path = folder.file(engine)
                began = time.monotonic()
                process = start("call", "-e", engine, "-c", "2", "-d", "30s", "-w", "0",
                                "--interval", "100ms", "--json=" + path, server.address)
                self.assertIn("calls/s", process.stdout.readline())
                server.process.kill()
                done = end(process, began)
                check_one_line(self, done, 1)
                self.assertLess(done.seconds, 15)
                record = read_record(self, path)
                check_failed_record(self, record)
                self.assertGreater(metric(record["runs"][0], "calls"), 0)
                self.assertGreaterEqual(sum(error["count"] for error in record["errors"]), 1)

    def test_engine_matrix_goes_on_and_says_the_first_failure(self):
        line, record = self.fail_against("unix:/nonexistent/sonde.sock", "-e", "epoll,poll")
        self.assertEqual(len(record["runs"]), 2)
        self.assertIn("No such file", line)


class Limits(unittest.TestCase):
    def test_too_few_files(self):
        done = run("call", "--json", "-c", "100", "-d", "100ms", "local:", preexec_fn=lambda: (
            resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))))
        line = check_one_line(self, done, 1)
        self.assertIn("open files", line)
        self.assertIn("50", line)
        check_failed_record(self, checked_record(self, done.stdout))

    def test_soft_limit_is_raised(self):
        record = call_record(self, "-c", "100", "-n", "1000", preexec_fn=lambda: (
            resource.setrlimit(resource.RLIMIT_NOFILE, (50, 4096))))
        self.assertEqual(metric(record["runs"][0], "calls"), 1000)

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip"),
                         "needs root, unshare and ip for a network namespace")
    def test_too_few_ports(self):
        script = ("ip link set lo up && echo 40000 40009 > "
                  "/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"")
        prefix = ["unshare", "-n", "sh", "-c", script, "sh"]
        done = run("call", "--json", "-c", "41", "-n", "100", "tcp://127.0.0.1:9", prefix=prefix)
        line = check_one_line(self, done, 1)
        self.assertIn("local ports", line)
        self.assertIn("--source", line)
        check_failed_record(self, checked_record(self, done.stdout))
        # What the hint says helps.
        hint = re.search(r"--source=(\S+)", line)[1]
        record = call_record(self, "-c", "41", "-n", "100", "--source=" + hint, prefix=prefix)
        self.assertEqual(metric(record["runs"][0], "calls"), 100)
        # With sonde's own server it is done without being asked for.
        record = call_record(self, "-c", "41", "-n", "100", prefix=prefix)
        self.assertEqual(metric(record["runs"][0], "calls"), 100)
        self.assertTrue(any("source addresses 127.0.0.2-127.0.0." in text
                            for text in record["warnings"]))


class Interrupted(unittest.TestCase):
    """Ctrl-C at any moment: what was measured is kept, marked partial."""

    def check(self, process, path, began, limit=10):
        done = end(process, began)
        line = check_one_line(self, done, 1)
        self.assertIn("interrupted", line)
        self.assertLess(done.seconds, limit)
        record = read_record(self, path)
        check_failed_record(self, record)
        return record["runs"][0]

    def start(self, *arguments):
        path = Folder(self).file("record")
        return start("call", "--json=" + path, "--interval", "100ms", *arguments), path

    def test_in_the_window(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            for engine in engines():
                with self.subTest(engine=engine, signal=number):
                    began = time.monotonic()
                    process, path = self.start("-d", "60s", "-w", "0", "-e", engine)
                    process.stdout.readline()
                    process.send_signal(number)
                    one = self.check(process, path, began)
                    self.assertGreater(metric(one, "calls"), 0)
                    self.assertGreaterEqual(one["histograms"]["response_time"]["count"],
                                            metric(one, "calls"))

    def test_in_the_warm_up(self):
        with Misbehaving(echoes) as server:
            began = time.monotonic()
            process, path = self.start("-d", "60s", "-w", "60s", server.address)
            self.assertTrue(server.heard.wait(30))
            process.send_signal(signal.SIGINT)
            one = self.check(process, path, began)
            self.assertIn(metric(one, "calls"), (0, None)) # nothing of the warm-up

    def test_in_the_drain(self):
        with Misbehaving(never_answers) as server:
            began = time.monotonic()
            process, path = self.start("-d", "100ms", "-w", "0", "--drain", "60s", server.address)
            process.stdout.readline() # the interval's line: the window is over
            time.sleep(0.3)
            self.assertIsNone(process.poll())
            process.send_signal(signal.SIGINT)
            self.check(process, path, began)

    def test_twice(self):
        """The second one ends the drain that the first began."""
        with Misbehaving(never_answers) as server:
            began = time.monotonic()
            process, path = self.start("-d", "60s", "-w", "0", "--drain", "60s", server.address)
            self.assertTrue(server.heard.wait(30))
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            self.assertIsNone(process.poll())
            process.send_signal(signal.SIGINT)
            self.check(process, path, began)

    def test_first_of_several_engines_ends_all(self):
        began = time.monotonic()
        process, path = self.start("-d", "60s", "-w", "0", "-e", "epoll,poll")
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        self.check(process, path, began)
        self.assertEqual(len(read_record(self, path)["runs"]), 1)


class Output(unittest.TestCase):
    def test_full_disk(self):
        for arguments in ([], ["--json"], ["--csv"]):
            with self.subTest(arguments=arguments), open("/dev/full", "w") as full:
                done = run("call", "-n", "100", *arguments, stdout=full)
                line = check_one_line(self, done, 1)
                self.assertIn("standard output", line)
        done = run("call", "-n", "100", "-q", "--json=/dev/full")
        self.assertIn("/dev/full", check_one_line(self, done, 1))

    def test_closed(self):
        for arguments in ([], ["--json"]):
            with self.subTest(arguments=arguments):
                done = run("call", "-n", "100", *arguments,
                           prefix=["sh", "-c", "exec \"$@\" >&-", "sh"], stdout=None)
                check_one_line(self, done, 1)

    def test_one_terminal_is_told_once(self):
        """The report has said why already; where standard error goes elsewhere, that has it too."""
        ours, theirs = os.openpty()
        try:
            done = subprocess.run([SONDE, "call", "tcp://127.0.0.1:1"], stdout=theirs, stderr=theirs,
                                  stdin=subprocess.DEVNULL, timeout=PATIENCE_S)
            text = os.read(ours, 1 << 16).decode()
            self.assertEqual(done.returncode, 1)
            self.assertIn("NOTHING MEASURED: tcp://127.0.0.1:1: cannot connect", text)
            self.assertNotIn("sonde: tcp://", text)
            done = subprocess.run([SONDE, "call", "nonsense"], stdout=theirs, stderr=theirs,
                                  stdin=subprocess.DEVNULL, timeout=PATIENCE_S)
            self.assertIn("sonde: nonsense: no transport named", os.read(ours, 1 << 16).decode())
        finally:
            os.close(ours)
            os.close(theirs)
        done = run("call", "tcp://127.0.0.1:1")
        self.assertIn("NOTHING MEASURED", done.stdout)
        check_one_line(self, done, 1)

    def test_reader_that_leaves(self):
        """Into a pipe that nobody reads any more, as with head -1."""
        began = time.monotonic()
        process = start("call", "-d", "400ms", "-w", "0", "--interval", "100ms")
        process.stdout.readline()
        process.stdout.close()
        process.stdout = open(os.devnull)
        done = end(process, began)
        self.assertEqual((done.returncode, done.stderr), (141, "")) # as if by SIGPIPE
        self.assertLess(done.seconds, 6)

    def test_file_that_cannot_be_written(self):
        done = run("call", "-n", "10", "-q", "--json=/nonexistent/folder/record.json")
        self.assertIn("/nonexistent", check_one_line(self, done, 1))

    def test_files(self):
        folder = Folder(self)
        done = run("call", "-n", "1000", "-e", "epoll,poll", "--json=" + folder.file("json"),
                   "--csv=" + folder.file("csv"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("calls/s", done.stdout)
        record = read_record(self, folder.file("json"))
        with open(folder.file("csv"), encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 2)
        for row, one in zip(rows, record["runs"]):
            self.assertEqual(row["label"], one["label"])
            key = next(name for name in row if re.fullmatch(r"calls(\W.*)?", name))
            self.assertEqual(float(row[key]), 1000)
        self.assertEqual(sorted(os.listdir(folder.path)), ["csv", "json"]) # nothing left over

    def test_text_into_a_file(self):
        path = Folder(self).file("text")
        with open(path, "w", encoding="utf-8") as file:
            done = run("call", "-n", "1000", stdout=file)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertIn("calls/s", text)
        self.assertNotIn("\x1b", text) # no colours where nobody looks


def received_by_server(one):
    """Bytes that sonde's own server received: sizes below 2048 stand in buckets of one value."""
    histogram = one["histograms"]["server_received_size"]
    assert histogram["max"] < 2048
    return round(histogram["count"] * histogram["mean"])


class EveryWay(unittest.TestCase):
    """Each engine through each transport, each strategy, one and four connections: a counted run
    answers exactly what was asked for, and the server saw as many bytes."""

    COUNT = 1000

    def check_matrix(self, target, own):
        names = engines()
        for connections in ("1", "4"):
            for write in STRATEGIES:
                with self.subTest(connections=connections, write=write):
                    record = call_record(self, "-n", str(self.COUNT), "-c", connections, "--high",
                                         "20", "--write", write, "-e", ",".join(names), *target)
                    self.assertEqual([one["label"] for one in record["runs"]], names)
                    for one in record["runs"]:
                        self.check_run(one, own)

    def check_run(self, one, own):
        self.assertTrue(one["complete"])
        self.assertEqual(metric(one, "calls"), self.COUNT)
        self.assertEqual(metric(one, "unfinished"), 0)
        self.assertEqual(one["errors"], [])
        for name in ("response_time", "service_time"):
            self.assertEqual(one["histograms"][name]["count"], self.COUNT)
            self.assertGreater(one["histograms"][name]["min"], 0)
        sizes = one["histograms"]["received_size"]
        self.assertEqual(round(sizes["count"] * sizes["mean"]), self.COUNT)
        if own:
            self.assertEqual(received_by_server(one), self.COUNT)

    def test_own_server(self):
        self.check_matrix([], True)

    def test_local(self):
        self.check_matrix(["local:"], True)

    def test_pipe(self):
        self.check_matrix(["pipe:"], True)

    def test_own_unix(self):
        self.check_matrix(["unix:"], True)

    def test_unix(self):
        with Serving("unix:" + Folder(self).file("socket")) as server:
            self.check_matrix([server.address], False)

    def test_ipv6(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest("no IPv6 here: %s" % error)
        with Serving("tcp://[::1]:0") as server:
            self.check_matrix([server.address], False)

    def test_big_calls(self):
        for size in ("1000", "200k"):
            record = call_record(self, "-n", "300", "-c", "2", "--high", "5", "-m", size, "-e",
                                 ",".join(engines()))
            for one in record["runs"]:
                self.assertEqual(metric(one, "calls"), 300)

    def test_several_threads(self):
        record = call_record(self, "-n", "1001", "-c", "5", "-t", "3", "-e", "poll,epoll")
        for one in record["runs"]:
            self.assertEqual(metric(one, "calls"), 1001)
            self.assertEqual(received_by_server(one) if
                             one["histograms"]["server_received_size"]["max"] < 2048 else 1001, 1001)

    def test_null(self):
        record = call_record(self, "-n", "100000", "-e", "null")
        self.assertEqual(metric(record["runs"][0], "calls"), 100000)

    def test_by_duration(self):
        record = call_record(self, "-d", "250ms", "-w", "50ms", "-e", ",".join(engines()))
        for one in record["runs"]:
            calls, rate = metric(one, "calls"), metric(one, "calls_per_second")
            self.assertGreater(calls, 0)
            self.assertAlmostEqual(rate * one["window_ns"] / 1e9 / calls, 1, places=6)
            self.assertGreaterEqual(one["histograms"]["response_time"]["count"], calls)
            self.assertGreaterEqual(one["wall_ns"], 250e6)

    def test_source(self):
        with Serving("tcp://127.0.0.1:0") as server:
            record = call_record(self, "-n", "100", "-c", "4", "--source",
                                 "127.0.0.2-127.0.0.3", server.address)
        self.assertEqual(metric(record["runs"][0], "calls"), 100)

    def test_byte_answers(self):
        record = call_record(self, "-n", "500", "--answer", "byte")
        one = record["runs"][0]
        self.assertEqual(metric(one, "calls"), 500)
        self.assertEqual(metric(one, "server_bytes_per_send"), 1)


class OpenLoop(unittest.TestCase):
    def test_issues_what_is_scheduled(self):
        for arguments in (["-c", "1"], ["-c", "4", "-t", "2"], ["-c", "3", "--write", "each"]):
            with self.subTest(arguments=arguments):
                record = call_record(self, "-r", "1000", "-d", "500ms", "-w", "0", "-e",
                                     "epoll,uring" if "uring" in engines() else "epoll",
                                     *arguments)
                for one in record["runs"]:
                    self.assertEqual(one["mode"], "open loop")
                    # Issued until the cut that ends the window, wherever that was; answers in the
                    # drain count in the histogram.
                    due = one["window_ns"] / 1e6
                    behind = metric(one, "send_behind")
                    # Those never issued stand in the send lag with the age that they reached.
                    issued = one["histograms"]["send_lag"]["count"] - behind
                    self.assertEqual(one["histograms"]["response_time"]["count"], issued)
                    self.assertGreaterEqual(issued + behind, due - 5)
                    # Threads are not cut at the very same time: on a busy machine some later.
                    self.assertLessEqual(issued + behind, due + 250)

    def test_counted(self):
        record = call_record(self, "-r", "5000", "-n", "777", "--arrival", "poisson")
        one = record["runs"][0]
        self.assertEqual(metric(one, "calls"), 777)
        self.assertEqual(one["histograms"]["send_lag"]["count"], 777)


@unittest.skipIf("SONDE_SANITIZED" in os.environ, "the leak check cannot run under strace")
@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class AgainstStrace(unittest.TestCase):
    """The client's own counts against what strace saw of the same run.

    Sends and receives: exactly equal (of the threads engine: those that moved bytes). Entries into the loop: the worker also waits before the
    first call and after the last answer, and how often it looks meanwhile is a matter of time: all
    those between the first send and the last answer must be there, and none that strace has not
    seen."""

    WAITS = ("ppoll", "epoll_pwait2", "io_uring_enter")
    COUNT = 2000

    def strace(self, engine, server, write, connections):
        folder = Folder(self)
        done = run("call", "--json=" + folder.file("json"), "-q", "-e", engine, "-n",
                   str(self.COUNT), "-c", connections, "--high", "10", "--write", write,
                   server.address,
                   prefix=["strace", "-f", "-qq", "-o", folder.file("strace"), "-e",
                           "trace=sendto,recvfrom," + ",".join(self.WAITS)])
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(folder.file("strace"), encoding="utf-8") as file:
            return read_record(self, folder.file("json"))["runs"][0], file.read().splitlines()

    def compare(self, engine, server, write, connections):
        one, lines = self.strace(engine, server, write, connections)
        begun = [match for line in lines
                 if (match := re.match(r"(\d+) +(\w+)\(", line))]
        mine = next(process for process in one["processes"] if process["role"] == "client")
        counted = {call["name"]: call["calls"] for call in mine["engine_calls"]["syscalls"]}
        # The workers' threads: the conductor waits by ppoll too.
        workers = {match[1] for match in begun if match[2] in ("sendto", "recvfrom")}
        if engine == "uring":
            workers = {match[1] for match in begun if match[2] == "io_uring_enter"}
        seen = {}
        for match in begun:
            if match[1] in workers:
                seen[match[2]] = seen.get(match[2], 0) + 1
        again = {call["name"]: call["errors"].get("EAGAIN", 0)
                 for call in mine["engine_calls"]["syscalls"]}
        for name in ("sendto", "recvfrom"):
            moved = sum(re.search(r"\b%s(\(| resumed>).* = \d+$" % name, line) is not None
                        for line in lines)
            self.assertEqual(counted.get(name, 0) - again.get(name, 0), moved, name)
            if engine != "threads": # which looks by recvfrom, after the last answer too
                self.assertEqual(counted.get(name, 0), seen.get(name, 0), name)
            self.assertLessEqual(counted.get(name, 0), seen.get(name, 0), name)
        moves = [i for i, match in enumerate(begun) if match[1] in workers and
                 match[2] in ("sendto", "recvfrom", *(["io_uring_enter"] * (engine == "uring")))]
        for name in self.WAITS:
            within = sum(match[2] == name and match[1] in workers
                         for match in begun[moves[0]:moves[-1]]) if engine != "uring" else 0
            self.assertGreaterEqual(counted.get(name, 0), within, name)
            self.assertLessEqual(counted.get(name, 0), seen.get(name, 0), name)
        self.assertGreater(sum(counted.values()), 0)

    def test_each_engine(self):
        with Serving("tcp://127.0.0.1:0") as server:
            for engine in engines():
                for write, connections in (("gather", "1"), ("each", "1"), ("gather", "3")):
                    with self.subTest(engine=engine, write=write, connections=connections):
                        self.compare(engine, server, write, connections)


if __name__ == "__main__":
    unittest.main()
