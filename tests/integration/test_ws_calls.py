"""What `sonde ws` counts of its own calls to the kernel, against strace; and what a handshake costs."""

import collections
import os
import re
import shutil
import unittest

from sonde_program import Folder, engines, read_record, run

HANDSHAKES = 200
# Made on a worker's thread for connections alone: these counts are exact. Others (close, waiting) are
# made before the first and after the last, too.
EXACT = ("socket", "bind", "setsockopt", "connect", "accept4", "sendto", "recvfrom", "shutdown")
WITHIN = ("getsockopt", "epoll_ctl", "epoll_pwait2", "ppoll", "io_uring_enter", "close")


def counted(one, role):
    process = next(process for process in one["processes"] if process["role"] == role)
    return {call["name"]: call["calls"] for call in process["engine_calls"]["syscalls"]}


@unittest.skipIf("SONDE_SANITIZED" in os.environ, "the leak check cannot run under strace")
@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class AgainstStrace(unittest.TestCase):
    def strace(self, *arguments):
        """The run, and the calls of each thread."""
        folder = Folder(self)
        done = run("ws", "--json=" + folder.file("json"), "-q", "-n", str(HANDSHAKES), "-c", "20",
                   "--low", "10", *arguments,
                   prefix=["strace", "-f", "-qq", "-o", folder.file("strace"), "-e",
                           "trace=" + ",".join(EXACT + WITHIN)])
        self.assertEqual(done.returncode, 0, done.stderr)
        threads = collections.defaultdict(collections.Counter)
        with open(folder.file("strace"), encoding="utf-8") as file:
            for line in file:
                if match := re.match(r"(\d+) +(\w+)\(", line):
                    threads[match[1]][match[2]] += 1
        return read_record(self, folder.file("json"))["runs"][0], threads

    def compare(self, one, threads, role):
        mine = counted(one, role)
        # The worker's thread: it alone waits so often and makes so many.
        thread = min(threads, key=lambda name: sum(abs(threads[name][call] - mine.get(call, 0))
                                                   for call in EXACT + WITHIN))
        seen = threads.pop(thread)
        for call in EXACT:
            self.assertEqual(mine.get(call, 0), seen[call], (role, call))
        for call in WITHIN:
            self.assertLessEqual(mine.get(call, 0), seen[call], (role, call))
        self.assertEqual({name for name in mine if name not in EXACT + WITHIN}, set())

    def test_each_engine(self):
        for engine in engines():
            if engine == "threads":
                continue # a thread for each connection, another one for the listener
            for rest in ((), ("--source", "127.0.0.2-127.0.0.3"), ("unix:",)):
                with self.subTest(engine=engine, rest=rest):
                    one, threads = self.strace("-e", engine, *rest)
                    self.compare(one, threads, "client")
                    self.compare(one, threads, "server")

    def test_what_a_handshake_costs(self):
        one, _ = self.strace("-e", "epoll")
        mine = counted(one, "client")
        for call, each in (("socket", 1), ("setsockopt", 1), ("connect", 1), ("epoll_ctl", 1),
                           ("sendto", 2), ("close", 1), ("getsockopt", 0)):
            self.assertEqual(mine.get(call, 0), each * HANDSHAKES, call)
        # The end needs one of its own only where it comes apart from the close frame.
        self.assertIn(mine["recvfrom"], range(2 * HANDSHAKES, 3 * HANDSHAKES + 1))
        self.assertEqual(counted(one, "server").get("setsockopt", 0), 0)


if __name__ == "__main__":
    unittest.main()
