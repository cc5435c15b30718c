"""A thousand troublesome clients of one key: python _crowd.py GATEWAY_PORT KEY; prints how many it holds, then goes on.

A third send the head of a request and no more, a third ask for streams and never read, a third leave in mid-stream and
come again.
"""

import asyncio
import contextlib
import json
import sys

PORT, KEY = int(sys.argv[1]), sys.argv[2]
BODY = json.dumps({"model": "legal-llm", "messages": [{"role": "user", "content": "?"}], "stream": True})
HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
REQUEST = f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
held: set[int] = set()


async def connect(number):
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            held.add(number)
            return reader, writer
        await asyncio.sleep(0.1)


async def silent(number):
    while True:
        reader, writer = await connect(number)
        writer.write(HEAD[:40].encode())
        with contextlib.suppress(OSError):
            await reader.read(1)  # until the gateway's patience ends
        writer.close()
        await asyncio.sleep(0.5)


async def slow(number):
    while True:
        _, writer = await connect(number)
        writer.write(REQUEST)
        await asyncio.sleep(20)
        writer.close()


async def leaving(number):
    while True:
        reader, writer = await connect(number)
        writer.write(REQUEST)
        with contextlib.suppress(OSError):
            await reader.read(100)
        writer.close()
        await asyncio.sleep(3 + number % 7)


async def main():
    kinds = (silent, slow, leaving)
    tasks = [asyncio.create_task(kinds[number % 3](number)) for number in range(1020)]
    while len(held) < 1000:
        await asyncio.sleep(0.05)
    print(len(held), flush=True)
    await asyncio.gather(*tasks)


asyncio.run(main())
