"""sonde tour: what `make run` shows."""

import json
import os
import re
import tempfile
import unittest

import check_record
import sonde_program


class Tour(unittest.TestCase):
    def test_table_and_record(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tour.json")
            done = sonde_program.run("tour", "--json=" + path)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stderr, "")
            with open(path, encoding="utf-8") as file:
                text = file.read()
        record = check_record.load(text)
        self.assertEqual(check_record.problems(record), [])
        self.assertTrue(record["complete"])
        runs = record["runs"]
        self.assertEqual([run["label"] for run in runs], ["gather", "each", "queue=10ms"])
        for run in runs:
            row = re.search(r"(?m)^  %s +([\d,]+) +" % re.escape(run["label"]), done.stdout)
            self.assertTrue(row, done.stdout)
            self.assertAlmostEqual(float(row[1].replace(",", "")),
                                   run["metrics"]["calls_per_second"]["value"], delta=1)
            self.assertEqual([p["role"] for p in run["processes"]], ["client", "server"])
        # What the table is about: calls per send decide how often the server is called.
        per_send = [run["metrics"]["calls_per_send"]["value"] for run in runs]
        self.assertGreater(per_send[0], 100)
        self.assertAlmostEqual(per_send[1], 1, delta=0.01)
        self.assertGreater(per_send[2], 100)
        # The commands that made the rows are real ones.
        commands = re.findall(r"(?m)^  sonde (call --write .*?)  +#", done.stdout)
        self.assertEqual(len(commands), 3)
        for command in commands:
            again = sonde_program.run(*command.split(), "-d", "200ms", "-w", "0", "--json")
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertTrue(json.loads(again.stdout)["complete"])

    def test_wrong_argument(self):
        done = sonde_program.run("tour", "tcp://127.0.0.1:1")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"^sonde: tcp://127.0.0.1:1: .*\n$")


if __name__ == "__main__":
    unittest.main()
