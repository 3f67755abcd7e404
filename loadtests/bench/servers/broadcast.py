"""The `websockets` library with its own `broadcast`, on uvloop; one Redis subscription for all.

broadcast.py <port>
"""

import os
import sys
from collections import defaultdict

import redis.asyncio as redis
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

rooms: defaultdict[bytes, set[ServerConnection]] = defaultdict(set)


async def watch(connection: ServerConnection) -> None:
    """One watcher of one session."""
    assert connection.request is not None
    room = rooms[b"tok:" + connection.request.path.rpartition("/")[2].encode()]
    room.add(connection)
    try:
        await connection.wait_closed()
    finally:
        room.discard(connection)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    channel = redis.from_url(os.environ["BENCH_REDIS"]).pubsub()
    await channel.psubscribe("tok:*")
    # Without keepalive: the clients of the bench answer the pings of others only.
    async with serve(watch, "127.0.0.1", port, compression=None, ping_interval=None, backlog=4096):
        async for message in channel.listen():
            if message["type"] == "pmessage":
                broadcast(rooms[message["channel"]], message["data"].decode())


uvloop.run(main(int(sys.argv[1])))
