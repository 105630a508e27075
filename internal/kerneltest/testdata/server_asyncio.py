"""Serves with asyncio's start_server. A client that asks to wait blocks the
event loop until a line comes on standard input."""
import asyncio
import sys


async def handle(reader, writer):
    try:
        if await reader.readline() == b"wait\n":
            print("wait", flush=True)
            sys.stdin.readline()
        writer.write(b"served\n")
        await writer.drain()
    except ConnectionError:
        pass  # it gave up
    writer.close()


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=64)
    print("listening %s:%d" % server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


asyncio.run(main())
