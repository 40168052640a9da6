"""Web servers for tests of `sonde http`: nginx and lighttpd with an access log, Python's own, and raw
sockets that say whatever a test wants; records of `sonde http`."""

import collections
import http.server
import os
import shutil
import socket
import subprocess
import threading
import time

from sonde_program import PATIENCE_S, Folder, checked_record, metric, run

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
LIGHTTPD = shutil.which("lighttpd") or shutil.which("lighttpd", path="/usr/sbin")


def http_record(case, *arguments, status=0, **options):
    """The first run of a `sonde http` that ends with this status; what it counts adds up."""
    done = run("http", "--json", "-q", *arguments, **options)
    case.assertEqual(done.returncode, status, done.stderr)
    one = checked_record(case, done.stdout)["runs"][0]
    adds_up(case, one)
    return one


def finished(one):
    """Requests in order, those that the drain behind the window brought, too."""
    behind = one["metrics"].get("finished_after", {"value": 0})["value"]
    return metric(one, "requests") + behind


def adds_up(case, one):
    whole = sum(metric(one, "status_%dxx" % i) for i in range(2, 6))
    case.assertEqual(whole, metric(one, "requests") + metric(one, "unexpected"))
    case.assertGreaterEqual(metric(one, "requests_failed"), metric(one, "unexpected"))
    for name in ("response_time", "service_time", "first_byte", "download"):
        found = one["histograms"].get(name, {"count": 0})  # left out where it is empty
        case.assertEqual(found["count"], finished(one), name)
    found = sum(error["count"] for error in one["errors"])
    case.assertEqual(metric(one, "requests_failed") > 0 and found == 0, False)


def errors(one):
    return {(error["phase"], error["name"]): error["count"] for error in one["errors"]}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


Asked = collections.namedtuple("Asked", "method target status body connection")


class Installed:
    """A web server that is installed, in a folder of its own, with these files and a log. `secure`:
    (certificate, key) of a second port."""

    def __init__(self, case, files, secure=None, settings=""):
        self.folder = Folder(case)
        self.log, root = self.folder.file("access.log"), self.folder.file("root")
        os.mkdir(root)
        os.chmod(self.folder.path, 0o755)
        for name, content in files.items():
            with open(os.path.join(root, name), "wb") as file:
                file.write(content)
        self.port, self.secure_port = free_port(), free_port() if secure else 0
        configuration = self.folder.file("configuration")
        with open(configuration, "w", encoding="ascii") as file:
            file.write(self.configure(root, secure, settings))
        self.process = subprocess.Popen(self.command(configuration), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        case.addCleanup(self.stop)
        self.wait()
        self.url = "http://127.0.0.1:%d" % self.port
        self.secure_url = "https://127.0.0.1:%d" % self.secure_port

    def wait(self):
        for _ in range(PATIENCE_S * 50):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        raise AssertionError("the web server does not serve")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def lines(self):
        with open(self.log, encoding="ascii") as file:
            return [Asked(*line.split()) for line in file]

    def asked(self, count):
        """Its log once so many lines stand in it; whatever came in a moment more, too."""
        for _ in range(PATIENCE_S * 50):
            if len(self.lines()) >= count:
                break
            time.sleep(0.02)
        time.sleep(0.05)
        return self.lines()

    def forget(self):
        os.truncate(self.log, 0)


class Nginx(Installed):
    def command(self, configuration):
        return [NGINX, "-c", configuration]

    def configure(self, root, secure, settings):
        temporary = "".join("%s_temp_path %s;" % (name, self.folder.file(name)) for name in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        tls = ("listen 127.0.0.1:%d ssl; ssl_certificate %s; ssl_certificate_key %s;"
               "ssl_session_cache shared:s:1m;" % (self.secure_port, *secure) if secure else "")
        user = "user root;" if os.geteuid() == 0 else ""
        return ("daemon off; worker_processes 1; %s pid %s; error_log %s;"
                "events { worker_connections 1000; }"
                "http { log_format asked '$request_method $request_uri $status $body_bytes_sent "
                "$connection'; access_log %s asked; root %s; %s %s"
                "server { listen 127.0.0.1:%d; %s } }" % (
                    user, self.folder.file("pid"), self.folder.file("error.log"), self.log, root,
                    temporary, settings, self.port, tls))


class Lighttpd(Installed):
    def command(self, configuration):
        return [LIGHTTPD, "-D", "-f", configuration]

    def configure(self, root, secure, settings):
        return ('server.modules = ("mod_accesslog")\nserver.document-root = "%s"\n'
                'server.port = %d\nserver.bind = "127.0.0.1"\nserver.errorlog = "%s"\n'
                'accesslog.filename = "%s"\naccesslog.format = "%%m %%U %%s %%b %%p"\n%s\n' % (
                    root, self.port, self.folder.file("error.log"), self.log, settings))

    def asked(self, count):
        """It writes its log when it ends, or after seconds."""
        self.stop()
        return self.lines()


class Python:
    """Python's own server, which keeps what it was asked and the bodies that came."""

    def __init__(self, case, answer=b"hello", protocol="HTTP/1.1"):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = protocol
            wbufsize = 1 << 16  # else the head goes out alone, and Nagle holds the body back

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked.append((self.command, self.path, dict(self.headers), body))
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_HEAD = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/" % self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        case.addCleanup(self.stop)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(PATIENCE_S)
