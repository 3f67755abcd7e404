"""Server-Sent Events: one response that follows a session's log until somebody has a reason to end it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, cast

from fastapi import Depends, Request, Response
from starlette.types import Receive, Scope, Send

from hub.auth.authenticator import Authenticator
from hub.auth.places import Place, Places
from hub.domain.errors import HubError, Unavailable
from hub.domain.principal import Principal
from hub.protocol.frames import LoggedEvent

EVENT_STREAM = "text/event-stream"
RETRY_MS = 1000  # what an EventSource waits before it comes back
STALL_S = 15.0  # without progress: the reader is gone or does not read
CREDENTIAL_CHECK_S = 2.0


class StreamSlots:
    """How many event streams may be open at once in this worker; `places` are those of users and organisations."""

    def __init__(self, limit: int, places: Places) -> None:
        self._free = limit
        self._places = places

    async def take(self, principal: Principal) -> "StreamSlot":
        """A place for one stream. Raises `RateLimited` when the caller or their organisation has all they may,
        `Unavailable` when this worker has none."""
        if self._free <= 0:
            raise Unavailable("too many event streams are open", retry_after=5.0)
        slot = StreamSlot(self, self._places.take(principal))
        self._free -= 1
        try:
            await slot.place.confirm()
        except BaseException:
            slot.release()
            raise
        return slot

    def give_back(self) -> None:
        """One stream has ended."""
        self._free += 1


class StreamSlot:
    """One stream's place; released once, however often it is asked for."""

    def __init__(self, slots: StreamSlots, place: Place) -> None:
        self._slots: StreamSlots | None = slots
        self.place = place

    def release(self) -> None:
        """Let another stream have it."""
        if self._slots is not None:
            self.place.release()
            self._slots.give_back()
            self._slots = None


async def stream_slots(request: Request) -> StreamSlots:
    """Those of the app."""
    return cast(StreamSlots, request.app.state.stream_slots)


Slots = Annotated[StreamSlots, Depends(stream_slots)]


class EventStream(Response):
    """Writes events as they come; None from the source is a sign of life.

    Ends when the source ends, the reader hangs up or reads nothing for 15 s, the credential is revoked (seen within
    2 s) or the worker drains. The end is an ordinary one: the client comes back with `Last-Event-ID`.
    """

    media_type = EVENT_STREAM

    def __init__(
        self,
        events: AsyncGenerator[LoggedEvent | None],
        *,
        principal: Principal,
        authenticator: Authenticator,
        stopping: asyncio.Event,
        slot: StreamSlot,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._principal = principal
        self._authenticator = authenticator
        self._stopping = stopping
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        try:
            async with asyncio.TaskGroup() as tasks:
                work = {
                    tasks.create_task(self._write(send)),
                    tasks.create_task(_hung_up(receive)),
                    tasks.create_task(self._revoked()),
                    tasks.create_task(self._drained()),
                }
                await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
                for task in work:
                    task.cancel()
            async with asyncio.timeout(STALL_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return
        finally:
            self._slot.release()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        chunk = f"retry: {RETRY_MS}\n\n".encode()
        try:
            async with asyncio.timeout(STALL_S):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            async for event in self._events:
                async with asyncio.timeout(STALL_S):
                    await send({"type": "http.response.body", "body": _encode(event), "more_body": True})
        except (HubError, TimeoutError, OSError):
            return  # access lost, the database away, the reader stalled or gone: all end the stream
        finally:
            await self._events.aclose()

    async def _revoked(self) -> None:
        while True:
            await asyncio.sleep(CREDENTIAL_CHECK_S)
            try:
                if await self._authenticator.ended([self._principal]):
                    return
            except Unavailable:
                continue  # the source reads the same database: it ends the stream if this lasts

    async def _drained(self) -> None:
        await self._stopping.wait()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _encode(event: LoggedEvent | None) -> bytes:
    if event is None:
        return b": still here\n\n"
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), event.frame())
