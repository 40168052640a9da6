"""The control channel where something is short, or an end does not do its part: what is said, how
soon, and that others are served meanwhile."""

import os
import resource
import time
import unittest

from sonde_program import Serving, check_one_line, run
from test_control import LOCAL, until


def open_files(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def busy_seconds(pid):
    """How long its threads have run or waited for a CPU."""
    spent_ns = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task), encoding="ascii") as file:
            spent_ns += sum(int(field) for field in file.read().split()[:2])
    return spent_ns / 1e9


class FewFiles(unittest.TestCase):
    def serves(self, serving):
        done = run("call", serving.address, "-n", "100", "-q")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_with_the_usual_limit(self):
        for limit in ("1024:1024", "1024:20000", "200:200"):
            with Serving(LOCAL, "--max-connections", "100",
                         prefix=["prlimit", "--nofile=" + limit]) as serving:
                self.serves(serving)
                held = [serving.connect() for _ in range(200)]
                self.serves(serving)
                for one in held:
                    one.close()
                done = serving.stop()
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_with_too_low_a_limit(self):
        done = run("serve", LOCAL, "--max-connections", "100", prefix=["prlimit", "--nofile=150"])
        self.assertIn("--max-connections", check_one_line(self, done, 1))

    def test_out_of_files(self):
        """No further file, and nobody who could make room: it waits, and goes on later."""
        with Serving(LOCAL) as serving:
            pid = serving.process.pid
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(pid), before[1]))
            with serving.connect():
                time.sleep(0.2)
                busy_s, began_s = busy_seconds(pid), time.monotonic()
                time.sleep(1)
                busy_s = busy_seconds(pid) - busy_s
                self.assertLess(busy_s, (time.monotonic() - began_s) / 2)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            self.serves(serving)
            self.assertEqual(serving.stop().returncode, 0)

    def test_it_cannot_wait_any_more(self):
        """Not even that many files may be waited for: it ends, and says why."""
        with Serving(LOCAL) as serving:
            resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE, (1, 1))
            with serving.connect():
                until(lambda: serving.process.poll() is not None)
            stderr = serving.process.communicate()[1]
            self.assertEqual(stderr.splitlines(),
                             ["sonde: serve: cannot wait for clients: Invalid argument"])
            self.assertEqual(serving.process.returncode, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
