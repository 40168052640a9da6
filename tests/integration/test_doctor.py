"""sonde doctor, as root and as an ordinary user."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

SONDE = os.environ.get("SONDE", "build/sonde")
NOBODY = 65534


def doctor(*arguments, program=SONDE, **options):
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([program, "doctor", *arguments], stderr=subprocess.PIPE, text=True,
                          timeout=60, check=False, **options)


def doctor_as_ordinary_user(*arguments):
    """Drops privilege, where there is some to drop; a copy, as others may not reach the checkout."""
    if os.geteuid() != 0:
        return doctor(*arguments)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = os.path.join(folder, "sonde")
        shutil.copyfile(SONDE, program)
        os.chmod(program, 0o755)
        return doctor(*arguments, program=program, cwd=folder, user=NOBODY, group=NOBODY,
                      extra_groups=[])


class Doctor(unittest.TestCase):
    def check_text(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        for title in ("Engines", "Transports", "Probes", "Build", "Limits", "Machine", "Noise",
                      "What to change"):
            self.assertRegex(done.stdout, "(?m)^" + title)
        for name in ("threads", "poll", "epoll", "uring", "null", "tcp://HOST:PORT", "unix:PATH",
                     "local:", "pipe:", "syscalls"):
            self.assertRegex(done.stdout, r"(?m)^  %s +(yes|no) " % name)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 100)

    def test_text(self):
        self.check_text(doctor())

    def test_text_as_ordinary_user(self):
        self.check_text(doctor_as_ordinary_user())

    def test_json(self):
        done = doctor("--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["machine"]["kernel"].split()[1], os.uname().release)
        self.assertEqual(report["machine"]["cores_allowed"], len(os.sched_getaffinity(0)))
        self.assertEqual([engine["name"] for engine in report["engines"]],
                         ["threads", "poll", "epoll", "uring", "null"])
        self.assertGreater(report["noise"]["window_ns"], 0)

    def test_probe_without_privilege_says_why(self):
        report = json.loads(doctor_as_ordinary_user("--json").stdout)
        for probe in report["probes"]:
            if not probe["serves"]:
                self.assertTrue(probe["reason"])
                self.assertTrue(any(line.startswith("probe " + probe["name"])
                                    for line in report["advice"]))

    def test_wrong_command_line(self):
        for arguments in (["--jsn"], ["somewhere"], ["--json=x"], ["--", "x"]):
            done = doctor(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertEqual(done.stdout, "")
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_full_output(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = doctor(stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard output", done.stderr)


if __name__ == "__main__":
    unittest.main()
