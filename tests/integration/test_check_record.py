"""The checks of records must themselves fail where a record is wrong: everything here starts from
the sample that the printers' unit test prints, which holds every kind of thing a record can hold."""

import copy
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import check_record  # noqa: E402

NOT_SANITIZED = "runs no sonde; the sample's printer is a unit test, sanitized there"

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = pathlib.Path(check_record.__file__)


def sample_text():
    folders = [ROOT / "build-test", ROOT / "build"]
    if "SONDE" in os.environ:
        folders.insert(0, pathlib.Path(os.environ["SONDE"]).resolve().parent)
    for folder in folders:
        program = folder / "tests" / "unit" / "test_printers"
        if program.exists():
            done = subprocess.run([program, "--sample"], capture_output=True, check=True)
            return done.stdout.decode("utf-8")
    raise AssertionError(f"test_printers is not built in any of {folders}")


def objects(value, path=()):
    """Every object in a JSON value, with its path."""
    if isinstance(value, dict):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        if isinstance(part, (dict, list)):
            yield from objects(part, path + (key,))


def at(value, path):
    for key in path:
        value = value[key]
    return value


class CheckRecord(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = sample_text()
        cls.sample = check_record.load(cls.text)

    def changed(self, path, value):
        record = copy.deepcopy(self.sample)
        at(record, path[:-1])[path[-1]] = value
        return check_record.problems(record)

    def test_sample_is_good(self):
        self.assertEqual(check_record.problems(self.sample), [])

    # Keys that the schema lets a record do without: names of metrics, options and so on.
    OPEN = {"options", "machine", "metrics", "histograms", "errors", "kernel"}

    def test_every_missing_key_is_found(self):
        tried = 0
        for path, value in objects(self.sample):
            if path and path[-1] in self.OPEN:
                continue
            for key in value:
                record = copy.deepcopy(self.sample)
                del at(record, path)[key]
                with self.subTest(path=path, key=key):
                    self.assertNotEqual(check_record.problems(record), [])
                tried += 1
        self.assertGreater(tried, 150)

    def test_every_unknown_key_is_found(self):
        for path, _ in objects(self.sample):
            if path and path[-1] in self.OPEN:
                continue
            record = copy.deepcopy(self.sample)
            at(record, path)["surprise"] = 1
            with self.subTest(path=path):
                self.assertNotEqual(check_record.problems(record), [])

    def test_wrong_meaning_is_found(self):
        run = ("runs", 0)
        service = run + ("histograms", "service_time")
        client = run + ("processes", 0)
        call = client + ("engine_calls", "syscalls", 0)
        probe = run + ("probes", 0)
        sizes = probe + ("distributions", 0)
        cases = [
            (probe + ("available",), False),
            (probe + ("window_ns",), 3 * 10**9),
            (probe + ("window_ns",), 0),
            (probe + ("effect", "high"), 0.9),
            (probe + ("effect", "blocks"), 4),
            (probe + ("name",), "syscalls"),
            (run + ("mode",), "observed"),
            (sizes + ("sum",), 600),
            (sizes + ("classes", 2, "low"), 65),
            (sizes + ("classes", 2, "high"), 128),
            (sizes + ("classes", 1, "low"), 64),
            (("complete",), True),
            (("runs", 1, "complete"), True),
            (("options_given",), ["nothing"]),
            (("errors", 0, "count"), 41),
            (run + ("window_ns",), 5 * 10**9),
            (run + ("probe_effect", "low"), 0.99),
            (run + ("intervals", 0, "start_ns"), 9 * 10**9),
            (service + ("count",), 1001),
            (service + ("percentiles", "50"), 980),
            (service + ("percentiles", "99.9"), 1000),
            (service + ("percentiles", "99"), 5000),
            (service + ("mean",), 2000),
            (service + ("min",), None),
            (service + ("encoded",), "AAAA"),
            (service + ("role",), "server"),
            (run + ("histograms", "server_receive_size", "max"), 1),
            (client + ("cpu_user_ns",), 1),
            (client + ("cpu_operations",), None),
            (call + ("calls_per_operation",), 0.26),
            (call + ("errors", "EAGAIN"), 1001),
            (client + ("engine_calls", "syscalls", 1, "name"), "recvfrom"),
        ]
        for path, value in cases:
            with self.subTest(path=path):
                self.assertNotEqual(self.changed(path, value), [])

    def test_what_is_not_json_is_refused(self):
        for text in ('{"a": NaN}', '{"a": -Infinity}', '{"a": 1, "a": 2}', "{", ""):
            with self.subTest(text=text), self.assertRaises(ValueError):
                check_record.load(text)

    def run_command(self, text, *arguments):
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            return subprocess.run([sys.executable, CHECK, *arguments, file.name],
                                  capture_output=True, text=True, check=False)

    def test_command(self):
        done = self.run_command(self.text)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertEqual(self.run_command(self.text, "--incomplete").returncode, 0)
        done = self.run_command(self.text.replace('"started"', '"begun"'))
        self.assertEqual(done.returncode, 1)
        self.assertIn("'started' is a required property", done.stdout)
        self.assertEqual(self.run_command("[NaN]").returncode, 1)
        self.assertEqual(subprocess.run([sys.executable, CHECK], capture_output=True,
                                        check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main()
