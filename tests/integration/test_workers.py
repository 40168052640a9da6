"""Several processes at an end: --workers of the client and of `sonde serve`, and as many as it takes
where one may not open enough files."""

import os
import re
import resource
import signal
import time
import unittest

from sonde_program import (
    PATIENCE_S, Folder, Serving, call_record, check_failed_record, check_one_line, checked_record, end, engines,
    metric, read_record, run, start)


def children(pid):
    """Its living children, by their names; one that has just been forked has its own in a moment."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = {}
        with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as file:
            for child in file.read().split():
                try:
                    with open("/proc/%s/comm" % child, encoding="ascii") as comm:
                        found.setdefault(comm.read().strip(), []).append(int(child))
                except OSError:
                    pass  # it has just ended
        if "sonde" not in found or time.monotonic() > until:
            return found
        time.sleep(0.01)


def cpu_s(pid):
    """CPU time of a process in seconds, from its clock ticks."""
    with open("/proc/%d/stat" % pid, encoding="ascii") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def row(one, role):
    rows = [process for process in one["processes"] if process["role"] == role]
    assert len(rows) == 1, rows
    return rows[0]


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def ws_record(case, *arguments, **options):
    done = run("ws", "--json", *arguments, **options)
    case.assertEqual(done.returncode, 0, done.stderr)
    return checked_record(case, done.stdout)


class Counts(unittest.TestCase):
    def test_calls_of_three_processes(self):
        for engine in engines():
            with self.subTest(engine=engine):
                record = call_record(self, "-e", engine, "--workers", "3", "-c", "7", "-n", "10000")
                one = record["runs"][0]
                self.assertEqual(metric(one, "calls"), 10000)
                self.assertEqual(one["histograms"]["response_time"]["count"], 10000)
                self.assertEqual(row(one, "client")["processes"], 3)
                self.assertEqual(row(one, "client")["name"], "sonde-client")
                self.assertEqual(row(one, "server")["processes"], 1)
                threads = 7 if engine == "threads" else 3
                self.assertIn("%d threads in 3 processes" % threads, one["detail"])

    def test_one_process_is_this_one(self):
        one = call_record(self, "-c", "4", "-t", "2", "-n", "1000")["runs"][0]
        self.assertEqual(row(one, "client")["processes"], 1)
        self.assertNotIn("process", one["detail"])

    def test_handshakes(self):
        one = ws_record(self, "--workers", "2", "-c", "8", "-n", "1000")["runs"][0]
        self.assertEqual(metric(one, "handshakes"), 1000)
        self.assertEqual(metric(one, "server_upgraded"), 1000)
        self.assertEqual(row(one, "client")["processes"], 2)

    def test_more_processes_than_connections(self):
        record = call_record(self, "--workers", "5", "-c", "2", "-n", "100")
        self.assertEqual(row(record["runs"][0], "client")["processes"], 2)
        self.assertTrue(any("only 2 run" in text for text in record["warnings"]))

    def test_open_loop(self):
        one = call_record(self, "--workers", "2", "-c", "4", "-n", "1000", "-r", "5000")["runs"][0]
        self.assertEqual(metric(one, "calls"), 1000)

    def test_streams_have_their_rows(self):
        done = run("stream", "--json", "--workers", "2", "-P", "4", "--bytes", "64M")
        self.assertEqual(done.returncode, 0, done.stderr)
        one = checked_record(self, done.stdout)["runs"][0]
        self.assertEqual(metric(one, "bytes_lost"), 0)
        names = {flow["scope"]["what"] if "scope" in flow else flow["what"]
                 for flow in one["flows"]}
        for number in range(1, 5):
            self.assertIn("stream %d" % number, names)

    def test_many_connections_in_a_worker(self):
        """More than are started, or drained, at a time."""
        one = ws_record(self, "--mode", "message", "-c", "2500", "-n", "5000", "--timeout", "50s",
                        "--drain", "50s", "--connect-timeout", "50s")["runs"][0]
        self.assertEqual(metric(one, "round_trips"), 5000)
        self.assertEqual(metric(one, "closes"), 2500)

    def test_cpu_time_is_that_of_the_processes(self):
        folder = Folder(self)
        began = time.monotonic()
        process = start("call", "--workers", "2", "-c", "4", "-d", "3s", "-w", "0", "-q",
                        "--json=" + folder.file("json"))
        time.sleep(2.5)
        pids = children(process.pid)["sonde-client"]
        self.assertEqual(len(pids), 2)
        seen_s = sum(cpu_s(pid) for pid in pids)
        self.assertEqual(end(process, began).returncode, 0)
        mine = row(read_record(self, folder.file("json"))["runs"][0], "client")
        whole_s = (mine["cpu_user_ns"] + mine["cpu_system_ns"]) / 1e9
        # Looked at before the end, and with what starting took.
        self.assertGreater(whole_s, 0.5 * seen_s)
        self.assertGreaterEqual(seen_s + 1.5, whole_s)


class Failures(unittest.TestCase):
    def begin(self, *arguments):
        self.folder = Folder(self)
        self.process = start("call", "-c", "6", "-d", "50s", "-w", "0", "--interval", "100ms",
                             "--high", "10", "--low", "5", "--json=" + self.folder.file("json"),
                             *arguments)
        self.assertIn("calls/s", self.process.stdout.readline())
        return children(self.process.pid)

    def ended(self, began, status):
        done = end(self.process, began)
        self.assertLess(done.seconds, 20)
        line = check_one_line(self, done, status)
        record = read_record(self, self.folder.file("json"))
        check_failed_record(self, record)
        self.assertGreater(metric(record["runs"][0], "calls"), 0)
        return line

    def test_a_client_process_is_killed(self):
        pids = self.begin("--workers", "3")
        began = time.monotonic()
        os.kill(pids["sonde-client"][1], signal.SIGKILL)
        line = self.ended(began, 1)
        self.assertIn("client: process 2 of 3 (pid %d) ended with signal 9" %
                      pids["sonde-client"][1], line)

    def test_a_server_process_is_killed(self):
        pids = self.begin("--workers", "3")
        began = time.monotonic()
        os.kill(pids["sonde-server"][0], signal.SIGKILL)
        self.assertIn("server: ended with signal 9", self.ended(began, 1))

    def test_interrupted(self):
        pids = self.begin("--workers", "3")
        for pid in pids["sonde-client"]:
            os.kill(pid, signal.SIGINT)  # as Ctrl-C sends it to the whole group
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", self.ended(began, 1))
        for pid in sum(pids.values(), []):
            self.assertFalse(os.path.exists("/proc/%d" % pid))

    def test_connections_that_one_process_makes(self):
        for target in ("local:", "pipe:", "sonde://127.0.0.1:1"):
            with self.subTest(target=target):
                line = check_one_line(self, run("call", "--workers", "2", target), 2)
                self.assertIn("--workers", line)
                self.assertIn(target, line)


class Files(unittest.TestCase):
    def test_as_many_as_it_takes(self):
        for engine in engines():
            with self.subTest(engine=engine):
                record = call_record(self, "-e", engine, "-c", "200", "-n", "2000",
                                     "--connect-timeout", "50s", preexec_fn=few_files)
                one = record["runs"][0]
                self.assertEqual(metric(one, "calls"), 2000)
                clients, servers = (row(one, role)["processes"] for role in ("client", "server"))
                self.assertGreater(clients, 3)
                self.assertGreater(servers, 3)
                self.assertEqual(one["errors"], [])
                text = "%d client processes and %d server processes: one may open 64 files" % (
                    clients, servers)
                self.assertTrue(any(text in warning for warning in record["warnings"]),
                                record["warnings"])

    def test_pairs_are_refused(self):
        done = run("call", "-c", "200", "local:", preexec_fn=few_files)
        self.assertIn("open files", check_one_line(self, done, 1))

    def test_one_listener_is_refused(self):
        done = run("call", "-c", "200", "unix:", preexec_fn=few_files)
        self.assertIn("open files", check_one_line(self, done, 1))


class Servers(unittest.TestCase):
    def serve(self, *arguments, **options):
        folder = Folder(self)
        with Serving("ws://127.0.0.1:0", "--json=" + folder.file("json"), "-q", *arguments,
                     **options) as server:
            pids = children(server.process.pid).get("sonde-server", [])
            one = ws_record(self, "-c", "40", "--workers", "2", "-n", "2000",
                            server.address)["runs"][0]
            self.assertEqual(metric(one, "handshakes"), 2000)
            self.assertEqual(server.stop().returncode, 0)
        one = read_record(self, folder.file("json"))["runs"][0]
        self.assertEqual(metric(one, "server_upgraded"), 2000)
        self.assertEqual(metric(one, "server_accepted"), 2000)
        self.assertEqual(row(one, "server")["processes"], max(1, len(pids)))
        return len(pids)

    def test_as_asked_for(self):
        for engine in engines():
            with self.subTest(engine=engine):
                self.assertEqual(self.serve("--workers", "3", "-e", engine), 3)
        self.assertEqual(self.serve("--workers", "1"), 0)

    def test_as_many_as_it_takes(self):
        self.assertGreater(self.serve("--max-connections", "200", preexec_fn=few_files), 3)

    def test_the_limit_is_that_of_all_processes(self):
        with Serving("tcp://127.0.0.1:0", "--workers", "3", "--max-connections", "5") as server:
            clients = [server.connect() for _ in range(15)]
            answered = 0
            for client in clients:
                try:
                    client.sendall(b"x")
                    answered += client.recv(1) == b"x"
                except ConnectionError:
                    pass
            self.assertEqual(answered, 5)
            for client in clients:
                client.close()

    def test_one_is_killed(self):
        with Serving("tcp://127.0.0.1:0", "--workers", "3", "-q") as server:
            began = time.monotonic()
            os.kill(children(server.process.pid)["sonde-server"][1], signal.SIGKILL)
            done = end(server.process, began)
            self.assertIn("ended with signal 9", check_one_line(self, done, 1))

    def test_addresses_of_one_process(self):
        for address in ("unix:@sonde-test-workers", "sonde://127.0.0.1:0"):
            line = check_one_line(self, run("serve", "--workers", "2", address), 2)
            self.assertIn("--workers", line)


@unittest.skipUnless(os.geteuid() == 0, "not root: the BPF programs cannot be loaded")
class Observed(unittest.TestCase):
    def differences(self):
        """How far off what the kernel saw is from what the engines counted, for each call."""
        record = call_record(self, "--workers", "3", "-c", "6", "-d", "2s", "--high", "1",
                             "-o", "self,server")  # one call each: however busy the machine
        one = record["runs"][0]
        if not row(one, "client")["kernel_calls"]["available"]:
            self.skipTest(row(one, "client")["kernel_calls"]["reason"])
        self.assertRegex(one["observation"], r"self \(pid \d+ and 2 more\), server \(pid \d+\)")
        found = {}
        for role in ("client", "server"):
            entry = row(one, role)
            own, seen = ({call["name"]: call["calls_per_operation"]
                          for call in entry[counts]["syscalls"]}
                         for counts in ("engine_calls", "kernel_calls"))
            for name in ("sendto", "recvfrom"):
                found[role, name] = abs(seen[name] / own[name] - 1)
        return found

    def test_calls_of_all_processes(self):
        """What the engines count, the kernel sees, at both ends. On a busy machine a worker may be
        cut late: once of five times they agree."""
        for _ in range(5):
            found = self.differences()
            if max(found.values()) <= 0.05:
                return
        self.fail(found)

    def test_processes_of_both_ends(self):
        record = call_record(self, "-c", "200", "-d", "2s", "-o", "self,server", "--high", "10",
                             "--low", "5", "--connect-timeout", "50s", preexec_fn=few_files)
        one = record["runs"][0]
        if not row(one, "client")["kernel_calls"]["available"]:
            self.skipTest(row(one, "client")["kernel_calls"]["reason"])
        more = [int(number) for number in re.findall(r"and (\d+) more", one["observation"])]
        self.assertEqual(more, [row(one, role)["processes"] - 1 for role in ("client", "server")])


if __name__ == "__main__":
    unittest.main()
