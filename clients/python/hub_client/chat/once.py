"""Without drawing: one message and its answers, or line by line, for scripts, pipes and dumb terminals."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TextIO

from hub.protocol.events import DurableEvent, RunFinished
from hub.protocol.results import SendResult
from hub_client.chat.conversation import Conversation
from hub_client.chat.plain import PlainView
from hub_client.errors import HubClientError
from hub_client.session import Session

STOP_WITHIN_S = 2.0
MAX_LINE = 1_048_576  # bytes; the hub says what is too long of what is shorter


@dataclass(frozen=True, slots=True)
class Streams:
    """Where text comes from and goes to."""

    input: TextIO
    out: TextIO
    err: TextIO


async def say_and_print(
    session: Session, text: str, conversation: Conversation, streams: Streams, *, as_json: bool
) -> bool:
    """Say something and print what comes of it, until its run has finished. Whether that went well.

    Cancelled (Ctrl-C), it stops the run before it goes.
    """
    view = PlainView(conversation, streams.out, streams.err, for_terminal=streams.out.isatty())
    sent = await session.send(text)
    try:
        async for event in session.events():
            if as_json and isinstance(event, DurableEvent) and event.seq >= sent.seq:
                streams.out.write(event.model_dump_json(exclude_unset=True, by_alias=True) + "\n")
                streams.out.flush()
            elif as_json:
                pass
            elif event.run == sent.run or not isinstance(event, DurableEvent):
                view.apply(event)
            if isinstance(event, RunFinished) and event.run == sent.run:
                return event.data.status == "completed"
            if sent.run is None and isinstance(event, DurableEvent) and event.seq >= sent.seq:
                return True  # no run of its own: it was handed to the one that is under way
    except asyncio.CancelledError:
        await _stop(session, sent)
        raise
    return False


async def _stop(session: Session, sent: SendResult) -> None:
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await session.cancel(sent.run)
    except (HubClientError, TimeoutError):
        return  # the run goes on or has ended; the caller leaves either way


async def say_line_by_line(session: Session, conversation: Conversation, streams: Streams) -> bool:
    """Say every line of the input, one after the other's answers. Whether all went well."""
    well = True
    async for line in _lines(streams.input):
        if line.strip() in ("/exit", "/quit"):
            break
        if line.strip():
            well = await say_and_print(session, line.rstrip("\n"), conversation, streams, as_json=False) and well
    return well


async def _lines(source: TextIO) -> AsyncIterator[str]:
    """Lines as they come; a file that is no terminal or pipe is there at once anyway."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    try:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    except ValueError:  # a regular file cannot be waited for
        for line in source:
            yield line
        return
    try:
        while line_bytes := await _line(reader):
            yield line_bytes.decode(errors="replace")
    finally:
        transport.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        raise ValueError(f"a line is longer than {MAX_LINE:,} bytes") from None


def standard_streams() -> Streams:
    """This process's own."""
    return Streams(sys.stdin, sys.stdout, sys.stderr)
