"""sonde ipc: every way to move bytes moves all of them, and its counts are the kernel's."""

import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

from sonde_program import check_one_line, checked_record, end, metric, run, start

MODES = ("1thread", "2thread", "2proc")
TRANSPORTS = ("pipe", "local", "tcp", "unix")
SANITIZED = "SONDE_SANITIZED" in os.environ


def ipc_record(case, *arguments, **options):
    done = run("ipc", "--json", *arguments, **options)
    case.assertEqual(done.returncode, 0, done.stderr)
    case.assertEqual(done.stderr, "")
    record = checked_record(case, done.stdout)
    case.assertTrue(record["complete"])
    return record


def end_of(one, role):
    return next(end for end in one["processes"] if end["role"] == role)


def own_calls(one, role):
    return {call["name"]: call for call in end_of(one, role)["engine_calls"]["syscalls"]}


class Methods(unittest.TestCase):
    def check(self, mode, transport, method, buffer, total):
        arguments = [mode, "-i", transport, "--method", method, "-b", str(buffer), "-T", str(total),
                     "-n", "3", "--warmup", "1ms"]
        if method != "splice":
            arguments.append("--verify")
        record = ipc_record(self, *arguments)
        one = record["runs"][0]
        self.assertEqual(one["label"], method)
        self.assertEqual(metric(one, "transfers"), 3)
        self.assertEqual(metric(one, "bytes"), 3 * total)
        self.assertEqual(metric(one, "blocks"), 3 * -(-total // buffer))
        self.assertEqual(one["histograms"]["transfer_time"]["count"], 3)
        self.assertAlmostEqual(metric(one, "bytes_per_second"), 3 * total * 1e9 / one["window_ns"],
                               delta=1e-6 * metric(one, "bytes_per_second"))
        roles = ["both"] if mode == "1thread" else ["sender", "receiver"]
        self.assertEqual([end["role"] for end in one["processes"]], roles)
        if mode != "1thread":
            pids = [end["pid"] for end in one["processes"]]
            tids = [end["tid"] for end in one["processes"]]
            self.assertEqual(len(set(pids)), 2 if mode == "2proc" else 1)
            self.assertEqual(len(set(tids)), 2)
        short = total % buffer != 0
        self.assertEqual(any("last block" in text for text in record["warnings"]), short)
        return one

    def test_every_mode_and_transport(self):
        for mode in MODES:
            for transport in TRANSPORTS:
                for buffer, total in ((1000, 100_000), (4096, 10_000), (65537, 65537 * 3)):
                    with self.subTest(mode=mode, transport=transport, buffer=buffer):
                        self.check(mode, transport, "copy", buffer, total)

    def test_every_method(self):
        for transport, methods in (("pipe", ("writev", "vmsplice", "splice", "uring")),
                                   ("local", ("writev", "uring")),
                                   ("tcp", ("writev", "uring", "zerocopy")),
                                   ("unix", ("writev", "uring"))):
            for method in methods:
                with self.subTest(transport=transport, method=method):
                    one = self.check("2proc", transport, method, 8192, 1_000_000)
                    if method == "zerocopy":
                        # Loopback copies after all, and says so.
                        self.assertGreater(metric(one, "zerocopy_sends"), 0)
                        self.assertEqual(metric(one, "zerocopy_copied"),
                                         metric(one, "zerocopy_sends"))

    def test_copy_writes_one_buffer_a_call(self):
        for mode in ("2thread", "2proc"):
            one = self.check(mode, "pipe", "copy", 4096, 1 << 20)
            write = own_calls(one, "sender")["write"]
            read = own_calls(one, "receiver")["read"]
            self.assertEqual(write["calls"], 3 * 256)
            self.assertEqual(write["bytes"], 3 << 20)
            self.assertEqual(read["bytes"], 3 << 20)
            self.assertGreaterEqual(read["calls"], 3 * 256)

    def test_several_methods_are_several_runs(self):
        record = ipc_record(self, "--method", "copy,vmsplice,uring", "-n", "2", "-T", "1m")
        self.assertEqual([one["label"] for one in record["runs"]], ["copy", "vmsplice", "uring"])

    def test_repeat(self):
        record = ipc_record(self, "-n", "1", "-T", "1m", "--repeat", "4")
        self.assertEqual(sum(not one["discarded"] for one in record["runs"]), 4)
        self.assertEqual(record["summaries"][0]["runs"], 4)


class Settings(unittest.TestCase):
    def test_socket_buffers(self):
        record = ipc_record(self, "-i", "local", "-s", "-b", "32k", "-n", "1", "-T", "1m")
        one = record["runs"][0]
        self.assertEqual(metric(one, "send_buffer_bytes"), 65536)  # the kernel doubles it
        self.assertEqual(metric(one, "receive_buffer_bytes"), 65536)

    def test_socket_buffers_are_clamped_and_said(self):
        with open("/proc/sys/net/core/wmem_max", encoding="utf-8") as file:
            limit = int(file.read())
        record = ipc_record(self, "-i", "local", "-s", "-b", str(4 * limit), "-n", "1",
                            "-T", str(4 * limit))
        self.assertTrue(any("--socket-buffers" in text for text in record["warnings"]))
        self.assertEqual(metric(record["runs"][0], "send_buffer_bytes"), 2 * limit)

    def test_pipe_size(self):
        record = ipc_record(self, "--pipe-size", "1m", "-b", "1m", "-n", "1")
        self.assertEqual(metric(record["runs"][0], "send_buffer_bytes"), 1 << 20)

    def test_pinning(self):
        cpu = min(os.sched_getaffinity(0))
        record = ipc_record(self, "--cpu", str(cpu), "-n", "1", "-T", "1m")
        self.assertIn("CPU %d" % cpu, record["runs"][0]["detail"])

    def test_duration(self):
        record = ipc_record(self, "-d", "300ms", "-T", "64k", "-b", "4k")
        one = record["runs"][0]
        self.assertGreaterEqual(one["wall_ns"], 300e6)
        self.assertGreater(metric(one, "transfers"), 1)


class Witness(unittest.TestCase):
    """strace counts what the program says that it called."""

    def strace(self, *arguments):
        with tempfile.TemporaryDirectory(prefix="sonde-") as folder:
            done = subprocess.run(["strace", "-f", "-e", "trace=read,write", "-o",
                                   folder + "/trace", os.environ.get("SONDE", "build/sonde"),
                                   *arguments], capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(folder + "/trace", encoding="utf-8") as file:
                text = file.read()
        # A call that another one interrupts in the listing stands in two lines: its end counts.
        lines = [line for line in text.splitlines() if "unfinished" not in line]
        sizes = {"read": [], "write": []}
        for line in lines:
            match = re.search(r"\b(read|write)(?:\(| resumed).* = (-?\d+)", line)
            if match:
                sizes[match[1]].append(int(match[2]))
        return done.stdout, sizes

    @unittest.skipIf(SANITIZED, "the leak checker cannot run under strace")
    def test_against_strace(self):
        buffer, total, transfers = 4096, 1 << 20, 2
        for mode in ("2thread", "2proc"):
            with self.subTest(mode=mode):
                text, sizes = self.strace("ipc", mode, "-b", str(buffer), "-T", str(total), "-n",
                                          str(transfers), "--warmup", "0", "--json")
                one = checked_record(self, text)["runs"][0]
                write = own_calls(one, "sender")["write"]["calls"]
                read = own_calls(one, "receiver")["read"]["calls"]
                # The program reads and writes other things, but nothing in whole buffers or more
                # than a few hundred times.
                self.assertEqual(write, transfers * total // buffer)
                self.assertEqual(sizes["write"].count(buffer), write)
                moved = [size for size in sizes["read"] if size > 0]
                self.assertGreaterEqual(sum(moved), transfers * total)
                self.assertLess(len(sizes["read"]) - read, 400)
                self.assertGreaterEqual(len(sizes["read"]), read)


@unittest.skipUnless(run("doctor").stdout.count("syscalls  yes") or os.geteuid() == 0,
                     "no permission to observe")
class Observed(unittest.TestCase):
    """The kernel sees the calls of the measured window, and no other."""

    def seen(self, one, role):
        return {call["name"]: call["calls"]
                for process in one["processes"] if process["role"] == role
                for call in process["kernel_calls"].get("syscalls", [])}

    def test_two_processes(self):
        total, buffer = 1 << 20, 4096
        one = ipc_record(self, "2proc", "-b", str(buffer), "-T", str(total), "-n", "8",
                         "--probe", "syscalls")["runs"][0]
        blocks = 4 * total // buffer  # of the transfers that were observed
        for role, name in (("sender", "write"), ("receiver", "read")):
            seen = self.seen(one, role)
            end = end_of(one, role)["kernel_calls"]
            self.assertEqual(end["operations"], blocks)
            self.assertGreaterEqual(seen[name], blocks)
            self.assertEqual(set(seen), {name}, seen)
            if role == "sender":
                self.assertEqual(seen, {"write": blocks})

    def test_one_process(self):
        for mode in ("1thread", "2thread"):
            one = ipc_record(self, mode, "-b", "4096", "-T", "1m", "-n", "12", "--observe",
                             "self")["runs"][0]
            seen = self.seen(one, "both")
            self.assertGreaterEqual(seen["write"], 1536)
            self.assertGreaterEqual(seen["read"], 1536)
            if mode == "2thread":
                self.assertEqual(seen["write"], 1536)
            # The conductor looks after the run meanwhile, and is not counted.
            self.assertEqual(set(seen) - {"ppoll"}, {"read", "write"})
            self.assertIsNotNone(one["probe_effect"]["ratio"])

    def test_only_one_end(self):
        one = ipc_record(self, "2proc", "-n", "8", "-T", "1m", "--observe", "sender")["runs"][0]
        self.assertEqual(set(self.seen(one, "sender")), {"write"})
        self.assertEqual(self.seen(one, "receiver"), {})


class Trouble(unittest.TestCase):
    def test_wrong_options(self):
        for arguments in (["3proc"], ["2thread", "2proc"], ["-b", "0"], ["-T", "0"], ["-b", "x"],
                          ["-s"], ["--pipe-size", "1m", "-i", "tcp"], ["--method", "teleport"],
                          ["--cpu", "9999"], ["--cpu", "0,0,0"], ["--port", "1"],
                          ["--congestion", "cubic"],
                          ["--method", "zerocopy", "-i", "tcp", "1thread"],
                          ["--method", "splice", "--verify"], ["-b", "100000000000000000000"]):
            with self.subTest(arguments=arguments):
                check_one_line(self, run("ipc", *arguments), 2)

    def test_what_cannot_be(self):
        for arguments in (["--method", "vmsplice", "-i", "tcp"], ["--method", "zerocopy"]):
            with self.subTest(arguments=arguments):
                check_one_line(self, run("ipc", "-n", "1", *arguments), 2)
        for arguments in (["-b", "900g", "-T", "900g"], ["-i", "tcp", "--congestion", "nonesuch"]):
            with self.subTest(arguments=arguments):
                done = run("ipc", "-n", "1", *arguments)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertTrue(done.stderr.startswith("sonde: "), done.stderr)

    def test_nearest_mode(self):
        self.assertIn("did you mean 2proc?", run("ipc", "2procs").stderr)

    def sender_of(self, process):
        """The child that sends."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            path = "/proc/%d/task/%d/children" % (process.pid, process.pid)
            with open(path, encoding="utf-8") as file:
                children = file.read().split()
            if children:
                return int(children[0])
            time.sleep(0.01)
        raise AssertionError("no sender")

    def test_killed_sender(self):
        began = time.monotonic()
        process = start("ipc", "2proc", "-d", "20", "--json")
        child = self.sender_of(process)
        time.sleep(0.5)
        os.kill(child, signal.SIGKILL)
        done = end(process, began)
        self.assertEqual(done.returncode, 1)
        self.assertLess(done.seconds, 15)
        self.assertIn("signal 9", done.stderr)
        self.assertFalse(checked_record(self, done.stdout)["complete"])

    def test_interrupted(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                began = time.monotonic()
                process = start("ipc", mode, "-d", "20", "--json")
                time.sleep(1.5 if SANITIZED else 0.7)
                process.send_signal(signal.SIGINT)
                done = end(process, began)
                self.assertEqual(done.returncode, 1)
                self.assertLess(done.seconds, 15)
                record = checked_record(self, done.stdout)
                self.assertFalse(record["complete"])
                self.assertGreater(metric(record["runs"][0], "transfers"), 0)

    def test_interrupted_in_one_long_transfer(self):
        began = time.monotonic()
        process = start("ipc", "2proc", "-T", "4t", "-b", "64k", "--warmup", "0")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        done = end(process, began)
        self.assertEqual(done.returncode, 1)
        self.assertLess(done.seconds, 20)
        self.assertIn("interrupted", done.stderr)

    def test_interrupted_while_the_sender_is_stopped(self):
        began = time.monotonic()
        process = start("ipc", "2proc", "-d", "30")
        child = self.sender_of(process)
        time.sleep(1)
        os.kill(child, signal.SIGSTOP)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        done = end(process, began)
        self.assertEqual(done.returncode, 1)
        self.assertLess(done.seconds, 20)
        self.assertIn("interrupted", done.stderr)
        self.assertFalse(os.path.exists("/proc/%d" % child))

    def test_no_orphan(self):
        process = start("ipc", "2proc", "-d", "20")
        child = self.sender_of(process)
        process.kill()
        process.communicate()
        until = time.monotonic() + 10
        while os.path.exists("/proc/%d" % child) and time.monotonic() < until:
            time.sleep(0.05)
        self.assertFalse(os.path.exists("/proc/%d" % child))


if __name__ == "__main__":
    unittest.main(verbosity=2)
