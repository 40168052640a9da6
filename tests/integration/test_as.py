"""sonde as PROGRAM: the command lines of other programs, and their output."""

import os
import re
import subprocess
import unittest

from sonde_program import SONDE, Folder, check_one_line, run

RATE = re.compile(r"\d+\.\d\d KBytes/sec\n")
USAGE_LINES = (
    "ipc-static [-Bqsv] [-b buffersize] [-i pipe|local|tcp] [-p tcp_port]",
    "\t[-P l1d|l1i|l2|mem|tlb|axi] [-t totalsize] mode",
    "Modes (pick one - default 1thread):",
    "    2proc                  IPC between two threads in two different processes",
    "    -b buffersize          Specify a buffer size (default: 131072)",
    "    -t totalsize           Specify total I/O size (default: 16777216)",
)


def ipc_static(*arguments):
    return run("as", "ipc-static", *arguments)


class IpcStatic(unittest.TestCase):
    def check_rate(self, *arguments):
        done = ipc_static(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        self.assertRegex(done.stdout, RATE)
        self.assertEqual(done.stdout.count("\n"), 1)

    def test_the_notebook(self):
        """Its own command lines; all but the last take a second to settle."""
        self.check_rate("-i", "pipe", "2thread")
        self.check_rate("-i", "local", "2thread")
        self.check_rate("-i", "local", "-s", "-b", "1024", "2thread")
        done = ipc_static("-q", "-B", "-i", "pipe", "2thread")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_verbose(self):
        done = ipc_static("-Bv", "-b4096", "-t", "1048576", "-i", "tcp", "2proc")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[:6], ["Benchmark configuration:", "  buffersize: 4096",
                                     "  totalsize: 1048576", "  blockcount: 256",
                                     "  mode: 2proc", "  ipctype: tcp"])
        time = re.fullmatch(r"  time: (\d+)\.(\d{9})", lines[6])
        self.assertIsNotNone(time, lines[6])
        seconds = int(time[1]) + int(time[2]) / 1e9
        rate = float(lines[7].split()[0])
        self.assertAlmostEqual(rate * seconds, 1024, delta=0.02 * 1024)
        self.assertEqual(len(lines), 8)

    def test_every_mode(self):
        for mode in ("1thread", "2thread", "2proc"):
            for kind in ("pipe", "local", "tcp"):
                with self.subTest(mode=mode, kind=kind):
                    self.check_rate("-B", "-i", kind, mode)

    def test_usage(self):
        for arguments in ([], ["-B"], ["3thread"], ["-x", "2thread"], ["-b", "0", "2thread"],
                          ["-b", "1k", "2thread"], ["-t", "-1", "2thread"], ["-b", "", "2thread"],
                          ["-i", "udp", "2thread"], ["-p", "65536", "2thread"],
                          ["-P", "l3", "2thread"], ["-s", "2thread"], ["2thread", "2proc"],
                          ["2thread", "-B"], ["-b"]):
            with self.subTest(arguments=arguments):
                done = ipc_static(*arguments)
                self.assertEqual(done.returncode, 64)
                self.assertEqual(done.stdout, "")
                for line in USAGE_LINES:
                    self.assertIn(line + "\n", done.stderr)

    def test_not_a_multiple(self):
        done = ipc_static("-B", "-b", "1000", "2thread")
        self.assertEqual(done.returncode, 64)
        self.assertEqual(done.stderr, "ipc-static: FAIL: data size (16777216) is not a multiple of "
                                      "buffersize (1000)\n")

    def test_a_port_that_is_taken(self):
        import socket
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = ipc_static("-B", "-i", "tcp", "-p", str(port), "2thread")
        self.assertEqual(done.returncode, 71)
        self.assertIn("ipc-static: FAIL: ", done.stderr)

    def test_symbolic_link(self):
        link = Folder(self).file("ipc-static")
        os.symlink(SONDE, link)
        done = subprocess.run([link, "-B", "2thread"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, RATE)
        done = subprocess.run([link], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 64)


class Table(unittest.TestCase):
    def test_list(self):
        done = run("as")
        self.assertEqual(done.returncode, 0)
        self.assertIn("ipc-static", done.stdout)

    def test_unknown(self):
        line = check_one_line(self, run("as", "ipc-statik"), 2)
        self.assertIn("did you mean sonde as ipc-static?", line)

    def test_help(self):
        self.assertIn("symbolic link", run("as", "--help").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
