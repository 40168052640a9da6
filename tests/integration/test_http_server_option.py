"""`sonde http --server`: Debian's lighttpd and nginx, started for a run, measured like sonde's own
server, and gone afterwards with all that was written for them, however the run ends."""

import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from sonde_program import (PATIENCE_S, SONDE, check_failed_record, check_one_line, checked_record,
                           metric, run, start)

PROGRAMS = ("lighttpd", "nginx")
QUICK = ("-d", "300ms", "--warmup", "0", "-c", "4")
LONG = ("-d", "60s", "--warmup", "0", "-c", "4", "--quiet")


def can_observe():
    return os.geteuid() == 0 and pathlib.Path("/sys/kernel/btf/vmlinux").exists()


def pattern(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def running(folder):
    """Processes that stand in a directory below this one, and those that would remove it."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if str((entry / "cwd").resolve()).startswith(folder):
                found.append((entry / "comm").read_text().strip())
        except OSError:
            pass  # ended meanwhile
    return found


class Folder(unittest.TestCase):
    """A directory of its own for each case, in which nothing may be left."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sonde-test-")
        self.environment = dict(os.environ, TMPDIR=self.folder)
        self.addCleanup(shutil.rmtree, self.folder, True)

    def nothing_left(self):
        until = time.monotonic() + PATIENCE_S
        while (os.listdir(self.folder) or running(self.folder)) and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual(os.listdir(self.folder), [])
        self.assertEqual(running(self.folder), [])

    def http(self, *arguments):
        done = run("http", *arguments, env=self.environment)
        self.nothing_left()
        return done

    def measured(self, *arguments):
        done = self.http("--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        record = checked_record(self, done.stdout)
        self.assertTrue(record["complete"])
        return record["runs"][0]

    def port(self, process):
        """The port of a server that a run has started and that answers."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and process.poll() is None:
            for path in pathlib.Path(self.folder).glob("*/0.pid"):
                text = (path.parent / "0.conf").read_text()
                return int(re.search(r"(?:127\.0\.0\.1:|server\.port = )(\d+)", text)[1])
            time.sleep(0.01)
        self.fail("no server has started: %s" % (process.communicate(),))
        return 0


def installed():
    for program in PROGRAMS:
        if shutil.which(program, path="/usr/sbin:" + os.environ["PATH"]):
            yield program


class Measured(Folder):
    def test_it_is_the_server_of_the_record(self):
        for program in installed():
            one = self.measured("--server", program, *QUICK)
            self.assertGreater(metric(one, "requests"), 0)
            self.assertEqual(metric(one, "requests_failed"), 0)
            self.assertRegex(one["detail"], r"127\.0\.0\.1:\d+ \(%s/[0-9.]+\)" % program)
            roles = [process["role"] for process in one["processes"]]
            self.assertEqual(roles, ["client", "server"])
            server = one["processes"][1]
            self.assertEqual(server["name"], program)
            self.assertGreater(server["cpu_user_ns"] + server["cpu_system_ns"], 0)
            self.assertGreater(server["rss_bytes"], 0)

    def test_cpu_time_is_of_its_time(self):
        """The kernel corrects a new process's split into user and system, also downwards."""
        for program in installed():
            for _ in range(3):
                one = self.measured("--server", program, "-m", "4m", "-n", "60", "-c", "4",
                                    "--interval", "100ms")
                server = one["processes"][1]
                for part in ("cpu_user_ns", "cpu_system_ns"):
                    self.assertLessEqual(server[part], server["cpu_window_ns"] * 1.5)

    def test_several_processes_are_one_end(self):
        for program in installed():
            one = self.measured("--server", program, "--server-threads", "3", *QUICK)
            server = one["processes"][1]
            self.assertEqual(len(one["processes"]), 2)
            self.assertEqual(server["processes"], 3)
            self.assertIn("3 processes", one["detail"])

    def test_the_payload_is_what_is_said(self):
        size = 200 << 20
        block = pattern(251 * 4096)
        digest = hashlib.sha256()
        for left in range(size, 0, -len(block)):
            digest.update(block[:min(left, len(block))])
        for program in installed():
            one = self.measured("--server", program, "-m", "200m", "-n", "2", "-c", "1",
                                "--timeout", "60s", "--expect-body-sha256", digest.hexdigest())
            self.assertEqual(metric(one, "requests"), 2)
            self.assertEqual(metric(one, "body_bytes"), 2 * size)
            done = self.http("--server", program, "-m", "1m", "-n", "1", "-c", "1",
                             "--expect-body-sha256", digest.hexdigest())
            self.assertNotEqual(done.returncode, 0)

    def test_connections_of_one_request(self):
        for program in installed():
            one = self.measured("--server", program, "-n", "200", "-c", "10", "--no-keep-alive")
            self.assertEqual(metric(one, "requests"), 200)

    def test_every_engine_has_its_own(self):
        for program in installed():
            done = self.http("--json", "--server", program, "-e", "threads,poll,epoll", "--repeat",
                             "2", "-n", "50", "-c", "5")
            record = checked_record(self, done.stdout)
            self.assertTrue(record["complete"], record["error"])
            servers = {one["processes"][1]["pid"] for one in record["runs"]}
            self.assertEqual(len(servers), len(record["runs"]))

    @unittest.skipUnless(can_observe(), "observing takes root and BTF")
    def test_its_calls_are_seen(self):
        for program in installed():
            one = self.measured("--server", program, "--server-threads", "2", "--observe", "server",
                                "-d", "2s", "-c", "16", "--require-observe")
            server = one["processes"][1]
            calls = server["kernel_calls"]
            self.assertTrue(calls["available"])
            names = {call["name"]: call["calls"] for call in calls["syscalls"]}
            self.assertTrue({"writev", "sendfile"} & set(names), names)
            self.assertGreater(sum(names.values()), 0)

    @unittest.skipUnless(can_observe(), "observing takes root and BTF")
    def test_who_waits_to_clean_up_is_nobody_of_the_run(self):
        for program in installed():
            one = self.measured("--server", program, "--observe", "self,server", "-d", "1s", "-c",
                                "2", "--require-observe")
            self.assertEqual([process["name"] for process in one["processes"]], ["sonde", program])


class Ended(Folder):
    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            for program in installed():
                process = start("http", "--server", program, "--json", *LONG, env=self.environment)
                self.port(process)
                time.sleep(0.2)
                process.send_signal(number)
                output, errors = process.communicate(timeout=PATIENCE_S)
                self.assertNotEqual(process.returncode, 0, errors)
                self.nothing_left()
                check_failed_record(self, checked_record(self, output))

    def test_interrupted_from_the_terminal(self):
        """The key's signal goes to the whole group: the server is not in it."""
        for program in installed():
            process = start("http", "--server", program, "--json", *LONG, env=self.environment,
                            start_new_session=True)
            self.port(process)
            time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=PATIENCE_S)
            record = checked_record(self, output)
            self.assertIn("interrupted", record["runs"][0]["error"]["what"])
            self.nothing_left()

    def test_killed(self):
        for program in installed():
            process = start("http", "--server", program, "--server-threads", "2", *LONG,
                            env=self.environment)
            port = self.port(process)
            process.kill()
            process.communicate(timeout=PATIENCE_S)
            self.nothing_left()
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), PATIENCE_S)

    def test_server_ends(self):
        for program in installed():
            process = start("http", "--server", program, "--json", *LONG, env=self.environment)
            self.port(process)
            time.sleep(0.2)
            pid = int(next(pathlib.Path(self.folder).glob("*/0.pid")).read_text())
            os.kill(pid, signal.SIGKILL)
            output, errors = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 1)
            self.assertIn("%s: ended with signal 9" % program, errors)
            check_failed_record(self, checked_record(self, output))
            self.nothing_left()


class Refused(Folder):
    def refused(self, arguments, status, *words):
        done = self.http(*arguments)
        line = check_one_line(self, done, status)
        for word in words:
            self.assertIn(word, line)

    def test_options_that_do_not_fit(self):
        self.refused(["--server", "apache"], 2, "lighttpd", "nginx")
        self.refused(["--server", "nginx", "http://127.0.0.1:1/"], 2, "--server", "URL")
        self.refused(["--server", "nginx", "--server-engine", "poll"], 2, "--server-engine")
        self.refused(["--server", "nginx", "-e", "null"], 2, "null")

    def test_too_many_connections(self):
        done = run("http", "--server", "nginx", "-c", "100", "-d", "1s", "--quiet",
                   env=self.environment, prefix=["prlimit", "--nofile=200:200"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("open", done.stderr)
        self.assertIn("200", done.stderr)
        self.nothing_left()

    @unittest.skipUnless(os.geteuid() == 0, "hiding a program takes root")
    def test_not_installed(self):
        for program in installed():
            hidden = ("for p in /usr/sbin/%s /usr/local/sbin/%s; do [ ! -e $p ] || "
                      "mount --bind /dev/null $p || exit 77; done; exec \"$@\"" % (program, program))
            done = subprocess.run(
                ["unshare", "-m", "sh", "-c", hidden, "sh", SONDE, "http", "--server", program,
                 *QUICK, "--quiet"],
                env=dict(self.environment, PATH="/bin:/usr/bin"), capture_output=True, text=True,
                timeout=PATIENCE_S, check=False)
            if done.returncode == 77 or "unshare" in done.stderr:
                self.skipTest("no mount name space of one's own here")
            self.assertEqual(done.returncode, 1)
            self.assertIn("%s is not installed" % program, done.stderr)
            self.assertIn("apt install %s" % program, done.stderr)
            self.nothing_left()

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small file system takes root")
    def test_no_room(self):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", self.folder],
                          capture_output=True, check=False).returncode:
            self.skipTest("no tmpfs can be mounted here")
        self.addCleanup(subprocess.run, ["umount", self.folder], check=True)
        done = self.http("--server", "nginx", "-m", "10m", *QUICK, "--quiet")
        self.assertEqual(done.returncode, 1)
        self.assertIn("10.0 MiB does not fit where 4.00 MiB is free", done.stderr)
        self.assertIn("TMPDIR", done.stderr)


if __name__ == "__main__":
    unittest.main()
