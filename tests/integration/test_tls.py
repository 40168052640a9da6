"""TLS under the workloads: sonde's own two ends, and Python's ssl and OpenSSL's s_client and s_server
as the other one; what does not verify, does not speak, or does not end."""

import os
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from sonde_program import (
    PATIENCE_S, Folder, Misbehaving, Serving, check_one_line, checked_record, echoes, engines, metric,
    read_record, run)


def openssl(*arguments, **options):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, **options)


# Servers that fail in the TLS handshake.

def half_a_record(server, client):
    client.recv(65536)
    client.sendall(b"\x16\x03\x03\x10\x00")
    server.over.wait(PATIENCE_S)


def resets(_, client):
    client.recv(65536)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closes(_, client):
    client.recv(65536)


def speaks_http(_, client):
    client.recv(65536)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    client.recv(65536)


def alerts(_, client):
    client.recv(65536)
    client.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
    client.recv(65536)


class Certificates:
    """An authority and what it signed, or did not."""

    def __init__(self, folder):
        self.folder = folder
        self.ca, self.ca_key = self.make("ca", "/CN=authority")
        self.cert, self.key = self.sign("leaf", "localhost")
        self.other, self.other_key = self.sign("other", "other.example")
        self.expired, self.expired_key = self.sign("expired", "localhost", days="-1")
        self.own, self.own_key = self.make("own", "/CN=localhost", "DNS:localhost")

    def path(self, name):
        return os.path.join(self.folder, name)

    def make(self, name, subject, names="DNS:authority"):
        cert, key = self.path(name + ".pem"), self.path(name + ".key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", key, "-out", cert, "-days", "2", "-subj", subject, "-addext",
                "subjectAltName=" + names)
        return cert, key

    def sign(self, name, host, days="2"):
        cert, key, asked = (self.path(name + end) for end in (".pem", ".key", ".csr"))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", key, "-out", asked, "-subj", "/CN=" + host)
        with open(self.path("ext"), "w", encoding="ascii") as file:
            file.write("subjectAltName=DNS:%s\n" % host)
        openssl("x509", "-req", "-in", asked, "-CA", self.ca, "-CAkey", self.ca_key,
                "-CAcreateserial", "-out", cert, "-days", days, "-extfile", self.path("ext"))
        return cert, key


class WithCertificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="sonde-")
        cls.addClassCleanup(holder.cleanup)
        cls.files = Certificates(holder.name)

    def serving(self, *arguments):
        return Serving(*arguments, "--cert", self.files.cert, "--key", self.files.key)


def record_of(case, command, *arguments):
    done = run(command, *arguments, "--json")
    case.assertEqual(done.returncode, 0, done.stderr)
    record = checked_record(case, done.stdout)
    case.assertTrue(record["complete"])
    return record


class PythonEcho:
    """Answers every byte through Python's ssl."""

    def __init__(self, cert, key, **settings):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        for name, value in settings.items():
            setattr(context, name, value)
        self.echoed, self.ends, self.names = 0, [], []
        context.sni_callback = lambda _, name, __: self.names.append(name)

        def handle(_, client):
            with context.wrap_socket(client, server_side=True,
                                     suppress_ragged_eofs=False) as secure:
                while data := secure.recv(65536):
                    secure.sendall(data)
                    self.echoed += len(data)
                self.ends.append("in order")

        self.server = Misbehaving(handle)
        self.url = self.server.address.replace("tcp://127.0.0.1", "tls://localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.__exit__()


class OwnServer(unittest.TestCase):
    def check_tls(self, one, connections):
        tls = one["tls"]
        self.assertEqual(tls["version"], "TLSv1.3")
        self.assertTrue(tls["verified"])
        self.assertEqual(tls["name"], "127.0.0.1")
        self.assertEqual((tls["handshakes"], tls["resumed"]), (connections, 0))
        for key in ("connect_time", "tls_handshake_time", "server_tls_handshake_time"):
            self.assertEqual(one["histograms"][key]["count"], connections, key)

    def test_call(self):
        for engine in engines():
            for write in ("gather", "each", "batch=7"):
                with self.subTest(engine=engine, write=write):
                    common = ("-e", engine, "-c", "3", "-n", "2000", "--write", write, "--size",
                              "100")
                    tls = record_of(self, "call", "tls:", *common)["runs"][0]
                    tcp = record_of(self, "call", "tcp:", *common)["runs"][0]
                    self.check_tls(tls, 3)
                    self.assertNotIn("tls", tcp)
                    self.assertNotIn("connect_time", tcp["histograms"])
                    for one in (tls, tcp):
                        self.assertEqual(metric(one, "calls"), 2000)
                        self.assertEqual(one["errors"], [])

    def test_stream(self):
        for engine in engines():
            for direction in ((), ("--reverse",), ("--bidir",)):
                with self.subTest(engine=engine, direction=direction):
                    one = record_of(self, "stream", "tls:", "-e", engine, "--bytes", "3000000",
                                    "--streams", "2", "--verify", *direction)["runs"][0]
                    tcp = record_of(self, "stream", "tcp:", "-e", engine, "--bytes", "3000000",
                                    "--streams", "2", "--verify", *direction)["runs"][0]
                    self.check_tls(one, 4 if direction == ("--bidir",) else 2)
                    self.assertEqual(one["errors"], [])
                    for key in ("sent_bytes", "received_bytes", "server_sent_bytes",
                                "server_received_bytes"):
                        self.assertEqual(metric(one, key), metric(tcp, key), key)

    def test_ping(self):
        for engine in engines():
            with self.subTest(engine=engine):
                one = record_of(self, "ping", "tls:", "-e", engine, "-n", "300", "--size",
                                "20k")["runs"][0]
                self.check_tls(one, 1)
                self.assertEqual(one["errors"], [])

    def test_sessions_versions_ciphers(self):
        for version in ("1.2", "1.3"):
            one = record_of(self, "call", "tls:", "-c", "5", "-t", "2", "-n", "100", "--resume",
                            "--tls-version", version)["runs"][0]
            self.assertEqual(one["tls"]["version"], "TLSv" + version)
            self.assertEqual((one["tls"]["handshakes"], one["tls"]["resumed"]), (5, 4))
        for cipher, version in (("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3"),
                                ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2")):
            one = record_of(self, "call", "tls:", "-n", "100", "--ciphers", cipher)["runs"][0]
            self.assertEqual((one["tls"]["cipher"], one["tls"]["version"]), (cipher, version))

    def test_insecure_is_said(self):
        record = record_of(self, "call", "tls:", "-n", "100", "--insecure")
        self.assertFalse(record["runs"][0]["tls"]["verified"])
        self.assertTrue(any("--insecure" in text for text in record["warnings"]))
        done = run("call", "tls:", "-n", "100", "--insecure")
        self.assertIn("certificate NOT verified (for 127.0.0.1)", " ".join(done.stdout.split()))

    def test_refused_by_name(self):
        for arguments, status, what in (
                (("stream", "tls:", "--zerocopy", "msg"), 2, "--zerocopy: tls cannot send without"),
                (("stream", "tls:", "--zerocopy", "sendfile"), 2, "--zerocopy: tls cannot send"),
                (("call", "tls:", "-e", "null"), 2, "--engine: null speaks to nobody"),
                (("call", "tls:", "--tls-version", "1.1"), 2, "--tls-version"),
                (("call", "tls:", "--ciphers", "NONE"), 2, "--ciphers: \"NONE\""),
                (("call", "tls:", "--tls-version", "1.2", "--ciphers",
                  "TLS_AES_128_GCM_SHA256"), 2, "no cipher of the TLS version asked for"),
                (("serve", "tls://127.0.0.1:0", "--key", "/nonexistent"), 2, "--key")):
            with self.subTest(arguments=arguments):
                self.assertIn(what, check_one_line(self, run(*arguments, "-q"), status))

    def test_useless_options_are_said(self):
        record = record_of(self, "call", "tcp:", "-n", "100", "--insecure")
        self.assertTrue(any("--insecure has no effect" in text for text in record["warnings"]))


class Files(WithCertificates):
    def test_files_of_no_use_are_named_with_the_reason(self):
        files, absent = self.files, "No such file or directory"
        empty = Folder(self).file("empty")
        with open(empty, "w", encoding="ascii"):
            pass
        for cert, key, what in (
                ("/nonexistent", None, "--cert: /nonexistent: " + absent),
                ("/", None, "--cert: /: Is a directory"),
                (empty, None, "--cert: %s holds no certificate" % empty),
                (files.key, None, "--cert: %s holds no certificate" % files.key),
                (files.cert, None, "--cert: %s holds no private key: --key FILE" % files.cert),
                (files.cert, "/nonexistent", "--key: /nonexistent: " + absent),
                (files.cert, empty, "--key: %s holds no private key" % empty),
                (files.cert, files.ca, "--key: %s holds no private key" % files.ca),
                (files.cert, files.ca_key, "--key: %s does not fit the cert" % files.ca_key)):
            with self.subTest(cert=cert, key=key):
                done = run("serve", "tls://127.0.0.1:0", "--cert", cert,
                           *(["--key", key] if key else []))
                self.assertIn(what, check_one_line(self, done, 2))
        for path, what in (("/nonexistent", ": " + absent), (empty, " holds no certificate"),
                           (files.key, " holds no certificate")):
            done = run("call", "tls:", "--cacert", path, "-q")
            self.assertIn("--cacert: " + path + what, check_one_line(self, done, 2))


class ForeignServers(WithCertificates):
    def test_python(self):
        for engine in engines():
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                with self.subTest(engine=engine, version=version), \
                        PythonEcho(self.files.cert, self.files.key, minimum_version=version,
                                   maximum_version=version) as echo:
                    one = record_of(self, "call", echo.url, "--cacert", self.files.ca, "-e", engine,
                                    "-c", "2", "-n", "500", "--size", "1000")["runs"][0]
                    self.assertTrue(one["tls"]["verified"])
                    self.assertEqual(metric(one, "calls"), 500)
                    self.assertEqual(echo.echoed, 500 * 1000)
                    self.assertEqual(set(echo.names), {"localhost"})
                    for _ in range(100):
                        if len(echo.ends) == 2:
                            break
                        time.sleep(0.05)
                    self.assertEqual(echo.ends, ["in order"] * 2)

    def test_s_server_as_a_sink(self):
        port = socket.create_server(("127.0.0.1", 0))
        number = port.getsockname()[1]
        port.close()
        server = subprocess.Popen(
            ["openssl", "s_server", "-accept", "127.0.0.1:%d" % number, "-cert", self.files.cert,
             "-key", self.files.key, "-quiet", "-naccept", "1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        taken = []
        reader = threading.Thread(target=lambda: taken.append(server.stdout.read()))
        reader.start()
        try:
            for _ in range(100):
                done = run("stream", "tls://localhost:%d" % number, "--bytes", "1000000",
                           "--cacert", self.files.ca, "--json")
                if "refused" not in done.stderr:
                    break
                time.sleep(0.05)
            self.assertEqual(done.returncode, 0, done.stderr)
            server.wait(PATIENCE_S)
            reader.join(PATIENCE_S)
            self.assertEqual(len(taken[0]), 1000000)
        finally:
            server.kill()
            server.communicate()

    def refused(self, cert, key, what, *arguments):
        with PythonEcho(cert, key) as echo:
            done = run("call", echo.url, "-n", "10", "-q", *arguments)
            self.assertIn(what, check_one_line(self, done, 1))
            self.assertEqual(echo.echoed, 0)

    def test_certificates(self):
        files = self.files
        trust = ("--cacert", files.ca)
        self.refused(files.cert, files.key, "authority is not trusted")
        self.refused(files.own, files.own_key, "self-signed", *trust)
        self.refused(files.other, files.other_key, "for another name than localhost", *trust)
        self.refused(files.expired, files.expired_key, "has expired", *trust)
        with PythonEcho(files.other, files.other_key) as echo:
            one = record_of(self, "call", echo.url, "-n", "10", *trust, "--server-name",
                            "other.example")["runs"][0]
            self.assertEqual(one["tls"]["name"], "other.example")
            self.assertEqual(echo.names, ["other.example"])
        with PythonEcho(files.own, files.own_key) as echo:
            record_of(self, "call", echo.url, "-n", "10", "--cacert", files.own)
            record_of(self, "call", echo.url, "-n", "10", "--insecure")

    def failing(self, handle, what, *arguments):
        with Misbehaving(handle) as server:
            url = server.address.replace("tcp:", "tls:")
            for engine in engines():
                with self.subTest(engine=engine, what=what):
                    done = run("call", url, "-n", "10", "-q", "-e", engine, "--insecure",
                               *arguments)
                    self.assertIn(what, check_one_line(self, done, 1))

    def test_handshakes_that_fail(self):
        self.failing(resets, "the TLS handshake failed: Connection reset by peer")
        self.failing(closes, "the other end closed in the TLS handshake")
        self.failing(speaks_http, "the other end does not speak TLS")
        self.failing(echoes, "the other end does not speak TLS")
        self.failing(alerts, "alert: handshake failure")
        self.failing(half_a_record, "were not established in time (TCP and the TLS handshake)",
                     "--connect-timeout", "300ms")

    def test_truncated(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files.cert, self.files.key)

        def cuts(_, client):
            secure = context.wrap_socket(client.dup(), server_side=True)
            secure.recv(65536)
            os.close(secure.detach())  # no close_notify

        with Misbehaving(cuts) as server:
            url = server.address.replace("tcp:", "tls:")
            for engine in engines():
                with self.subTest(engine=engine):
                    done = run("call", url, "-q", "-d", "2s", "-e", engine, "--insecure", "--high",
                               "1")
                    self.assertIn("ended without close_notify: truncated",
                                  check_one_line(self, done, 1))


class ForeignClients(WithCertificates):
    def client(self, server, *arguments, data=b""):
        address = server.address.replace("tls://", "")
        command = ["openssl", "s_client", "-connect", address, "-CAfile", self.files.ca,
                   "-verify_return_error", *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdin.write(data)
        process.stdin.flush()
        return process

    def read_until(self, process, wanted):
        seen = b""
        os.set_blocking(process.stdout.fileno(), False)
        for _ in range(PATIENCE_S * 20):
            seen += process.stdout.read() or b""
            if wanted in seen:
                return seen
            time.sleep(0.05)
        self.fail("not seen: %r in %r" % (wanted, seen))

    def test_s_client(self):
        for engine in engines():
            for version in ("-tls1_2", "-tls1_3"):
                with self.subTest(engine=engine, version=version), \
                        self.serving("tls://127.0.0.1:0", "-e", engine) as server:
                    session = self.files.path("session")
                    for resumed in (False, True):
                        process = self.client(server, version, "-servername", "localhost",
                                              "-sess_in" if resumed else "-sess_out", session,
                                              data=b"around and back\n")
                        seen = self.read_until(process, b"\naround and back\n")
                        process.communicate(b"Q\n", PATIENCE_S)
                        self.assertEqual(b"Reused, TLSv" in seen, resumed)
                        self.assertIn(b"Verify return code: 0 (ok)", seen)
                    self.assertEqual(server.stop().returncode, 0)

    def test_new_keys(self):
        with self.serving("tls://127.0.0.1:0") as server:
            process = self.client(server, "-tls1_3", data=b"first\n")
            self.read_until(process, b"\nfirst\n")
            for command in (b"K\n", b"k\n"):  # with and without an answer
                process.stdin.write(command)
                process.stdin.flush()
                time.sleep(0.2)
                process.stdin.write(b"after\n")
                process.stdin.flush()
                self.read_until(process, b"after\n")
            _, stderr = process.communicate(b"Q\n", PATIENCE_S)
            self.assertEqual(stderr.count(b"KEYUPDATE"), 2)

    def test_renegotiation_is_refused(self):
        with self.serving("tls://127.0.0.1:0") as server:
            process = self.client(server, "-tls1_2", data=b"first\n")
            self.read_until(process, b"\nfirst\n")
            process.stdin.write(b"R\n")
            process.stdin.flush()
            _, stderr = process.communicate(timeout=PATIENCE_S)
            self.assertIn(b"no renegotiation", stderr)
            record_of(self, "call", server.address, "-n", "10", "--insecure")  # it serves on

    def test_bad_clients_leave_others_alone(self):
        for engine in engines():
            with self.subTest(engine=engine):
                path = Folder(self).file("record.json")
                with Serving("tls://127.0.0.1:0", "tcp://127.0.0.1:0", "-e", engine,
                             "--json=" + path) as server:
                    where = server.address.replace("tls:", "tcp:"), server.addresses[1]
                    host, port = where[0][6:].split(":")
                    others = [socket.create_connection((host, int(port))) for _ in range(3)]
                    others[0].sendall(b"GET / HTTP/1.0\r\n\r\n")
                    others[1].sendall(b"\x16\x03\x01\x02")
                    others[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                         struct.pack("ii", 1, 0))
                    others[1].close()
                    one = record_of(self, "call", server.address, "-n", "5000", "-c", "2",
                                    "--insecure")["runs"][0]
                    self.assertEqual(one["errors"], [])
                    record_of(self, "call", server.addresses[1], "-n", "100")
                    self.assertEqual(others[0].recv(10), b"")
                    others[0].close()
                    others[2].close()
                    time.sleep(0.2)
                    self.assertEqual(server.stop().returncode, 0)
                one = read_record(self, path)["runs"][0]
                found = {row["name"] for row in one["errors"] if row["phase"] == "server tls"}
                self.assertLessEqual({"the other end does not speak TLS", "ECONNRESET",
                                      "the other end closed in the TLS handshake"}, found)
                self.assertEqual(one["tls"]["handshakes"], 2)
                self.assertIsNone(one["tls"]["name"])


if __name__ == "__main__":
    unittest.main()
