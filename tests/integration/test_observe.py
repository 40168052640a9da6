"""sonde observe: its counts against strace's, call by call, and whom it counts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SONDE = os.path.abspath(os.environ.get("SONDE", "build/sonde"))
HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = 65534
LAST_PID = "/proc/sys/kernel/ns_last_pid"
folder = None
observed = None
with_uring = False


def why_impossible():
    """Only what makes it impossible on this machine: anything else that fails is a failure."""
    if os.geteuid() != 0:
        return "not root: the BPF programs cannot be loaded"
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "this kernel has no BTF"
    done = subprocess.run([SONDE, "observe", "--", "true"], capture_output=True, text=True,
                          timeout=60, check=False)
    for reason in ("built without BPF", "CAP_BPF", "pid namespace", "lockdown"):
        if done.returncode != 0 and reason in done.stderr:
            return done.stderr.strip()
    return None


def setUpModule():
    global folder, observed, with_uring
    reason = why_impossible()
    if reason is not None:
        print("test_observe: skipped:", reason, file=sys.stderr)
        raise unittest.SkipTest(reason)
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    observed = os.path.join(folder, "observed")
    source = [os.path.join(HERE, "observed.c"), "-D_GNU_SOURCE", "-o", observed]
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    done = subprocess.run([compiler, *source, "-DWITH_URING", "-luring"], capture_output=True,
                          check=False)
    with_uring = done.returncode == 0
    if not with_uring:
        subprocess.run([compiler, *source], check=True)


def tearDownModule():
    if folder is not None:
        shutil.rmtree(folder)


def observe(arguments, **options):
    """Runs it to its end; returns the record and what ended."""
    path = os.path.join(folder, "record.json")
    if os.path.exists(path):
        os.unlink(path)
    options.setdefault("stdout", subprocess.DEVNULL)
    done = subprocess.run([SONDE, "observe", "--json=" + path, *arguments], stderr=subprocess.PIPE,
                          text=True, timeout=120, check=False, **options)
    record = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    return record, done


def calls_of(process):
    """{name: (calls, {errno: count})} of one process."""
    return {call["name"]: (call["calls"], call["errors"])
            for call in process["kernel_calls"]["syscalls"]}


def processes_of(record):
    return record["runs"][0]["processes"]


def sums_of(record):
    """{name: (calls, errors)} over all processes."""
    sums = {}
    for process in processes_of(record):
        for name, (calls, errors) in calls_of(process).items():
            before = sums.get(name, (0, 0))
            sums[name] = (before[0] + calls, before[1] + sum(errors.values()))
    return sums


def lost(record):
    return sum(process["kernel_calls"]["lost"] for process in processes_of(record))


def strace(command):
    path = os.path.join(folder, "strace")
    subprocess.run(["strace", "-f", "-c", "-o", path, *command], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=120, check=False)
    sums = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:(\d+)\s+)?(\w+)$", line)
            if found and found[3] != "total":
                sums[found[3]] = (int(found[1]), int(found[2] or 0))
    return sums


def names_of_children(parent):
    names = []
    for entry in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % entry, encoding="utf-8") as file:
                found = re.match(r"\d+ \((.*)\) \S (\d+) ", file.read())
        except OSError:
            continue  # no process, or gone
        if found and int(found[2]) == parent:
            names.append(found[1])
    return names


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class AgainstStrace(unittest.TestCase):
    """Exactly equal. Calls whose number depends on timing are left out where two runs under
    strace itself differ in them; what must not be left out is named."""

    def compare(self, command, certain=(), timed=()):
        """timed: calls that depend on when a child ends, so that even two equal runs of strace
        do not make them comparable."""
        first, second = strace(command), strace(command)
        record, done = observe(["--", *command])
        self.assertIsNotNone(record, done.stderr)
        sums = sums_of(record)
        unsteady = {name for name in set(first) | set(second)
                    if first.get(name) != second.get(name)} | set(timed)
        self.assertTrue(unsteady.isdisjoint(certain), unsteady)
        for name in (set(first) | set(sums)) - unsteady:
            self.assertEqual(sums.get(name), first.get(name), name)
        self.assertGreaterEqual(len(set(first) - unsteady), 15)
        self.assertEqual(lost(record), 0)
        return record

    def test_dd(self):
        record = self.compare(["dd", "if=/dev/zero", "of=/dev/null", "bs=1k", "count=100000"],
                              ("read", "write", "execve", "openat", "close", "mmap"))
        (process,) = processes_of(record)
        calls = {call["name"]: call for call in process["kernel_calls"]["syscalls"]}
        self.assertEqual(calls["write"]["calls"], 100003)
        self.assertGreaterEqual(calls["read"]["bytes"], 100000 * 1024)
        self.assertLess(calls["read"]["bytes"], 100000 * 1024 + 10000)
        self.assertEqual(process["name"], "dd")
        self.assertEqual(process["kernel_calls"]["source"], "bpf")

    def test_pipeline_with_children(self):
        record = self.compare(["sh", "-c", "echo a | cat >/dev/null; ls / | wc -l; /nonexistent"],
                              ("execve", "read", "write"), ("rt_sigreturn", "wait4"))
        names = sorted(process["name"] for process in processes_of(record))
        self.assertEqual([name for name in names if name in ("cat", "ls", "wc")],
                         ["cat", "ls", "wc"])

    def test_more_processes_than_places(self):
        """Slots are never given to another process; what has none is counted all the same."""
        script = "i=0; while [ $i -lt 1100 ]; do (exec 3</nonexistent) 2>/dev/null; i=$((i+1)); done"
        record, done = observe(["--", "sh", "-c", script])
        self.assertEqual(done.returncode, 0, done.stderr)
        names = [process["name"] for process in processes_of(record)]
        self.assertEqual(lost(record), 0)
        failures = sum(calls_of(process).get("openat", (0, {}))[1].get("ENOENT", 0)
                       for process in processes_of(record))
        self.assertEqual(failures, 1100)
        if len(names) < 1101:
            self.assertEqual(names.count("(others)"), 1)
            self.assertIn("together", " ".join(record["warnings"]))

    def test_threads(self):
        # futex and the allocator's calls depend on timing.
        script = ("import os, threading\n"
                  "def run():\n    for i in range(1000): os.getppid()\n"
                  "threads = [threading.Thread(target=run) for i in range(4)]\n"
                  "for t in threads: t.start()\n"
                  "for t in threads: t.join()\n")
        record, done = observe(["--", "/usr/bin/python3", "-c", script])
        self.assertEqual(done.returncode, 0, done.stderr)
        (process,) = processes_of(record)
        self.assertEqual(calls_of(process)["getppid"], (4000, {}))

    def test_interrupted_call_and_sigreturn(self):
        record = self.compare([observed, "signal"], ("pause", "rt_sigreturn"))
        (process,) = processes_of(record)
        self.assertEqual(calls_of(process)["pause"], (1, {"ERESTARTNOHAND": 1}))

    def test_errors_by_errno_and_bytes(self):
        record = self.compare([observed, "moves"], ("recvfrom", "close", "splice", "sendmmsg"))
        (process,) = processes_of(record)
        calls = {call["name"]: call for call in process["kernel_calls"]["syscalls"]}
        self.assertEqual(calls["recvfrom"]["errors"], {"EAGAIN": 10})
        self.assertEqual(calls["recvfrom"]["bytes"], 7000)
        self.assertEqual(calls["close"]["errors"], {"EBADF": 10})
        self.assertEqual(calls["close"]["bytes"], 0)
        self.assertEqual(calls["readv"]["bytes"], 15000)
        self.assertEqual(calls["sendto"]["bytes"], 7000)
        self.assertEqual(calls["splice"]["bytes"], 4000)
        self.assertEqual((calls["sendmmsg"]["calls"], calls["sendmmsg"]["bytes"]), (1, 0))


class Uring(unittest.TestCase):
    def operations(self, *arguments):
        if not with_uring:
            self.skipTest("liburing is not installed: the test's process cannot be built")
        record, done = observe(["--", observed, *arguments])
        self.assertEqual(done.returncode, 0, done.stderr)
        (process,) = processes_of(record)
        return {row["name"]: row for row in process["kernel_calls"]["io_uring"]}

    def check(self, row, submitted, completed, size):
        self.assertEqual((row["submitted"], row["completed"], row["bytes"]),
                         (submitted, completed, size))

    def test_worker_threads_and_deferred_completions(self):
        rows = self.operations("uring", "200")
        self.check(rows["WRITE"], 200, 200, 200 * 4096)
        self.check(rows["NOP"], 200, 200, 0)

    def test_multishot_receive(self):
        rows = self.operations("multishot")
        self.check(rows["multishot"], 0, 100, 100000)
        self.assertEqual(rows["RECV"]["submitted"], 1)
        self.assertEqual(rows["RECV"]["bytes"], 0)


def start_waiting(count, **options):
    return subprocess.Popen([observed, "calls", str(count)], stdin=subprocess.PIPE, **options)


class Attached(unittest.TestCase):
    """By pid and by name. The first interval line says that counting is on."""

    def setUp(self):
        self.children = []

    def tearDown(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()

    def keep(self, child):
        self.children.append(child)
        return child

    def start_sonde(self, *arguments):
        self.path = os.path.join(folder, "attached.json")
        if os.path.exists(self.path):
            os.unlink(self.path)
        child = self.keep(subprocess.Popen(
            [SONDE, "observe", "-i", "100ms", "--json=" + self.path, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        self.assertIn(" s  ", child.stdout.readline())
        return child

    def finish(self, child):
        child.communicate(timeout=60)
        with open(self.path, encoding="utf-8") as file:
            return json.load(file)

    def go(self, child):
        child.stdin.write(b"go\n")
        child.stdin.close()
        child.wait(timeout=60)

    def test_running_process(self):
        process = self.keep(start_waiting(1000))
        other = self.keep(start_waiting(777))
        sonde = self.start_sonde("pid=%d" % process.pid)
        self.go(other)
        self.go(process)
        record = self.finish(sonde)
        self.assertEqual(sonde.returncode, 0)
        (seen,) = processes_of(record)
        self.assertEqual((seen["pid"], seen["name"]), (process.pid, "observed"))
        self.assertEqual(calls_of(seen)["getppid"], (1000, {}))
        self.assertTrue(record["complete"])

    def test_name_now_and_later(self):
        name = "named-target-0"
        program = os.path.join(folder, name)
        shutil.copy(observed, program)
        before = self.keep(subprocess.Popen([program, "calls", "300"], stdin=subprocess.PIPE))
        other = self.keep(start_waiting(50))
        sonde = self.start_sonde("comm=" + name)
        later = self.keep(subprocess.Popen([program, "calls", "400"], stdin=subprocess.PIPE))
        for child in (other, before, later):
            self.go(child)
        sonde.send_signal(signal.SIGTERM)
        record = self.finish(sonde)
        seen = {process["pid"]: calls_of(process)["getppid"][0]
                for process in processes_of(record)}
        self.assertEqual(seen, {before.pid: 300, later.pid: 400})

    def test_children_are_followed_or_not(self):
        for follow in (True, False):
            script = "read line; echo go | %s calls 60; true" % observed
            shell = self.keep(subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE))
            sonde = self.start_sonde("pid=%d" % shell.pid, *([] if follow else ["--no-follow"]))
            self.go(shell)
            record = self.finish(sonde)
            total = sum(calls_of(process).get("getppid", (0,))[0]
                        for process in processes_of(record))
            self.assertEqual(total, 60 if follow else 0)
            names = {process["name"] for process in processes_of(record)}
            self.assertEqual("observed" in names, follow)

    def test_existing_children_are_followed(self):
        script = "exec 3<&0; %s calls 80 <&3 & wait" % observed
        shell = self.keep(subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if "observed" in names_of_children(shell.pid):
                break
            time.sleep(0.02)
        sonde = self.start_sonde("pid=%d" % shell.pid)
        self.go(shell)
        record = self.finish(sonde)
        seen = {process["name"]: calls_of(process) for process in processes_of(record)}
        self.assertEqual(seen["observed"]["getppid"], (80, {}))

    def test_reused_pid_is_not_counted(self):
        try:
            with open(LAST_PID, "r+", encoding="ascii"):
                pass
        except OSError as error:
            self.skipTest("the next process id cannot be chosen: %s" % error)
        stays = self.keep(start_waiting(10))
        first = self.keep(start_waiting(500))
        sonde = self.start_sonde("pid=%d" % stays.pid, "pid=%d" % first.pid)
        self.go(first)
        for _ in range(50):
            with open(LAST_PID, "w", encoding="ascii") as file:
                file.write(str(first.pid - 1))
            second = self.keep(start_waiting(900))
            if second.pid == first.pid:
                break
        self.assertEqual(second.pid, first.pid, "the process id could not be taken again")
        self.go(second)
        self.go(stays)
        record = self.finish(sonde)
        seen = [(process["pid"], calls_of(process)["getppid"][0])
                for process in processes_of(record)]
        self.assertEqual(sorted(seen), sorted([(stays.pid, 10), (first.pid, 500)]))
        reused = next(p for p in processes_of(record) if p["pid"] == first.pid)
        self.assertNotIn("cpu_user_ns", [key for key, value in reused.items() if value])

    def test_interrupt_reports(self):
        process = self.keep(start_waiting(5))
        sonde = self.keep(subprocess.Popen([SONDE, "observe", "-i", "100ms",
                                            "pid=%d" % process.pid],
                                           stdout=subprocess.PIPE, text=True))
        sonde.stdout.readline()
        sonde.send_signal(signal.SIGINT)
        text = sonde.communicate(timeout=60)[0]
        self.assertEqual(sonde.returncode, 0)
        self.assertIn("observed for", text)

    def test_interrupt_reaches_the_command(self):
        sonde = self.start_sonde("--", "sleep", "60")
        sonde.send_signal(signal.SIGINT)
        record = self.finish(sonde)
        self.assertEqual(sonde.returncode, 128 + signal.SIGINT)
        self.assertFalse(record["complete"])
        self.assertEqual([p["name"] for p in processes_of(record)], ["sleep"])

    def test_duration(self):
        process = self.keep(start_waiting(5))
        record, done = observe(["-d", "300ms", str(process.pid)])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(record["complete"])
        self.assertGreaterEqual(record["runs"][0]["window_ns"], 300e6)
        self.assertIsNone(process.poll())

    def test_duration_ends_the_command(self):
        record, done = observe(["-d", "200ms", "--", "sleep", "60"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(record["complete"])


class OwnServer(unittest.TestCase):
    """The server is a child of the process that is the client, and yet no part of its end."""

    def calls_of_client(self, observe):
        done = subprocess.run([SONDE, "ping", "tcp:", "-e", "threads", "--server-engine", "epoll",
                               "--observe", observe, "-d", "500ms", "-w", "0", "--json"],
                              capture_output=True, text=True, timeout=60, check=True)
        client = json.loads(done.stdout)["runs"][0]["processes"][0]
        self.assertEqual(client["role"], "client")
        return {call["name"] for call in client["kernel_calls"]["syscalls"]}

    def test_self_alone(self):
        calls = self.calls_of_client("self")
        self.assertIn("sendto", calls)
        self.assertNotIn("epoll_pwait2", calls)

    def test_both_ends(self):
        self.assertNotIn("epoll_pwait2", self.calls_of_client("self,server"))


class Refusals(unittest.TestCase):
    def refused(self, arguments, status, *words, **options):
        done = subprocess.run([SONDE, "observe", *arguments], capture_output=True, text=True,
                              timeout=60, check=False, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("sonde: "), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_exit_status_of_the_command(self):
        self.assertEqual(observe(["--", "sh", "-c", "exit 7"])[1].returncode, 7)
        self.assertEqual(observe(["--", "sh", "-c", "kill -9 $$"])[1].returncode, 128 + 9)

    def test_command_starts_as_from_a_shell(self):
        """Neither a blocked or ignored signal nor an open file of sonde's reaches it."""
        script = "grep -E '^Sig(Blk|Ign):' /proc/self/status; ls /proc/self/fd"
        plain, seen = (subprocess.run([*before, "sh", "-c", script], capture_output=True,
                                      text=True, check=False, timeout=60).stdout
                       for before in ([], [SONDE, "observe", "--output=/dev/null", "--"]))
        self.assertEqual(seen, plain)

    def test_command_that_does_not_exist(self):
        self.refused(["--", "/nonexistent/program"], 1, "/nonexistent/program", "No such file")

    def test_process_that_does_not_exist(self):
        gone = subprocess.Popen(["true"])
        gone.wait()
        self.refused(["pid=%d" % gone.pid], 1, "pid=%d" % gone.pid, "no such process")

    def test_zombie(self):
        zombie = subprocess.Popen(["true"])
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        self.refused(["pid=%d" % zombie.pid], 1, "no such process")
        zombie.wait()

    def test_thread_of_a_process(self):
        script = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
        process = subprocess.Popen(["/usr/bin/python3", "-c", script])
        tids, deadline = [], time.monotonic() + 10
        while len(tids) < 2 and time.monotonic() < deadline:
            tids = sorted(os.listdir("/proc/%d/task" % process.pid), key=int)
        try:
            self.refused(["pid=" + tids[1]], 2, "is a thread of process %d" % process.pid)
        finally:
            process.kill()
            process.wait()

    def test_wrong_targets(self):
        self.refused([], 2, "nothing to observe")
        self.refused(["pid=x"], 2, "pid=x")
        self.refused(["pid=0"], 2, "pid=0")
        self.refused(["pid=99999999999999999999"], 2, "pid=")
        self.refused(["nginx"], 2, "nginx", "comm=NAME")
        self.refused(["1", "--", "true"], 2, "not both")

    def test_ordinary_user_is_told_why(self):
        program = os.path.join(folder, "sonde")
        shutil.copy(SONDE, program)
        done = subprocess.run([program, "observe", "--", "true"], capture_output=True, text=True,
                              timeout=60, check=False, user=NOBODY, group=NOBODY, extra_groups=[],
                              cwd=folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("CAP_BPF", done.stderr)
        self.assertIn("run as root", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


class Text(unittest.TestCase):
    def test_report_after_the_command(self):
        path = os.path.join(folder, "report.txt")
        done = subprocess.run([SONDE, "observe", "--output", path, "--", "echo", "from the command"],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "from the command\n"), done.stderr)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertRegex(text, r"(?m)^  write +1 ")
        self.assertRegex(text, r"(?m)^  execve +1 ")

    def test_names_cannot_command_the_terminal(self):
        program = os.path.join(folder, "a\x1b[31mb")
        shutil.copy("/bin/true", program)
        done = subprocess.run([SONDE, "observe", "--", program], capture_output=True, timeout=60,
                              check=False)
        self.assertNotIn(b"\x1b", done.stdout)

    def test_full_output_is_an_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([SONDE, "observe", "--", "true"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot be written", done.stderr)


if __name__ == "__main__":
    unittest.main()
