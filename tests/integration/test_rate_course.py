"""Open loops whose rate changes: steps and ramps are followed, and said beside what was reached."""

import unittest

from sonde_program import call_record, check_one_line, engines, metric, run


def asked(interval):
    return interval["metrics"]["rate_asked"]["value"]


class Courses(unittest.TestCase):
    def test_steps_of_every_engine(self):
        for engine in engines():
            with self.subTest(engine=engine):
                record = call_record(self, "-e", engine, "-c", "4", "-t", "2", "-w", "100ms",
                                     "--rate-course", "500:300ms,2k:300ms,0..1k:600ms")
                one = record["runs"][0]
                self.assertEqual(one["mode"], "open loop")
                self.assertEqual(record["options"]["duration"], "1.2s")
                self.assertEqual(record["options"]["interval"], "300ms")
                self.assertIn("rate-course", record["options_given"])
                # 150 + 600 + 300 arrivals; those at the end may be answered behind it.
                self.assertLessEqual(abs(metric(one, "rate_asked") * one["window_ns"] / 1e9 - 1050),
                                     60)
                intervals = one["intervals"]
                self.assertEqual(len(intervals), 4)
                # Cuts may come late on a busy machine, so only the order is certain.
                self.assertLess(asked(intervals[0]), asked(intervals[1]))
                self.assertLess(asked(intervals[2]), asked(intervals[1]))
                self.assertLess(asked(intervals[2]), asked(intervals[3]))

    def test_ramp_takes_the_window(self):
        record = call_record(self, "--rate-course", "100..1k", "-d", "500ms", "-w", "0",
                             "--arrival", "poisson")
        self.assertEqual(record["options"]["rate-course"], "100..1000:500ms")

    def test_text_shows_both(self):
        text = run("call", "--rate-course", "1k:200ms,2k:200ms", "-q", "-w", "0").stdout
        self.assertIn("rate asked for", text)

    def test_websockets_and_pings(self):
        for command in ("ws", "ping"):
            with self.subTest(command=command):
                done = run(command, "--rate-course", "200..400", "-d", "300ms", "-w", "0", "-q")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("rate asked for", done.stdout)

    def test_a_rate_that_is_not_reached_is_said(self):
        text = run("call", "--rate-course", "10M:200ms,20M:200ms", "-q", "-w", "0",
                   "--drain", "100ms").stdout
        self.assertIn("the rate was not reached", " ".join(text.split()))


class Refused(unittest.TestCase):
    def test_each(self):
        for arguments, words in (
            (["10k.."], ["--rate-course", "10k..", "missing"]),
            (["1k:0s"], ["--rate-course", "1k:0s"]),
            (["-5:1s"], ["--rate-course", "-5"]),
            (["1k"], ["--rate-course", "1k"]),
            (["0..0"], ["--rate-course"]),
            (["1k:5s", "-d", "3"], ["--rate-course", "5s", "--duration", "3s"]),
            (["1k..2k", "--rate", "1k"], ["--rate-course", "--rate"]),
            (["1k..2k", "-n", "100"], ["--rate-course", "--count"]),
        ):
            with self.subTest(arguments=arguments):
                done = run("call", "--rate-course", *arguments)
                line = check_one_line(self, done, 2)
                for word in words:
                    self.assertIn(word, line)
                self.assertEqual(done.stdout, "")

    def test_of_held_connections(self):
        done = run("ws", "--mode", "hold", "--rate-course", "1k..2k")
        self.assertIn("--rate-course", check_one_line(self, done, 2))


if __name__ == "__main__":
    unittest.main()
