"""`sonde ws --mode hold`: connections that are opened over a ramp, held and closed, counted by the
kernel and by servers that are not sonde's."""

import asyncio
import os
import signal
import socket
import struct
import threading
import time
import unittest

from sonde_program import (PATIENCE_S, Misbehaving, Serving, check_one_line, checked_record, end,
                           engines, metric, run, start)
from test_ws import Peer, errors, request_of, reset, upgrade, url, ws


def established(port):
    """Sockets of clients that are connected to a port, as the kernel counts them."""
    count = 0
    with open("/proc/net/tcp", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            count += fields[3] == "01" and int(fields[2].split(":")[1], 16) == port
    return count


def await_established(case, port, wanted):
    until = time.monotonic() + PATIENCE_S
    while established(port) < wanted:
        case.assertLess(time.monotonic(), until, "never %d connections" % wanted)
        time.sleep(0.02)


def hold(*arguments):
    return start("ws", "--mode", "hold", "--json", "-q", *arguments)


def ended(case, process, status=0):
    done = end(process, time.monotonic())
    case.assertEqual(done.returncode, status, done.stderr)
    return checked_record(case, done.stdout)["runs"][0]


def port_of(address):
    return int(address.split("/")[2].rsplit(":", 1)[1])


class Held(unittest.TestCase):
    def check_all(self, one, count):
        self.assertEqual(metric(one, "connections_held"), count)
        self.assertEqual(metric(one, "connections_opened"), count)
        self.assertEqual(metric(one, "connections_dialed"), count)
        self.assertEqual(metric(one, "connections_lost"), 0)
        self.assertEqual(metric(one, "connections_failed"), 0)
        self.assertEqual(metric(one, "closes"), count)
        self.assertEqual(metric(one, "server_ended_first") + metric(one, "client_ended_first"), count)
        self.assertEqual(one["errors"], [])
        self.assertEqual(one["mode"], "held")
        for name in ("response_time", "service_time", "send_lag", "connect", "upgrade", "open",
                     "close"):
            self.assertEqual(one["histograms"][name]["count"], count, name)

    def test_the_kernel_counts_them(self):
        for engine in engines():
            count = 20 if engine == "threads" else 300
            with self.subTest(engine=engine), Serving("ws://127.0.0.1:0", "--json") as server:
                port = port_of(server.address)
                process = hold(server.address, "-e", engine, "-c", str(count), "--ramp", "100ms",
                               "-d", "2s", "-i", "500ms", "--code", "3001")
                await_established(self, port, count)
                time.sleep(0.3)
                self.assertEqual(established(port), count)  # still there, and no more
                one = ended(self, process)
                self.assertEqual(established(port), 0)
                self.check_all(one, count)
                held = [interval["metrics"]["connections_held"]["value"] for interval in one["intervals"]]
                self.assertEqual(held[-1], count)
                self.assertEqual(held, sorted(held))
                opened = [interval["metrics"]["connections_opened"]["value"]
                          for interval in one["intervals"]]
                self.assertEqual(sum(opened), count)
                self.assertGreater(metric(one, "ramp_upgrades_per_second"), 0)
                served = checked_record(self, server.stop().stdout)["runs"][0]
                self.assertEqual(metric(served, "server_upgraded"), count)
                self.assertEqual(metric(served, "server_closed"), count)
                self.assertEqual(served["errors"], [])

    def test_own_servers(self):
        for transport in ("tcp:", "unix:"):
            with self.subTest(transport=transport):
                one = ws(self, transport, "--mode", "hold", "-c", "100", "--ramp", "50ms", "-d",
                         "1s", "-t", "2", "--server-threads", "2")
                self.check_all(one, 100)
                self.assertEqual(metric(one, "server_upgraded"), 100)
                self.assertEqual(metric(one, "server_closed"), 100)  # behind the window

    def test_more_processes_than_the_conductor_may_open_files(self):
        """Each has listeners of its own, and nobody has all of them."""
        few = ["prlimit", "--nofile=64"]
        done = run("ws", "--mode", "hold", "-c", "1500", "--ramp", "500ms", "-d", "1s", "--json",
                   prefix=few)
        self.assertEqual(done.returncode, 0, done.stderr)
        record = checked_record(self, done.stdout)
        processes = {one["role"]: one["processes"] for one in record["runs"][0]["processes"]}
        self.assertGreater(processes["server"], 64)
        self.check_all(record["runs"][0], 1500)
        with Serving("ws://127.0.0.1:0", "--workers", "80", "--max-connections",
                     "1500", prefix=few) as server:
            one = ws(self, url(server), "--mode", "hold", "-c", "200", "--ramp", "50ms", "-d", "1s")
            self.check_all(one, 200)

    def test_against_websockets(self):
        with Peer() as peer:
            process = hold(peer.url, "-c", "100", "--ramp", "500ms", "-d", "3s", "--code", "3002")
            await_established(self, peer.port, 100)
            one = ended(self, process)
        self.check_all(one, 100)
        self.assertEqual(peer.codes, [3002] * 100)

    def test_pings_of_the_server_are_answered(self):
        """The peer closes those (1011) that do not answer a ping within the time."""
        with Peer(ping_interval=0.2, ping_timeout=PATIENCE_S) as peer:
            one = ws(self, peer.url, "--mode", "hold", "-c", "10", "--ramp", "10ms", "-d", "2s")
        self.check_all(one, 10)
        self.assertGreaterEqual(metric(one, "pings_of_server"), 10)

    def test_pings(self):
        with Serving("ws://127.0.0.1:0", "--json") as server:
            one = ws(self, server.address, "--mode", "hold", "-c", "50", "--ramp", "50ms", "-d",
                     "2s", "--ping-every", "100ms")
            self.check_all(one, 50)
            served = checked_record(self, server.stop().stdout)["runs"][0]
        self.assertGreaterEqual(metric(one, "pings"), 50)
        self.assertEqual(metric(one, "pongs"), metric(one, "pings"))
        self.assertEqual(metric(served, "server_pings"), metric(one, "pings"))
        self.assertEqual(one["histograms"]["pong"]["count"], metric(one, "pongs"))
        with Peer() as peer:
            one = ws(self, peer.url, "--mode", "hold", "-c", "5", "--ramp", "5ms", "-d", "1s",
                     "--ping-every", "50ms")
            self.assertGreaterEqual(metric(one, "pings"), 5)
            self.assertEqual(metric(one, "pongs"), metric(one, "pings"))

    def test_the_ramp_is_even(self):
        """In the middle of the ramp about half of them are there."""
        with Serving("ws://127.0.0.1:0") as server:
            port = port_of(server.address)
            process = hold(server.address, "-c", "200", "--ramp", "8s", "-d", "9s")
            await_established(self, port, 1)
            began = time.monotonic()
            counts = []
            while time.monotonic() < began + 6:
                time.sleep(0.5)
                counts.append(established(port) / (200 / 8 * (time.monotonic() - began)))
            process.send_signal(signal.SIGINT)
            ended(self, process, 1)
        middle = sorted(counts[4:])[len(counts[4:]) // 2]
        self.assertGreater(middle, 0.7, counts)
        self.assertLess(middle, 1.4, counts)

    def test_interrupted(self):
        """They are closed in order, in the middle of the ramp and behind it."""
        for ramp in ("100ms", "50s"):
            with self.subTest(ramp=ramp), Peer() as peer:
                process = hold(peer.url, "-c", "50", "--ramp", ramp, "-d", "60s", "--code", "3003")
                await_established(self, peer.port, 50 if ramp == "100ms" else 1)
                time.sleep(0.3)
                process.send_signal(signal.SIGINT)
                one = ended(self, process, 1)
                opened = metric(one, "connections_opened")
                self.assertEqual(metric(one, "closes"), opened)
                self.assertEqual(metric(one, "connections_lost"), 0)
                self.assertEqual(one["errors"], [])
                self.assertIn("interrupted", one["error"]["what"])
                if ramp == "100ms":
                    self.assertEqual(opened, 50)
            self.assertEqual(peer.codes, [3003] * int(opened))

    def test_memory(self):
        """What each takes is given where they are enough, and is less than 1 KiB and what comes
        once."""
        one = ws(self, "--mode", "hold", "-c", "3000", "--ramp", "1s", "-d", "8s")
        if one["metrics"].get("client_bytes_per_connection") is None:
            self.skipTest("no /proc/self/smaps_rollup")
        self.check_all(one, 3000)
        once = 16 << 20
        for end_of in ("client", "server"):
            self.assertLess(metric(one, end_of + "_bytes_per_connection"), 1024 + once / 3000)

    def test_a_name_is_looked_up_once(self):
        with Serving("ws://127.0.0.1:0") as server:
            name = socket.gethostname()
            try:
                if socket.gethostbyname(name) != "127.0.0.1":
                    self.skipTest("this host's name is not on the loopback")
            except OSError:
                self.skipTest("this host's name is not known")
            target = server.address.replace("127.0.0.1", name)
            for mode in ("handshake", "message"):
                one = ws(self, target, "--mode", mode, "-n", "20", "-c", "2")
                self.assertEqual(one["histograms"]["resolve"]["count"], 1)
                self.assertEqual(one["histograms"]["open"]["count"], 20 if mode == "handshake"
                                 else 2)
            one = ws(self, server.address, "-n", "20")
            self.assertNotIn("resolve", one["histograms"])


def counted(handle):
    """Tells handlers which connection theirs is."""
    lock, count = threading.Lock(), [0]

    def numbered(server, client):
        with lock:
            count[0] += 1
            number = count[0]
        handle(server, client, number)
    return numbered


def answers_close(client):
    client.settimeout(PATIENCE_S)
    if client.recv(65536):
        client.sendall(b"\x88\x02\x03\xe8")


class Lost(unittest.TestCase):
    def test_the_server_dies(self):
        for engine in engines():
            with self.subTest(engine=engine), Serving("ws://127.0.0.1:0") as server:
                count = 20 if engine == "threads" else 100
                port = port_of(server.address)
                process = hold(server.address, "-e", engine, "-c", str(count), "--ramp", "100ms",
                               "-d", "50s")
                await_established(self, port, count)
                time.sleep(0.5)  # or some are still being upgraded
                began = time.monotonic()
                server.process.kill()
                one = ended(self, process, 1)
                self.assertLess(time.monotonic() - began, 30)  # the window is not waited for
                self.assertEqual(metric(one, "connections_held"), 0)
                self.assertEqual(metric(one, "connections_opened"), count)
                self.assertEqual(metric(one, "connections_lost"), count)
                self.assertEqual(sum(errors(one).values()), count)
                self.assertEqual({phase for phase, _ in errors(one)}, {"receive"})
                self.assertLessEqual({name for _, name in errors(one)},
                                     {"ECONNRESET", "the connection ended without a close frame"})
                self.assertIn("%d of %d connections were not held to the end" % (count, count),
                              one["error"]["what"])

    def test_each_reason_is_counted(self):
        def some_end(server, client, number):
            upgrade(client)
            if number % 10 == 1:
                time.sleep(0.1)
                client.sendall(b"\x88\x02\x0b\xb8")  # 3000
                client.recv(65536)
            elif number % 10 == 2:
                time.sleep(0.1)
                reset(client)
            elif number % 10 == 3:
                time.sleep(0.1)  # and closes
            else:
                answers_close(client)
        with Misbehaving(counted(some_end)) as server:
            one = ws(self, url(server), "--mode", "hold", "-c", "40", "--ramp", "100ms", "-d", "3s",
                     status=1)
        self.assertEqual(errors(one), {
            ("protocol", "the server closed with code 3000"): 4,
            ("receive", "ECONNRESET"): 4,
            ("receive", "the connection ended without a close frame"): 4})
        self.assertEqual(metric(one, "connections_held"), 28)
        self.assertEqual(metric(one, "connections_lost"), 12)
        self.assertEqual(metric(one, "connections_dialed"), 40)  # none is dialed again
        self.assertEqual(metric(one, "closes"), 28)
        self.assertEqual(one["histograms"]["open"]["count"], 40)
        self.assertIn("12 of 40 connections were not held to the end: 12 lost: ",
                      one["error"]["what"])

    def test_the_server_ends_in_order(self):
        with Serving("ws://127.0.0.1:0") as server:
            process = hold(server.address, "-c", "50", "--ramp", "50ms", "-d", "50s")
            await_established(self, port_of(server.address), 50)
            time.sleep(0.5)
            server.stop()
            one = ended(self, process, 1)
        self.assertEqual(errors(one), {("protocol", "the server closed with code 1001"): 50})
        self.assertEqual(metric(one, "connections_lost"), 50)

    def test_those_that_never_open(self):
        def every_fifth(server, client, number):
            if number % 5 == 0:
                request_of(client)
                client.sendall(b"HTTP/1.1 503 Busy\r\n\r\n")
                return
            upgrade(client)
            answers_close(client)
        with Misbehaving(counted(every_fifth)) as server:
            one = ws(self, url(server), "--mode", "hold", "-c", "50", "--ramp", "100ms", "-d", "2s",
                     status=1)
        self.assertEqual(errors(one), {("upgrade", "answered with status 503"): 10})
        self.assertEqual(metric(one, "connections_failed"), 10)
        self.assertEqual(metric(one, "connections_held"), 40)
        self.assertEqual(metric(one, "connections_lost"), 0)

    def test_pings_without_an_answer(self):
        def silent(server, client, number):
            upgrade(client)
            if number > 2:
                answers_close(client)
            server.over.wait(PATIENCE_S)

        def answers(_, client):
            upgrade(client)
            while True:
                data = client.recv(65536)
                if not data or data[0] == 0x88:
                    client.sendall(b"\x88\x02\x03\xe8" if data else b"")
                    return
        with Misbehaving(counted(silent)) as server:
            one = ws(self, url(server), "--mode", "hold", "-c", "2", "--ramp", "10ms", "-d", "20s",
                     "--ping-every", "100ms", "--timeout", "300ms", status=1)
            self.assertEqual(errors(one), {("receive", "no pong within --timeout"): 2})
            self.assertEqual((metric(one, "pings"), metric(one, "pongs")), (2, 0))
        with Misbehaving(answers) as server:  # without pings silence is nothing
            one = ws(self, url(server), "--mode", "hold", "-c", "2", "--ramp", "10ms", "-d", "1s",
                     "--timeout", "300ms")
            self.assertEqual(metric(one, "connections_held"), 2)

    def test_closes_without_an_answer(self):
        """The end is bounded, and they were held all the same."""
        def deaf(server, client):
            upgrade(client)
            server.over.wait(PATIENCE_S)
        with Misbehaving(deaf) as server:
            one = ws(self, url(server), "--mode", "hold", "-c", "5", "--ramp", "10ms", "-d", "1s",
                     "--timeout", "300ms", "--drain", "20s")
            self.assertEqual(errors(one), {("close", "no answer within --timeout"): 5})
            self.assertEqual(metric(one, "connections_held"), 5)
            self.assertEqual(metric(one, "closes"), 0)
            done = run("ws", url(server), "--mode", "hold", "-c", "5", "--ramp", "10ms", "-d", "1s",
                       "--drain", "300ms")
            check_one_line(self, done, 1)
            self.assertIn("were not answered within the drain", done.stderr)

    def test_idle_timeout_of_serve(self):
        """It cuts what says nothing, with a close frame; pings are something."""
        with Serving("ws://127.0.0.1:0", "--idle-timeout", "1s") as server:
            one = ws(self, server.address, "--mode", "hold", "-c", "5", "--ramp", "5ms", "-d",
                     "20s", status=1)
            self.assertEqual(errors(one), {("protocol", "the server closed with code 1001"): 5})
            one = ws(self, server.address, "--mode", "hold", "-c", "5", "--ramp", "5ms", "-d", "4s",
                     "--ping-every", "100ms")
            self.assertEqual(metric(one, "connections_held"), 5)


class Usage(unittest.TestCase):
    def test_what_cannot_be(self):
        for arguments, text in ((("-n", "5"), "--count"),
                                (("--rate", "5"), "--rate"),
                                (("--warmup", "1s"), "--warmup"),
                                (("--ramp", "5s"), "takes 5.00 s of it (--ramp)"),
                                (("-c", "19000", "-d", "2s"), "takes 3.80 s of it"),
                                (("local:",), "a transport that connects"),
                                (("-e", "null"), "null answers no handshake")):
            with self.subTest(arguments=arguments):
                done = run("ws", "--mode", "hold", *arguments)
                check_one_line(self, done, 2)
                self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main()
