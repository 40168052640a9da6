"""`sonde ws wss://` and `sonde serve wss://`: TLS below WebSocket, against python3-websockets in both
roles and against servers that fail in the handshake; resumption and failures counted by the others."""

import asyncio
import ctypes
import functools
import os
import socket
import ssl
import subprocess
import threading
import time
import unittest

import websockets

import sonde_program
from sonde_program import (PATIENCE_S, Misbehaving, Serving, check_one_line, checked_record, end,
                           metric, run, start)
from test_tls import WithCertificates, alerts, closes, half_a_record, resets, speaks_http
from test_ws import QUICK, Peer, errors, talk, upgrade, ws

engines = functools.cache(sonde_program.engines)  # asked once: it runs the program
PHASES = ("response_time", "service_time", "connect", "tls_handshake", "upgrade", "close")


def server_context(cert, key, **settings):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


class SecurePeer(Peer):
    """An echo server of python3-websockets through Python's ssl, which counts for itself."""

    def __init__(self, cert, key, settings=None, **options):
        context = server_context(cert, key, **(settings or {}))
        self.names, self.reused, self.hosts, self.versions = [], [], set(), set()
        context.sni_callback = lambda _, name, __: self.names.append(name)
        super().__init__(ssl=context, **options)

    async def echo(self, connection):
        secure = connection.transport.get_extra_info("ssl_object")
        self.reused.append(secure.session_reused)
        self.versions.add(secure.version())
        self.hosts.add(connection.request_headers["Host"])
        await super().echo(connection)

    def __enter__(self):
        super().__enter__()
        self.url = "wss://localhost:%d/a/path?x=1" % self.port
        return self


class AgainstWebsockets(WithCertificates):
    def peer(self, settings=None, **options):
        return SecurePeer(self.files.cert, self.files.key, settings, **options)

    def trusted(self, peer, *arguments, **options):
        return ws(self, peer.url, "--cacert", self.files.ca, *arguments, **options)

    def test_handshakes_are_counted_at_both_ends(self):
        for engine in engines():
            for resume in ((), ("--resume",)):
                with self.subTest(engine=engine, resume=resume), self.peer() as peer:
                    one = self.trusted(peer, "-e", engine, "-n", "60", "-c", "6", "--code", "1001",
                                       *resume)
                    self.assertEqual(metric(one, "handshakes"), 60)
                    self.assertEqual(metric(one, "handshakes_failed"), 0)
                    for name in PHASES:
                        self.assertEqual(one["histograms"][name]["count"], 60, name)
                    # No time stands there under two names.
                    self.assertNotIn("connect_time", one["histograms"])
                    self.assertNotIn("tls_handshake_time", one["histograms"])
                    self.assertEqual(one["errors"], [])
                    self.assertEqual(peer.codes, [1001] * 60)
                    self.assertEqual(peer.names, ["localhost"] * 60)
                    self.assertEqual(peer.hosts, {"localhost:%d" % peer.port})
                    resumed = 59 if resume else 0
                    self.assertEqual(peer.reused.count(True), resumed)
                    self.assertFalse(peer.reused[0])
                    self.assertEqual(metric(one, "tls_resumed"), resumed)
                    tls = one["tls"]
                    self.assertEqual((tls["handshakes"], tls["resumed"]), (60, resumed))
                    self.assertEqual((tls["version"], tls["verified"], tls["name"]),
                                     ("TLSv1.3", True, "localhost"))

    def test_sessions_of_tls_1_2(self):
        with self.peer() as peer:
            one = self.trusted(peer, "-n", "30", "-c", "5", "--resume", "--tls-version", "1.2")
            self.assertEqual(metric(one, "handshakes"), 30)
            self.assertEqual(peer.versions, {"TLSv1.2"})
            self.assertEqual(peer.reused.count(True), 29)
            self.assertEqual(one["tls"]["resumed"], 29)

    def test_threads_wait_for_the_first_session(self):
        with self.peer() as peer:
            one = self.trusted(peer, "-n", "60", "-c", "6", "-t", "3", "--resume")
            self.assertEqual(metric(one, "handshakes"), 60)
            self.assertEqual(peer.reused.count(False), 1)
            self.assertEqual(one["tls"]["resumed"], 59)

    def test_tickets_that_serve_once(self):
        """A server that allows early data takes each ticket once, against replays."""
        try:
            library = ctypes.CDLL("libssl.so.3")
        except OSError as error:
            self.skipTest(str(error))
        library.SSL_CTX_set_max_early_data.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        for connections, whole in ((1, 1), (4, 8)):
            with self.subTest(connections=connections):
                peer = self.peer()
                # Python has no name for it: the SSL_CTX is the first member of its object.
                pointer = ctypes.c_void_p.from_address(
                    id(peer.options["ssl"]) + object.__basicsize__)
                self.assertEqual(library.SSL_CTX_set_max_early_data(pointer, 1), 1)
                with peer:
                    one = self.trusted(peer, "-n", "100", "-c", str(connections), "--resume")
                    self.assertEqual(metric(one, "handshakes"), 100)
                    self.assertEqual(one["tls"]["resumed"], peer.reused.count(True))
                    # Those until there is a session for each that is in flight.
                    self.assertLessEqual(peer.reused.count(False), whole)

    def test_a_server_that_gives_no_session(self):
        with self.peer({"num_tickets": 0}) as peer:
            one = self.trusted(peer, "-n", "20", "-c", "4", "--resume")
            self.assertEqual(metric(one, "handshakes"), 20)
            self.assertEqual((one["tls"]["resumed"], peer.reused), (0, [False] * 20))

    def test_messages(self):
        for engine in engines():
            with self.subTest(engine=engine), self.peer(compression=None) as peer:
                one = self.trusted(peer, "--mode", "message", "-m", "20000", "-n", "100", "-c", "3",
                                   "-e", engine, "--resume")
                self.assertEqual(metric(one, "round_trips"), 100)
                self.assertEqual((peer.messages, peer.codes), (100, [1000] * 3))
                self.assertEqual(one["histograms"]["upgrade"]["count"], 3)
                self.assertEqual(one["histograms"]["tls_handshake_time"]["count"], 3)
                self.assertNotIn("tls_handshake", one["histograms"])
                self.assertEqual(sorted(peer.reused), [False, True, True])

    def test_a_schedule(self):
        with self.peer() as peer:
            one = self.trusted(peer, "-r", "60", "-n", "30", "-c", "20", "--resume")
            self.assertEqual(metric(one, "handshakes"), 30)
            self.assertEqual(one["histograms"]["send_lag"]["count"], 30)
            self.assertEqual(peer.reused.count(True), 29)

    def refused(self, cert, key, name, said, *arguments):
        """All fail alike, and nothing of WebSocket is said to a server that is not trusted."""
        for engine in engines():
            with self.subTest(name=name, engine=engine), SecurePeer(cert, key) as peer:
                done = run("ws", "--json", "-q", peer.url, "-n", "3", "-c", "1", "-e", engine,
                           *arguments)
                self.assertIn(said, check_one_line(self, done, 1))
                one = checked_record(self, done.stdout)["runs"][0]
                self.assertEqual(errors(one), {("tls", name): 3})
                self.assertEqual((peer.reused, len(peer.names)), ([], 3))

    def test_certificates(self):
        files, trust = self.files, ("--cacert", self.files.ca)
        untrusted = "the certificate's authority is not trusted"
        self.refused(files.cert, files.key, untrusted, untrusted)
        name = "the certificate is for another name"
        self.refused(files.other, files.other_key, name, name + " than localhost", *trust)
        expired = "the certificate has expired"
        self.refused(files.expired, files.expired_key, expired, expired, *trust)
        with SecurePeer(files.other, files.other_key) as peer:
            one = self.trusted(peer, "-n", "5", "-c", "1", "--server-name", "other.example")
            self.assertEqual(metric(one, "handshakes"), 5)
            self.assertEqual(peer.names, ["other.example"] * 5)
            self.assertEqual(peer.hosts, {"localhost:%d" % peer.port})
        with SecurePeer(files.expired, files.expired_key) as peer:
            one = ws(self, peer.url, "--insecure", "-n", "5", "-c", "1")
            self.assertEqual(metric(one, "handshakes"), 5)
            self.assertFalse(one["tls"]["verified"])


class OwnServer(WithCertificates):
    def test_handshakes(self):
        for engine in engines():
            for resume in ((), ("--resume",)):
                with self.subTest(engine=engine, resume=resume):
                    one = ws(self, "wss:", "-e", engine, "-n", "300", "-c", "7", *resume)
                    for name in ("handshakes", "server_upgraded", "server_closed",
                                 "server_accepted"):
                        self.assertEqual(metric(one, name), 300, name)
                    for name in PHASES:
                        self.assertEqual(one["histograms"][name]["count"], 300, name)
                    self.assertEqual(one["histograms"]["server_tls_handshake"]["count"], 300)
                    self.assertEqual(one["tls"]["resumed"], 299 if resume else 0)
                    self.assertTrue(one["tls"]["verified"])
                    self.assertEqual(one["errors"], [])

    def test_a_window_is_free_of_the_warm_up(self):
        one = ws(self, "tls:", "-c", "8", "-t", "2", "-d", "400ms", "-w", "200ms", "--resume")
        self.assertGreater(metric(one, "handshakes"), 0)
        self.assertEqual(metric(one, "handshakes_failed"), 0)
        self.assertEqual(one["errors"], [])
        self.assertEqual(one["tls"]["handshakes"] - one["tls"]["resumed"], 1)
        for name in ("tls_handshake", "server_tls_handshake"):
            self.assertLess(one["histograms"][name]["count"], one["tls"]["handshakes"])

    def test_no_figure_of_tls_without_it(self):
        one = ws(self, "ws:", "-n", "20")
        self.assertNotIn("tls_resumed", one["metrics"])
        self.assertNotIn("tls_handshake", one["histograms"])
        self.assertNotIn("tls", one)

    def test_messages(self):
        for engine in engines():
            with self.subTest(engine=engine):
                one = ws(self, "wss:", "--mode", "message", "-e", engine, "-n", "300", "-c", "3",
                         "-m", "70000", "--high", "3", "--deflate")
                self.assertEqual(metric(one, "round_trips"), 300)
                self.assertEqual(metric(one, "closes"), 3)
                for name in ("connect_time", "tls_handshake_time", "server_tls_handshake_time"):
                    self.assertEqual(one["histograms"][name]["count"], 3, name)
                self.assertEqual(one["errors"], [])


class Served(WithCertificates):
    """`sonde serve wss://`."""

    def test_clients_of_websockets(self):
        context = ssl.create_default_context(cafile=self.files.ca)
        for engine in engines():
            with self.subTest(engine=engine), \
                    self.serving("wss://localhost:0/any", "-e", engine, "--json") as server:
                self.assertTrue(server.address.startswith("wss://"), server.address)
                port = int(server.address.rsplit(":", 1)[1])
                url = "wss://localhost:%d/" % port
                self.assertEqual(asyncio.run(talk(url, ssl=context)), [])
                one = ws(self, url, "--cacert", self.files.ca, "-n", "50", "-c", "5", "--resume")
                self.assertEqual(metric(one, "handshakes"), 50)
                served = checked_record(self, server.stop().stdout)["runs"][0]
                self.assertEqual(metric(served, "server_upgraded"), 51)
                self.assertEqual(metric(served, "server_closed"), 51)
                self.assertEqual(served["histograms"]["server_tls_handshake"]["count"], 51)
                self.assertNotIn("server_tls_handshake_time", served["histograms"])
                self.assertEqual((served["tls"]["handshakes"], served["tls"]["resumed"]), (51, 49))
                self.assertEqual(served["errors"], [])

    def test_a_self_signed_certificate(self):
        with Serving("wss://127.0.0.1:0") as server:
            done = run("ws", server.address, "-n", "2", "-q")
            self.assertIn("self-signed", check_one_line(self, done, 1))
            one = ws(self, server.address, "-n", "10", "--insecure")
            self.assertEqual(metric(one, "handshakes"), 10)

    def test_refusals(self):
        for command in ("serve", "ws"):
            for address in ("wss+unix:/tmp/x", "wss:x", "tls+unix:/tmp/x"):
                with self.subTest(command=command, address=address):
                    check_one_line(self, run(command, address), 2)


def silent(server, client):
    server.over.wait(PATIENCE_S)


BAD_HANDSHAKES = ((silent, "ETIMEDOUT", "Connection timed out"),
                  (half_a_record, "ETIMEDOUT", "Connection timed out"),
                  (resets, "ECONNRESET", "Connection reset by peer"),
                  (closes, "the other end closed in the TLS handshake", None),
                  (speaks_http, "the other end does not speak TLS", None),
                  (alerts, "alert: handshake failure", None))


class HostileServers(WithCertificates):
    def wss(self, server):
        return server.address.replace("tcp://127.0.0.1", "wss://localhost") + "/"

    def test_the_tls_handshake(self):
        for handle, name, said in BAD_HANDSHAKES:
            for engine in engines():
                with self.subTest(name=name, engine=engine), Misbehaving(handle) as server:
                    done = run("ws", self.wss(server), "--json", "-q", "-n", "4", "-c", "2", "-e",
                               engine, *QUICK)
                    self.assertIn(said or name, check_one_line(self, done, 1))
                    one = checked_record(self, done.stdout)["runs"][0]
                    self.assertEqual(errors(one), {("tls", name): 4})

    def test_where_none_can_be_established_a_run_without_an_end_fails_at_once(self):
        for handle, name, said in BAD_HANDSHAKES[2:]:
            with self.subTest(name=name), Misbehaving(handle) as server:
                done = run("ws", self.wss(server), "-q", "-d", "10m", "-c", "4", *QUICK)
                self.assertIn(said or name, check_one_line(self, done, 1))

    def test_others_are_untouched(self):
        context = server_context(self.files.cert, self.files.key)
        for handle, name, _ in BAD_HANDSHAKES:
            lock, count, good = threading.Lock(), [0], []

            def every_fifth(server, client):
                with lock:
                    count[0] += 1
                    bad = count[0] % 5 == 1  # the very first one too
                if bad:
                    handle(server, client)
                    return
                with context.wrap_socket(client.dup(), server_side=True) as secure:
                    upgrade(secure)
                    secure.recv(65536)
                    secure.sendall(b"\x88\x02\x03\xe8")
                    good.append(1)

            for engine in engines():
                count[0] = 0
                good.clear()
                with self.subTest(name=name, engine=engine), Misbehaving(every_fifth) as server:
                    one = ws(self, self.wss(server), "--cacert", self.files.ca, "-n", "15", "-c",
                             "4", "-e", engine, "--connect-timeout", "1s")
                    self.assertEqual(errors(one), {("tls", name): 3})
                    self.assertEqual(metric(one, "handshakes"), 12)
                    self.assertEqual(metric(one, "handshakes_failed"), 3)
                    self.assertEqual((len(good), one["tls"]["handshakes"]), (12, 12))

    def test_behind_the_handshake(self):
        """Silence, an answer that is none, and ends with and without close_notify."""
        context = server_context(self.files.cert, self.files.key)

        def cut(secure):
            os.close(secure.detach())  # no close_notify

        def in_order(secure):
            secure.unwrap()

        def until(phase, act):
            def handle(server, client):
                secure = context.wrap_socket(client.dup(), server_side=True)
                try:
                    if phase == "upgrade":
                        secure.recv(65536)
                    else:
                        upgrade(secure)
                        secure.recv(65536)
                    if phase == "end":
                        secure.sendall(b"\x88\x02\x03\xe8")
                    act(secure)
                    server.over.wait(0.1)
                finally:
                    if secure.fileno() >= 0:
                        secure.close()
            return handle

        def wait(secure):
            secure.recv(65536)

        def http(secure):
            secure.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")

        truncated = "ended without close_notify: truncated"
        cases = (("upgrade", cut, truncated), ("close", cut, truncated),
                 ("upgrade", in_order, "the server closed the connection"),
                 ("close", in_order, "the connection ended without a close frame"),
                 ("upgrade", wait, "no answer within --timeout"),
                 ("close", wait, "no answer within --timeout"),
                 ("upgrade", http, "answered with status 404"),
                 ("end", cut, None), ("end", in_order, None))
        for engine in engines():
            for phase, act, name in cases:
                with self.subTest(engine=engine, phase=phase, name=name, act=act.__name__), \
                        Misbehaving(until(phase, act)) as server:
                    one = ws(self, self.wss(server), "--cacert", self.files.ca, "-n", "3", "-c", "1",
                             "-e", engine, "--timeout", "300ms" if act is wait else "10s", status=1 if name else 0)
                    self.assertEqual(errors(one), {(phase, name): 3} if name else {})
                    self.assertEqual(metric(one, "handshakes"), 0 if name else 3)

    def test_an_openssl_that_speaks_no_websocket(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = subprocess.Popen(
            ["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert", self.files.cert,
             "-key", self.files.key, "-www"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            one = ws(self, "wss://localhost:%d/" % port, "--cacert", self.files.ca, "-n", "3", "-c",
                     "1", *QUICK, status=1)
            self.assertEqual([phase for phase, _ in errors(one)], ["upgrade"])
            self.assertEqual(sum(errors(one).values()), 3)
            self.assertEqual(one["tls"]["handshakes"], 3)
        finally:
            server.kill()
            server.wait()

    def test_no_version_in_common(self):
        context = server_context(self.files.cert, self.files.key,
                                 minimum_version=ssl.TLSVersion.TLSv1_3)

        def handle(_, client):
            with context.wrap_socket(client.dup(), server_side=True):
                pass

        with Misbehaving(handle) as server:
            one = ws(self, self.wss(server), "--cacert", self.files.ca, "-n", "3", "-c", "1",
                     "--tls-version", "1.2", status=1)
            self.assertEqual(errors(one), {("tls", "no TLS version in common"): 3})

    def test_a_server_of_plain_websocket(self):
        with Serving("ws://127.0.0.1:0") as server:
            one = ws(self, server.address.replace("ws:", "wss:"), "-n", "3", "-c", "1", status=1)
            self.assertEqual(errors(one), {("tls", "the other end does not speak TLS"): 3})


class Ports(unittest.TestCase):
    def test_the_default_is_443(self):
        try:
            server = socket.create_server(("127.9.8.7", 443))
        except PermissionError:
            self.skipTest("may not listen at port 443")
        with server:
            server.settimeout(PATIENCE_S)
            process = start("ws", "wss://127.9.8.7/", "-n", "1", "-q")
            server.accept()[0].close()
        done = end(process, time.monotonic())
        self.assertIn("wss://127.9.8.7/", check_one_line(self, done, 1))


if __name__ == "__main__":
    unittest.main()
