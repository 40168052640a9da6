"""System calls that fail: each is said in one line, and nothing that was measured is lost."""

import json
import os
import shutil
import signal
import time
import unittest

import check_record
from sonde_program import Folder, check_one_line, end, read_record, run, start

NOT_SANITIZED = "the leak check cannot run under strace"
SWEEP = ("sweep", "--vary", "buffer=4k,64k", "--repeat", "3", "--warmup-runs", "0", "-q")
RUN = ("--", "ipc", "-n", "1", "-w", "0")


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class Injected(unittest.TestCase):
    def failing(self, fault, *arguments):
        call = fault.split(":")[0]
        return run(*arguments, prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e",
                                       f"trace={call}", "-e", f"inject={fault}"])

    def test_a_result_that_does_not_reach_the_disk(self):
        path = Folder(self).file("record.json")
        done = self.failing("fsync:error=EIO", "ipc", "-n", "1", "-q", f"--json={path}")
        self.assertIn("cannot be written: Input/output error", check_one_line(self, done, 1))
        self.assertFalse(os.path.exists(path))
        self.assertIn("bandwidth", done.stdout)

    def test_a_state_that_does_not_reach_the_disk(self):
        state = Folder(self).file("state")
        done = self.failing("fsync:error=EIO", *SWEEP, f"--state={state}", *RUN)
        self.assertIn("cannot be brought to the disk", check_one_line(self, done, 1))

    def test_a_child_that_would_keep_our_files(self):
        done = self.failing("close_range:error=EIO", *SWEEP, *RUN)
        self.assertIn("cannot be started", check_one_line(self, done, 1))

    def test_a_sweep_that_cannot_go_on_keeps_its_runs(self):
        path = Folder(self).file("record.json")
        done = self.failing("pidfd_open:error=EMFILE:when=5", *SWEEP, f"--json={path}", *RUN)
        self.assertIn("cannot be waited for: Too many open files", check_one_line(self, done, 1))
        record = read_record(self, path)
        self.assertFalse(record["complete"])
        self.assertEqual(len(record["runs"]), 4)
        self.assertIn("4k", done.stdout)


class Killed(unittest.TestCase):
    def test_a_comparison_whose_child_dies_keeps_its_pairs(self):
        path = Folder(self).file("comparison.json")
        began = time.monotonic()
        process = start("compare", "--run", "ipc -d 200ms -w 0", "--run", "ipc -b 4k -d 200ms -w 0",
                        "-n", "200", "--warmup-runs", "0", f"--json={path}")
        time.sleep(6)
        killed = False
        while not killed: # between two runs there is none
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
                for child in file.read().split():
                    os.kill(int(child), signal.SIGKILL)
                    killed = True
        done = end(process, began)
        self.assertIn("died of signal 9", check_one_line(self, done, 1))
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        self.assertFalse(found["complete"])
        self.assertGreater(found["comparisons"][0]["a_runs"], 2)
        self.assertIn("ended after", " ".join(found["warnings"]))

    def test_an_ignored_sigchld_is_not_inherited(self):
        prefix = ["env", "--ignore-signal=CHLD"]
        done = run("call", "-d", "100ms", "-q", prefix=prefix)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        done = run("observe", "--probe", "memory", "--", "sh", "-c", "exit 3", prefix=prefix)
        self.assertEqual(done.returncode, 3, done.stderr)


class Interrupted(unittest.TestCase):
    """Whatever a transfer is made of, it is left within a moment."""

    def interrupt(self, *arguments):
        began = time.monotonic()
        process = start("ipc", *arguments)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        stopped = time.monotonic()
        done = end(process, began)
        check_one_line(self, done, 1)
        self.assertIn("interrupted", done.stderr)
        self.assertLess(time.monotonic() - stopped, 20)
        return done

    def test_one_thread(self):
        self.interrupt("1thread", "-b", "4k", "--total", "1024t", "-n", "1")

    def test_tiny_blocks(self):
        self.interrupt("2thread", "-b", "1", "--total", "1024t", "-n", "1")

    def test_the_first_transfer_counts_as_far_as_it_came(self):
        done = self.interrupt("-b", "64k", "--total", "1024t", "-n", "1", "-w", "0", "--json")
        record = check_record.load(done.stdout)
        self.assertEqual(check_record.problems(record), [])
        self.assertGreater(record["runs"][0]["metrics"]["bytes"]["value"], 1 << 20)

    def test_an_output_that_nobody_reads(self):
        path = Folder(self).file("pipe")
        os.mkfifo(path)
        began = time.monotonic()
        process = start("ipc", "-n", "1", "-q", f"--json={path}")
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        done = end(process, began)
        self.assertEqual(done.returncode, -signal.SIGTERM)


class Places(unittest.TestCase):
    """Where a result cannot go is said before anything is measured."""

    def test_refused(self):
        folder = Folder(self)
        same = folder.file("same.json")
        state = folder.file("pipe")
        os.mkfifo(state)
        for arguments in (["ipc", f"--json={same}", f"--csv={same}"], ["ipc", "--json", "--csv"],
                          [*SWEEP, f"--state={same}", f"--json={same}", *RUN],
                          [*SWEEP, f"--state={same}", f"--csv={same}", *RUN],
                          [*SWEEP, f"--state={state}", *RUN]):
            with self.subTest(arguments=arguments):
                done = run(*arguments)
                check_one_line(self, done, 2)
                self.assertEqual(done.stdout, "")
                self.assertFalse(os.path.exists(same))
        check_one_line(self, run("ipc", "--json=/tmp"), 1)

    def test_devices(self):
        folder = Folder(self)
        for arguments in (["ipc", "-n", "1"], [*SWEEP[:-1], "-q"]):
            done = run(*arguments, "--json=/dev/null", *(RUN if arguments[0] == "sweep" else ()),
                       cwd=folder.file(""))
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(os.path.exists("/dev/null.partial"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
