"""asyncio, with a library in it that does not know of it."""
import asyncio, os, socket, sys


def legacy_client(question):
    with socket.create_connection(("127.0.0.1", int(os.environ["BACKEND"]))) as s:
        s.sendall(question)
        return s.recv(100)


async def handle(reader, writer):
    question = await reader.readline()
    writer.write(legacy_client(question))
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", int(sys.argv[1]), backlog=100)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
