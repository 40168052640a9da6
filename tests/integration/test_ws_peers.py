"""WebSocket with Debian's python3-websockets and python3-autobahn in both roles: messages of all kinds,
permessage-deflate with each of its parameters and with context that is taken over, close codes."""

import asyncio
import itertools
import os
import threading
import unittest

import websockets
from autobahn.asyncio.websocket import (WebSocketClientFactory, WebSocketClientProtocol,
                                        WebSocketServerFactory, WebSocketServerProtocol)
from autobahn.websocket.compress import (PerMessageDeflateOffer, PerMessageDeflateOfferAccept,
                                         PerMessageDeflateResponse,
                                         PerMessageDeflateResponseAccept)
from websockets.extensions.permessage_deflate import (ClientPerMessageDeflateFactory,
                                                      ServerPerMessageDeflateFactory)

from sonde_program import PATIENCE_S, Serving, checked_record, engines, metric
from websocket_raw import errors, ws

# server_no_context_takeover, client_no_context_takeover, server and client _max_window_bits
PARAMETERS = [(server, client, server_bits, client_bits)
              for (server, client), (server_bits, client_bits) in itertools.product(
                  itertools.product((False, True), repeat=2),
                  ((None, None), (9, None), (None, 9), (10, 12), (15, 15)))]
ROUNDS = [b"", b"x", b"the same again " * 40, b"the same again " * 40, bytes(range(256)) * 300,
          os.urandom(70000), b"the same again " * 40]
CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999)


class OnThread:
    """A server on an event loop of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        self.loop.run_until_complete(self.main())

    async def main(self):
        self.over = asyncio.Event()
        self.server = await self.listen()
        self.port = self.server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.over.wait()
        self.server.close()
        await self.server.wait_closed()

    def __enter__(self):
        self.thread.start()
        if not self.ready.wait(PATIENCE_S):
            raise AssertionError("the peer does not listen")
        self.url = "ws://127.0.0.1:%d/chat?room=1" % self.port
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(PATIENCE_S)
        self.loop.close()


class Websockets(OnThread):
    def __init__(self, **options):
        super().__init__()
        self.options = options
        self.extensions, self.codes, self.messages = [], [], 0

    async def listen(self):
        return await websockets.serve(self.echo, "127.0.0.1", 0, max_size=None, **self.options)

    async def echo(self, connection):
        self.extensions.append(list(connection.extensions))
        try:
            async for message in connection:
                self.messages += 1
                await connection.send(message)
        except websockets.ConnectionClosedError:
            pass
        self.codes.append(connection.close_code)


class Autobahn(OnThread):
    """`accept` agrees to an offer of permessage-deflate, or answers None."""

    def __init__(self, accept=None, fragment=0, pings=0):
        super().__init__()
        self.accept, self.fragment, self.pings = accept, fragment, pings
        self.codes, self.messages, self.kinds, self.paths, self.in_use = [], 0, set(), set(), []
        self.pongs = []

    async def listen(self):
        peer = self

        class Server(WebSocketServerProtocol):
            def onConnect(self, request):
                peer.paths.add((request.path, request.origin or "", tuple(request.protocols)))

            def onOpen(self):
                peer.in_use.append(self.websocket_extensions_in_use)

            def onMessage(self, payload, isBinary):
                peer.messages += 1
                peer.kinds.add(isBinary)
                for _ in range(peer.pings):
                    self.sendPing(b"in between")
                self.sendMessage(payload, isBinary, fragmentSize=peer.fragment or None)

            def onPong(self, payload):
                peer.pongs.append(payload)

            def onClose(self, wasClean, code, reason):
                peer.codes.append((wasClean, code))

        factory = WebSocketServerFactory()
        factory.protocol = Server
        factory.setProtocolOptions(perMessageCompressionAccept=lambda offers: next(
            (self.accept(offer) for offer in offers if isinstance(offer, PerMessageDeflateOffer)),
            None) if self.accept else None)
        return await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)


class Clients(unittest.TestCase):
    """`sonde ws` against their servers."""

    def test_handshakes_with_autobahn(self):
        for engine in engines():
            with self.subTest(engine=engine), Autobahn() as peer:
                one = ws(self, peer.url, "-n", "100", "-c", "10", "-e", engine, "--code", "3001")
                self.assertEqual(metric(one, "handshakes"), 100)
                self.assertEqual(one["errors"], [])
                self.assertEqual(peer.codes, [(True, 3001)] * 100)
                self.assertEqual(peer.paths, {("/chat", "", ())})  # no Origin, no subprotocol

    def test_close_codes(self):
        with Autobahn() as autobahn, Websockets() as other:
            for code in CODES:
                with self.subTest(code=code):
                    for peer in (autobahn, other):
                        one = ws(self, peer.url, "-n", "2", "-c", "1", "--code", str(code))
                        self.assertEqual(metric(one, "handshakes"), 2)
            self.assertEqual(other.codes, [code for code in CODES for _ in range(2)])
            self.assertEqual(autobahn.codes, [(True, code) for code in CODES for _ in range(2)])

    def test_messages_with_autobahn(self):
        cases = (("binary", "0", ()), ("text", "1", ()), ("binary", "125", ("--high", "7")),
                 ("text", "126", ("--fragment", "10")), ("text", "65535", ("--high", "3")),
                 ("binary", "65536", ()), ("binary", "1m", ("--fragment", "100000")))
        for kind, size, rest in cases:
            for fragment, pings in ((0, 0), (1000, 2)):
                with self.subTest(kind=kind, size=size, rest=rest, fragment=fragment), \
                        Autobahn(fragment=fragment, pings=pings) as peer:
                    one = ws(self, peer.url, "--mode", "message", "--message", kind, "-m", size,
                             "-n", "30", "-c", "3", *rest)
                    self.assertEqual(metric(one, "round_trips"), 30)
                    self.assertEqual(metric(one, "closes"), 3)
                    self.assertEqual(metric(one, "pings_of_server"), 30 * pings)
                    # Of several pings the latest is answered.
                    self.assertEqual(set(peer.pongs), {b"in between"} if pings else set())
                    self.assertEqual((peer.messages, peer.kinds), (30, {kind == "binary"}))
                    self.assertEqual(peer.codes, [(True, 1000)] * 3)

    def test_pings_with_autobahn(self):
        with Autobahn() as peer:
            one = ws(self, peer.url, "--mode", "message", "--message", "ping", "-m", "125", "-n",
                     "50", "-c", "2")
            self.assertEqual(metric(one, "round_trips"), 50)
            self.assertEqual((peer.messages, peer.codes), (0, [(True, 1000)] * 2))

    def deflated(self, peer, *rest):
        one = ws(self, peer.url, "--mode", "message", "--message", "text", "-m", "3000", "-n",
                 "40", "-c", "2", "--deflate", *rest)
        self.assertEqual(metric(one, "round_trips"), 40)
        self.assertEqual(one["errors"], [])
        self.assertEqual(peer.messages, 40)
        return metric(one, "wire_bytes_per_message")

    def test_deflate_with_websockets(self):
        sent = {}
        for parameters in PARAMETERS:
            server, client, server_bits, client_bits = parameters
            with self.subTest(parameters=parameters), Websockets(
                    compression=None, extensions=[ServerPerMessageDeflateFactory(
                        server_no_context_takeover=server, client_no_context_takeover=client,
                        server_max_window_bits=server_bits,
                        client_max_window_bits=client_bits)]) as peer:
                sent[parameters] = self.deflated(peer)
                agreed = peer.extensions[0][0]
                self.assertEqual((agreed.local_no_context_takeover,
                                  agreed.remote_no_context_takeover), (server, client))
                if client_bits:
                    self.assertEqual(agreed.remote_max_window_bits, client_bits)
        # With context the messages, which are alike, refer to each other.
        self.assertLess(sent[False, False, None, None], sent[False, True, None, None] / 2)

    def test_deflate_with_autobahn(self):
        for server, client, server_bits, client_bits in PARAMETERS:
            def accept(offer):
                self.assertTrue(offer.accept_max_window_bits)
                return PerMessageDeflateOfferAccept(
                    offer, request_no_context_takeover=client,
                    request_max_window_bits=client_bits or 0, no_context_takeover=server or None,
                    window_bits=server_bits)
            with self.subTest(parameters=(server, client, server_bits, client_bits)), \
                    Autobahn(accept, fragment=500) as peer:
                self.deflated(peer, "--fragment", "100")
                self.assertEqual(peer.codes, [(True, 1000)] * 2)
                agreed = peer.in_use[0][0]
                self.assertEqual((agreed.server_no_context_takeover,
                                  agreed.client_no_context_takeover,
                                  agreed.server_max_window_bits, agreed.client_max_window_bits),
                                 (server, client, server_bits or 15, client_bits or 15))

    def test_a_peer_without_deflate(self):
        with Autobahn() as peer:
            one = ws(self, peer.url, "--mode", "message", "-n", "5", "--deflate", status=1)
            self.assertEqual(errors(one), {("upgrade", "permessage-deflate was not agreed to"): 1})


async def talk(connection):
    """All rounds, as binary and (where they are) as text, whole and in fragments."""
    for message in ROUNDS:
        await connection.send(message)
        assert await connection.recv() == message
        await connection.send([message[:7], message[7:300], message[300:]])
        assert await connection.recv() == message
        if message.isascii():
            await connection.send(message.decode())
            assert await connection.recv() == message.decode()
    await asyncio.wait_for(await connection.ping(b"p" * 125), PATIENCE_S)
    await connection.pong(b"nobody asked")


class Servers(unittest.TestCase):
    """Their clients against `sonde serve ws://`."""

    async def websockets_client(self, address, parameters):
        server, client, server_bits, client_bits = parameters
        async with websockets.connect(
                address, max_size=None, compression=None,
                extensions=[ClientPerMessageDeflateFactory(
                    server_no_context_takeover=server, client_no_context_takeover=client,
                    server_max_window_bits=server_bits,
                    client_max_window_bits=client_bits or True)]) as connection:
            agreed = connection.extensions[0]
            self.assertEqual(agreed.remote_no_context_takeover, server)
            self.assertEqual(agreed.local_no_context_takeover, client)
            self.assertEqual(agreed.remote_max_window_bits, server_bits or 15)
            self.assertEqual(agreed.local_max_window_bits, client_bits or 15)
            await talk(connection)

    def test_deflate_of_websockets(self):
        for engine in ("epoll", "uring"):
            with Serving("ws://127.0.0.1:0", "-e", engine, "--agree-deflate", "--json") as server:
                for parameters in PARAMETERS:
                    with self.subTest(engine=engine, parameters=parameters):
                        asyncio.run(self.websockets_client(server.address, parameters))
                one = checked_record(self, server.stop().stdout)["runs"][0]
                self.assertEqual(one["errors"], [])
                self.assertEqual(metric(one, "server_closed"), len(PARAMETERS))

    async def close_with(self, address, code, reason):
        async with websockets.connect(address) as connection:
            await connection.close(code, reason)
            return connection.close_code

    def test_close_codes(self):
        with Serving("ws://127.0.0.1:0", "--json") as server:
            for code in CODES:
                with self.subTest(code=code):
                    self.assertEqual(asyncio.run(self.close_with(server.address, code, "€" * 41)),
                                     code)
            one = checked_record(self, server.stop().stdout)["runs"][0]
            self.assertEqual((metric(one, "server_closed"), one["errors"]), (len(CODES), []))

    async def asks(self, address, **options):
        async with websockets.connect(address, **options) as connection:
            await connection.send("x")
            assert await connection.recv() == "x"
            return connection.subprotocol

    def test_origin_and_subprotocols(self):
        """Any origin is served; of subprotocols none is agreed to, which a client may accept."""
        with Serving("ws://127.0.0.1:0", "--json") as server:
            for options in ({"origin": "https://elsewhere.example"}, {"origin": "null"},
                            {"subprotocols": ["chat", "superchat"]}):
                with self.subTest(options=options):
                    self.assertIsNone(asyncio.run(self.asks(server.address, **options)))

    def autobahn_client(self, address, parameters):
        """What it got back, how it was closed, and the extensions."""
        server, client, server_bits, client_bits = parameters
        got, over = [], []

        class Client(WebSocketClientProtocol):
            def onOpen(self):
                got.append([str(one) for one in self.websocket_extensions_in_use])
                for payload in ROUNDS:
                    self.sendMessage(payload, True, fragmentSize=1000)

            def onMessage(self, payload, isBinary):
                got.append(payload)
                if len(got) == 1 + len(ROUNDS):
                    self.sendClose(3210, "bye")

            def onClose(self, wasClean, code, reason):
                over.append((wasClean, code))
                self.factory.over.set()

        async def main():
            factory = WebSocketClientFactory(address)
            factory.protocol = Client
            factory.over = asyncio.Event()
            factory.setProtocolOptions(
                perMessageCompressionOffers=[PerMessageDeflateOffer(
                    accept_no_context_takeover=True, accept_max_window_bits=True,
                    request_no_context_takeover=server, request_max_window_bits=server_bits or 0)],
                perMessageCompressionAccept=lambda response: PerMessageDeflateResponseAccept(
                    response, no_context_takeover=client or None, window_bits=client_bits)
                if isinstance(response, PerMessageDeflateResponse) else None)
            port = int(address.rsplit(":", 1)[1])
            await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)
            await asyncio.wait_for(factory.over.wait(), PATIENCE_S)

        asyncio.run(main())
        return got, over

    def test_deflate_of_autobahn(self):
        with Serving("ws://127.0.0.1:0", "--agree-deflate", "--json") as server:
            for parameters in PARAMETERS:
                with self.subTest(parameters=parameters):
                    got, over = self.autobahn_client(server.address, parameters)
                    self.assertEqual(len(got[0]), 1)
                    self.assertEqual(got[1:], ROUNDS)
                    self.assertEqual(over, [(True, 3210)])
            one = checked_record(self, server.stop().stdout)["runs"][0]
            self.assertEqual(one["errors"], [])


if __name__ == "__main__":
    unittest.main()
