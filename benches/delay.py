"""A proxy that holds back each piece of data, in both directions: a long line for kernels without netem.

delay.py LISTEN TO SECONDS: ports of 127.0.0.1, and the time for one direction."""

import asyncio
import sys

listen, to, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


async def carry(reader, writer):
    waiting = asyncio.Queue()

    async def write():
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    writing = asyncio.create_task(write())
    try:
        while True:
            data = await reader.read(1 << 16)
            waiting.put_nowait((asyncio.get_running_loop().time() + seconds, data))
            if not data:
                break
        await writing
    except ConnectionError:
        writing.cancel()


async def serve(reader, writer):
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
    except OSError:
        writer.close()
        return
    await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer), return_exceptions=True)
    for one in (writer, far_writer):
        one.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", listen)
    await server.serve_forever()


asyncio.run(main())
