"""An echo server of python3-websockets: prints its port and serves until it is killed."""

import asyncio

import websockets


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except websockets.ConnectionClosed:
        pass  # with another code than 1000 and 1001


async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
