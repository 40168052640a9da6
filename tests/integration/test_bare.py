"""A build without what is optional (BPF, io_uring, libpfm, TLS): it works, and says what is missing."""

import os
import unittest

import sonde_program

NOT_SANITIZED = "it is about another build: build-bare/sonde"
BARE = os.path.join(os.path.dirname(sonde_program.SONDE), "..", "build-bare", "sonde")


@unittest.skipUnless(os.path.exists(BARE), "there is no build-bare: make build-bare")
class Bare(unittest.TestCase):
    def setUp(self):
        own = sonde_program.SONDE
        self.addCleanup(setattr, sonde_program, "SONDE", own)
        sonde_program.SONDE = BARE

    def test_doctor_says_what_is_missing(self):
        done = sonde_program.run("doctor")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^  uring +no ")
        for probe in ("syscalls", "sizes", "latency", "sched", "softirq", "profile"):
            self.assertRegex(done.stdout, r"(?m)^  %s +no .*\n +why not: built without BPF$" % probe)
        self.assertRegex(done.stdout, r"(?m)^  memory +yes ")

    def test_runs_are_measured_and_say_why_nobody_observed_them(self):
        for command in (["call", "-d", "0.1"], ["ipc", "-n", "2"]):
            record = sonde_program.checked_record(
                self, self.run_whole(*command, "--observe", "self", "--probe", "sched", "--json"))
            self.assertTrue(record["complete"])
            self.assertIn("built without BPF", record["runs"][0]["observation"])

    def test_the_tour_goes_on_without_what_is_missing(self):
        done = sonde_program.run("tour", "ws", "call", "-q")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^  --write gather  +[\d,]{3}")
        self.assertRegex(done.stdout, r"(?m)^  -c 64: cannot be measured here: built without ")
        self.assertRegex(done.stdout, r"counted by sonde itself; observation: none \(built without")

    def test_what_was_asked_for_is_refused(self):
        for arguments in (["ws"], ["serve", "ws://127.0.0.1:0"], ["call", "-e", "uring"], ["ipc", "--method", "uring"],
                          ["ipc", "--observe", "self", "--require-observe"]):
            done = sonde_program.run(*arguments)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("built without", done.stderr)

    def test_tls_is_refused(self):
        for arguments in (["call", "tls:"], ["serve", "tls://127.0.0.1:0"]):
            done = sonde_program.run(*arguments)
            self.assertIn("built without TLS (OpenSSL)",
                          sonde_program.check_one_line(self, done, 1))

    def run_whole(self, *arguments):
        done = sonde_program.run(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


if __name__ == "__main__":
    unittest.main()
