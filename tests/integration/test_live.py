"""The live view, on terminals of the test's own: the block is redrawn in place and gone at the end,
whatever ended the run; what is piped has no escape codes."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from sonde_program import (
    PATIENCE_S, SONDE, Folder, Misbehaving, check_one_line, metric, read_record, run)

# Long enough for some redraws on a machine that is busy with other things.
CALL = ("call", "-w", "100ms", "-d", "1500ms", "--interval", "500ms", "--high", "2")
ESCAPE = "\x1b"
BLOCK = re.compile(r"CPU {1,2}client ")
INTERVAL = re.compile(r"^ +\d\.\d\d s .* calls/s", re.MULTILINE)
CODE = re.compile(r"\x1b\[(\??)(\d*)([A-Za-z])")


class Screen:
    """As much of a terminal as the block needs: no wrapping, which the test looks for itself."""

    def __init__(self):
        self.lines, self.row, self.column = [""], 0, 0
        self.hidden, self.redraws, self.widest, self.shown = False, 0, 0, []

    def code(self, private, number, letter):
        if private:
            assert number == "25" and letter in "hl", (number, letter)
            self.hidden = letter == "l"
            self.redraws += self.hidden
            if not self.hidden:
                self.shown.append("\n".join(self.lines))
        elif letter == "A":
            self.row -= int(number or 1)
            assert self.row >= 0, "above the first line"
        elif letter == "J":
            del self.lines[self.row + 1:]
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif letter == "K":
            self.lines[self.row] = "" if number == "2" else self.lines[self.row][:self.column]
        else:
            raise AssertionError("unknown code " + letter)

    def feed(self, text):
        at = 0
        while at < len(text):
            if text[at] == ESCAPE:
                match = CODE.match(text, at)
                assert match, repr(text[at:at + 10])
                self.code(*match.groups())
                at = match.end()
                continue
            if text[at] == "\r":
                self.column = 0
            elif text[at] == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            else:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[:self.column] + text[at] + line[self.column + 1:]
                self.column += 1
                self.widest = max(self.widest, self.column) if self.hidden else self.widest
            at += 1
        return self

    def text(self):
        return "\n".join(self.lines)


class Terminal:
    """sonde on a terminal of its own: a session whose controlling terminal that is."""

    def __init__(self, *arguments, columns=100, rows=30, environment=(), streams=("stdout",)):
        self.master, slave = pty.openpty()
        self.slave, self.others = slave, {}
        self.resize(columns, rows)
        self.output, self.status = b"", None
        given = {name: value for name, value in os.environ.items()
                 if name not in ("NO_COLOR", "LC_ALL", "LC_CTYPE")}
        given.update({"TERM": "xterm", "LANG": "C.UTF-8", **dict(environment)})
        files = {name: slave if name in streams else tempfile.TemporaryFile()
                 for name in ("stdout", "stderr")}
        self.files = files
        self.process = subprocess.Popen(
            [SONDE, *arguments], stdin=slave, env=given, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **files)
        os.close(slave)

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, until=None):
        """Reads on until that has come, or to the end."""
        end = time.monotonic() + PATIENCE_S
        while until is None or until not in self.output.decode(errors="replace"):
            assert time.monotonic() < end, "hangs"
            if not select.select([self.master], [], [], 1)[0]:
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:  # nobody has the other end any more
                data = b""
            if not data:
                break
            self.output += data
        return self.output.decode()

    def finish(self):
        text = self.read()
        self.process.wait(PATIENCE_S)
        os.close(self.master)
        for name, file in self.files.items():
            if file != self.slave:
                self.others[name] = self.read_file(file)
        return text

    @staticmethod
    def read_file(file):
        with file:
            file.seek(0)
            return file.read().decode()



class Live(unittest.TestCase):
    def shown(self, *arguments, status=0, **options):
        terminal = Terminal(*arguments, **options)
        text = terminal.finish()
        self.assertEqual(terminal.process.returncode, status, text)
        return self.check(text)

    def check(self, text):
        """Drawn, and gone at the end."""
        screen = Screen().feed(text)
        self.assertGreaterEqual(screen.redraws, 2, repr(text))
        self.assertFalse(screen.hidden)
        self.assertTrue(any(BLOCK.search(one) for one in screen.shown), screen.shown)
        for one in screen.shown:
            self.assertLessEqual(len(BLOCK.findall(one)), 1, one)
        self.assertIsNone(BLOCK.search(screen.text()), screen.text())
        return screen

    def test_block_is_redrawn_and_the_report_follows(self):
        screen = self.shown(*CALL)
        last = screen.shown[-1]
        for part in ("epoll: ", " calls/s", "p50 ", "p90 ", "p99 ", "p99.9 ", "errors 0"):
            self.assertIn(part, last)
        self.assertRegex(last, "[▁▂▃▄▅▆▇█]{2,}")
        self.assertRegex(last, r"server \d+ %")
        self.assertTrue(any("s left" in one for one in screen.shown))
        self.assertTrue(screen.text().startswith("epoll: tcp://"), screen.text())
        self.assertIn("limited by:", screen.text())
        self.assertNotRegex(screen.text(), INTERVAL)

    def test_piped_output_is_lines_without_escapes(self):
        done = run(*CALL)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertNotIn(ESCAPE, done.stdout)
        self.assertRegex(done.stdout, INTERVAL)
        self.assertNotIn("conductor's thread", done.stdout)

    def test_terminals_on_which_it_is_not_wanted(self):
        for arguments, environment in ((("--live=off",), {}), (("-q",), {}), ((), {"NO_COLOR": "1"}),
                                       ((), {"TERM": "dumb"}), ((), {"TERM": ""})):
            with self.subTest(arguments=arguments, environment=environment):
                text = Terminal(*CALL, *arguments, environment=environment).finish()
                self.assertNotIn(ESCAPE, text)
                self.assertEqual(bool(INTERVAL.search(text)), "-q" not in arguments)

    def test_on_standard_error_where_the_output_goes_elsewhere(self):
        for arguments, on in ((("--json",), True), ((), False), (("--live=on",), True)):
            with self.subTest(arguments=arguments):
                terminal = Terminal(*CALL, *arguments, streams=("stderr",))
                text = terminal.finish()
                output = terminal.others["stdout"]
                self.assertEqual(terminal.process.returncode, 0)
                self.assertNotIn(ESCAPE, output)
                self.assertEqual(bool(INTERVAL.search(output)), "--json" not in arguments)
                if on:
                    self.check(text)
                else:
                    self.assertEqual(text, "")

    def test_without_a_terminal_it_cannot_be_asked_for(self):
        self.assertIn("--live", check_one_line(self, run(*CALL, "--live=on"), 2))

    def test_narrow_and_low_terminals(self):
        for columns, rows in ((20, 24), (1, 24), (300, 24)):
            with self.subTest(columns=columns):
                text = Terminal(*CALL, columns=columns, rows=rows).finish()
                screen = Screen().feed(text)
                self.assertGreaterEqual(screen.redraws, 2)
                self.assertLessEqual(screen.widest, max(columns - 1, 1))
                self.assertIn("limited by:", screen.text())
        screen = Screen().feed(Terminal(*CALL, rows=3).finish())
        self.assertTrue(all(one.count("\n") <= 2 for one in screen.shown))

    def test_letters_where_the_locale_has_no_bars(self):
        text = Terminal(*CALL, environment={"LANG": "C"}).finish()
        block = Screen().feed(text).shown[-1]
        self.assertNotRegex(block, "[▁▂▃▄▅▆▇█]")
        self.assertRegex(block, r"[-_.,=+*#]{2,}")

    def test_workloads_and_several_runs(self):
        for command in (("stream", "-d", "1"), ("ping", "udp:", "-d", "1"),
                        ("ping", "-n", "60k", "-e", "threads"), ("call", "-d", "1", "--rate", "1k"),
                        ("stream", "udp:", "--rate", "100M", "-d", "1"),
                        ("ws", "--mode", "hold", "-c", "20", "--ramp", "100ms", "-d", "1500ms")):
            with self.subTest(command=command):
                screen = self.shown(*command)
                if "hold" in command:
                    self.assertIn("20 held", screen.shown[-1])
        screen = self.shown(*CALL, "-e", "epoll,poll", "--repeat", "2", "--warmup-runs", "0")
        lines = screen.text().splitlines()
        self.assertEqual([line.split(":")[0] for line in lines[:4]],
                         ["run 1/4 epoll", "run 2/4 poll", "run 3/4 poll", "run 4/4 epoll"])
        self.assertTrue(any(one.splitlines()[-4].startswith("poll: ") for one in screen.shown))

    def test_interrupted(self):
        terminal = Terminal("call", "-d", "60")
        terminal.read(until="errors")
        terminal.type("\x03")
        text = terminal.finish()
        self.assertEqual(terminal.process.returncode, 1)
        screen = Screen().feed(text.replace("^C", ""))
        self.assertFalse(screen.hidden)
        self.assertIsNone(BLOCK.search(screen.text()), screen.text())
        self.assertIn("interrupted", screen.text())

    def test_killed_in_the_middle(self):
        terminal = Terminal("call", "-d", "60")
        terminal.read(until="errors")
        terminal.read(until="\x1b[?25h")
        terminal.process.send_signal(signal.SIGKILL)
        text = terminal.finish()
        self.assertEqual(text.count("\x1b[?25l"), text.count("\x1b[?25h"))

    def test_failed(self):
        def closes(server, client):
            end = time.monotonic() + 1
            while time.monotonic() < end and (data := client.recv(65536)):
                client.sendall(data)

        with Misbehaving(closes) as server:
            terminal = Terminal("call", server.address, "-d", "60", streams=("stdout", "stderr"))
            text = terminal.finish()
        self.assertEqual(terminal.process.returncode, 1)
        screen = Screen().feed(text)
        self.assertIsNone(BLOCK.search(screen.text()), screen.text())
        self.assertIn("PARTIAL", screen.text())

    def test_a_terminal_that_takes_nothing_holds_up_no_run(self):
        folder = Folder(self)
        path = folder.file("r.json")
        terminal = Terminal("call", "-d", "60", "--json=" + path)
        terminal.read(until="errors")
        terminal.type("\x13")  # Ctrl-S
        time.sleep(0.1)
        before = time.monotonic()
        terminal.process.send_signal(signal.SIGINT)
        while not os.path.exists(path) and time.monotonic() < before + 5:
            time.sleep(0.05)
            if time.monotonic() > before + 1:
                terminal.type("\x11")  # the report itself waits for its reader, as ever
        terminal.finish()
        self.assertEqual(read_record(self, path)["runs"][0]["label"], "epoll")

    def test_cost_is_in_the_record(self):
        path = Folder(self).file("r.json")
        self.shown(*CALL, "--json=" + path)
        one = read_record(self, path)["runs"][0]
        self.assertGreater(metric(one, "live_view_busy"), 0)
        self.assertGreaterEqual(metric(one, "conductor_busy"), metric(one, "live_view_busy"))
        self.assertEqual(len(one["intervals"]), 3)

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "one CPU")
    def test_not_on_a_workers_cpu_where_there_is_another(self):
        cpu = min(os.sched_getaffinity(0))
        for live in ("on", "off"):
            terminal = Terminal(*CALL, "--cpu", str(cpu), "--server-cpu", str(cpu), "--live=" + live)
            terminal.read(until="errors" if live == "on" else "calls/s")
            pid = terminal.process.pid
            self.assertEqual(cpu in os.sched_getaffinity(pid), live == "off")
            terminal.finish()


@unittest.skipUnless(shutil.which("tmux"), "no tmux")
class Resized(unittest.TestCase):
    """On a real terminal, which wraps the lines of one that became narrower."""

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-f", "/dev/null", "-S", self.socket, *arguments],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout

    def test_narrower_and_wider(self):
        folder = Folder(self)
        self.socket = folder.file("tmux")
        self.tmux("new-session", "-d", "-x", "100", "-y", "50",
                  "seq 20; LANG=C.UTF-8 %s call -d 60; echo last; sleep 60" % SONDE)
        self.addCleanup(self.tmux, "kill-server")
        self.await_screen("errors")
        for columns in (30, 24, 100):
            self.tmux("resize-window", "-x", str(columns), "-y", "50")
            time.sleep(0.6)
            # Of what tmux wraps, as many lines leave at the top: those of seq.
            screen = self.await_screen("CPU")
            for part in ("epoll: ", "calls/s", "p50 ", "CPU"):
                self.assertEqual(screen.count(part), 1, screen)
        self.tmux("send-keys", "C-c")
        screen = self.await_screen("last")
        self.assertNotIn("errors 0", screen)

    def await_screen(self, text):
        end = time.monotonic() + PATIENCE_S
        while text not in (screen := self.tmux("capture-pane", "-p")):
            self.assertLess(time.monotonic(), end, screen)
            time.sleep(0.1)
        return screen


if __name__ == "__main__":
    unittest.main()
