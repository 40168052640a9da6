"""What a run says of the host's TCP (full backlogs, drops, TIME_WAIT), against /proc, in a network
namespace in which nobody else is."""

import ctypes
import os
import shutil
import socket
import subprocess
import threading
import unittest

from sonde_program import checked_record, metric, run

CLONE_NEWNET = 0x40000000
QUICK = ("--connect-timeout", "300ms", "-q", "--json")


def on_own_network(function):
    """Calls it on a thread with a network namespace of its own, which processes that the thread
    starts are in too."""
    result = []

    def work():
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
                raise unittest.SkipTest("no network namespace: " + os.strerror(ctypes.get_errno()))
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            result.append((function(), None))
        except BaseException as problem:  # said by the thread that waits
            result.append((None, problem))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    value, problem = result[0]
    if problem:
        raise problem
    return value


def witness():
    """What /proc says in the calling thread's namespace."""
    found = {}
    with open("/proc/thread-self/net/netstat", encoding="ascii") as file:
        names, values = [line.split() for line in file if line.startswith("TcpExt:")]
    table = dict(zip(names, values))
    for name in ("ListenOverflows", "ListenDrops", "TW"):
        found[name] = int(table[name])
    with open("/proc/thread-self/net/sockstat", encoding="ascii") as file:
        words = next(line for line in file if line.startswith("TCP:")).split()
    found["tw"] = int(words[words.index("tw") + 1])
    return found


@unittest.skipUnless(shutil.which("ip"), "ip (iproute2) is not installed")
class HostTcp(unittest.TestCase):
    def measured(self, function):
        """A record's first run, and what the witness counted from before it to behind it."""
        def both():
            before = witness()
            done = function()
            after = witness()
            return done, {name: after[name] - before[name] for name in after}
        done, delta = on_own_network(both)
        return checked_record(self, done.stdout)["runs"][0], delta, done

    def test_a_full_backlog(self):
        def full():
            with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
                port = listener.getsockname()[1]
                return run("ws", "ws://127.0.0.1:%d" % port, "-n", "8", "-c", "8",
                           "--timeout", "300ms", *QUICK)
        one, delta, done = self.measured(full)
        self.assertEqual(done.returncode, 1)
        self.assertGreaterEqual(delta["ListenOverflows"], 7)
        self.assertEqual(metric(one, "listen_overflows"), delta["ListenOverflows"])
        self.assertEqual(metric(one, "listen_drops"), delta["ListenDrops"])

    def test_time_wait(self):
        for workload in (("ws", "-c", "10"), ("call", "-c", "10")):
            with self.subTest(workload=workload):
                one, delta, done = self.measured(lambda: run(*workload, "-n", "300", *QUICK))
                self.assertEqual(done.returncode, 0, done.stderr)
                ended = 300 if workload[0] == "ws" else 10
                self.assertEqual(delta["TW"], ended)
                if workload[0] == "ws":  # of the last connections the end may be behind the window
                    self.assertIn(metric(one, "time_waits_begun"), range(ended - 10, ended + 1))
                    self.assertEqual(metric(one, "time_waits"), metric(one, "time_waits_begun"))
                else:  # connections end behind it
                    self.assertEqual(metric(one, "time_waits_begun"), 0)
                    self.assertEqual(metric(one, "time_waits"), 0)
                self.assertEqual(metric(one, "listen_overflows"), 0)
                self.assertEqual(metric(one, "listen_drops"), 0)

    def test_the_report_names_them(self):
        done = on_own_network(lambda: run("ws", "-n", "20", "-c", "1"))
        for name in ("host's listen overflows", "host's listen drops", "host's TIME_WAITs begun",
                     "in TIME_WAIT at the end"):
            self.assertIn(name, done.stdout)
        done = run("call", "unix:", "-n", "20")
        self.assertNotIn("TIME_WAIT", done.stdout)


if __name__ == "__main__":
    unittest.main()
