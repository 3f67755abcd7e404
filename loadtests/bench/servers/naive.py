"""What everybody writes: FastAPI, redis-py, a subscription per socket, `json.loads`, `send_json`."""

import json
import os

import redis.asyncio as redis
from fastapi import FastAPI, WebSocket

app = FastAPI()
# Each subscription holds a connection; the library lends 100 unless it is told otherwise.
connection = redis.from_url(os.environ["BENCH_REDIS"], max_connections=65_536)


@app.websocket("/ws/{session}")
async def watch(websocket: WebSocket, session: str) -> None:
    """One watcher of one session."""
    await websocket.accept()
    async with connection.pubsub() as channel:
        await channel.subscribe(f"tok:{session}")
        async for message in channel.listen():
            if message["type"] == "message":
                await websocket.send_json(json.loads(message["data"]))
