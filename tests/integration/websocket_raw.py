"""WebSocket over bare sockets, for tests that need it broken: frames as bytes, a server that is in
order on most connections, records of `sonde ws`."""

import base64
import hashlib
import os
import re
import socket
import struct
import threading

from sonde_program import PATIENCE_S, Misbehaving, checked_record, run

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10


def ws(case, *arguments, status=0, **options):
    """The first run of a `sonde ws` that ends with this status."""
    done = run("ws", "--json", "-q", *arguments, **options)
    case.assertEqual(done.returncode, status, done.stderr)
    return checked_record(case, done.stdout)["runs"][0]


def errors(one):
    return {(error["phase"], error["name"]): error["count"] for error in one["errors"]}


def url(server, path="/"):
    return server.address.replace("tcp:", "ws:") + path


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def answer_101(key, extra=b"", accept=None):
    return (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + (accept or accept_of(key)) + b"\r\n" + extra + b"\r\n")


def request(extra=b"", **changed):
    """A request in order but for the lines that are given otherwise: None leaves one out."""
    lines = {"first": b"GET / HTTP/1.1", "Host": b"a", "Upgrade": b"websocket",
             "Connection": b"Upgrade", "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": b"13"}
    for name, value in changed.items():
        lines[name.replace("_", "-")] = value
    first = lines.pop("first")
    return first + b"\r\n" + b"".join(
        name.encode() + b": " + value + b"\r\n" for name, value in lines.items()
        if value is not None) + extra + b"\r\n"


def frame(opcode, payload=b"", head=FIN, mask=None, length=None):
    """One frame; `length` is what it says of itself, where that is not so."""
    said = len(payload) if length is None else length
    if said < 126:
        form = bytes([said])
    elif said < 65536:
        form = b"\x7e" + struct.pack(">H", said)
    else:
        form = b"\x7f" + struct.pack(">Q", said)
    if mask is None:
        return bytes([head | opcode]) + form + payload
    form = bytes([form[0] | 0x80]) + form[1:]
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)) if any(mask) else payload
    return bytes([head | opcode]) + form + mask + masked


def masked(opcode, payload=b"", head=FIN, length=None):
    """A client's frame."""
    return frame(opcode, payload, head, os.urandom(4), length)


def close_of(code, reason=b""):
    return struct.pack(">H", code) + reason


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


class Wire:
    """A socket, and what of its bytes was not taken yet."""

    def __init__(self, client):
        self.client, self.data = client, b""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, *pieces):
        self.client.sendall(b"".join(pieces))

    def drip(self, data):
        for i in range(len(data)):
            self.client.sendall(data[i:i + 1])

    def more(self):
        piece = self.client.recv(65536)
        if not piece:
            raise EOFError
        self.data += piece

    def head(self):
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        return head

    def key(self):
        return re.search(rb"(?i)sec-websocket-key: *(\S+)", self.head()).group(1)

    def upgrade(self, **options):
        self.send(answer_101(self.key(), **options))

    def bytes(self, count):
        while len(self.data) < count:
            self.more()
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def frame(self):
        """(first byte, opcode, payload without its mask)."""
        first, second = self.bytes(2)
        length = second & 0x7f
        if length == 126:
            length = struct.unpack(">H", self.bytes(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.bytes(8))[0]
        mask = self.bytes(4) if second & 0x80 else b""
        payload = self.bytes(length)
        if mask:
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        return first, first & 15, payload

    def rest(self):
        """What comes until the other end has ended, or reset, the connection."""
        try:
            while True:
                self.more()
        except (EOFError, ConnectionResetError):
            taken, self.data = self.data, b""
            return taken

    def behave(self):
        """As a server in order behind its upgrade: echoes until it has answered a close."""
        while True:
            first, opcode, payload = self.frame()
            if opcode in (CONTINUATION, TEXT, BINARY):
                self.send(frame(opcode, payload, head=first & 0xf0))
            elif opcode == PING:
                self.send(frame(PONG, payload))
            elif opcode == CLOSE:
                self.send(frame(CLOSE, payload))
                return


class Mixed(Misbehaving):
    """A server that misbehaves on each `every`-th connection (from the first on), with
    `fault(server, wire)` of the faults by turns, and is in order on the others. `extra` are header
    lines of its answers."""

    def __init__(self, faults, every, extra=b"", **options):
        self.faults, self.every, self.extra = faults, every, extra
        self.lock, self.good, self.bad = threading.Lock(), 0, 0
        super().__init__(self.one, **options)

    def one(self, _, client):
        with self.lock:
            wrong = (self.good + self.bad) % self.every == 0
            fault = self.faults[self.bad % len(self.faults)]
            self.bad += wrong
            self.good += not wrong
        client.settimeout(PATIENCE_S)
        wire = Wire(client)
        try:
            if wrong:
                fault(self, wire)
            else:
                wire.upgrade(extra=self.extra)
                wire.behave()
        except EOFError:
            pass
