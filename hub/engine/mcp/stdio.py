"""MCP over the standard streams of a process that the hub starts."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

GUARDIAN = Path(__file__).with_name("guardian.py")
MAX_LINE = 8 * 1024 * 1024  # bytes of a message
MAX_SAID = 500  # bytes of a line on its standard error that are logged
LEAVING_S = 1.5  # the guardian kills after 0.5 s


@asynccontextmanager
async def stdio_transport(
    command: Sequence[str],
    env: Mapping[str, str],
    folder: str | None,
    *,
    said: Callable[[str], None],
    gone: Callable[[], None],
) -> AsyncGenerator[TransportStreams]:
    """Start the command, and end it with everything it has started. `said` gets the lines of its standard error,
    `gone` is called when it has ended.

    OSError when it cannot be started in this folder; a command that does not exist closes the streams at once.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(GUARDIAN),
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        cwd=folder,
        start_new_session=True,  # a process group of its own
        limit=MAX_LINE,
    )
    to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, process, to_session, gone)
            tasks.start_soon(_write, process, from_session, to_session)
            tasks.start_soon(_listen, process, said)
            try:
                yield incoming, outgoing
            finally:
                tasks.cancel_scope.cancel()
    finally:
        await _end(process)
        for stream in (to_session, incoming, outgoing, from_session):
            stream.close()


async def _read(
    process: asyncio.subprocess.Process,
    to_session: MemoryObjectSendStream[SessionMessage | Exception],
    gone: Callable[[], None],
) -> None:
    assert process.stdout is not None
    async with to_session:  # closing it tells the session that the server is gone
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, ConnectionError):
            while True:
                try:
                    line = await process.stdout.readuntil()
                except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    gone()
                    return  # the end, or a message longer than any that is taken: there is no way to go on
                if line.strip():
                    await to_session.send(_parse(line))


def _parse(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError as e:
        return e


async def _write(
    process: asyncio.subprocess.Process,
    from_session: MemoryObjectReceiveStream[SessionMessage],
    to_session: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    assert process.stdin is not None
    try:
        async with from_session:
            async for message in from_session:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, ConnectionError):
        to_session.close()


async def _listen(process: asyncio.subprocess.Process, said: Callable[[str], None]) -> None:
    assert process.stderr is not None
    while piece := await process.stderr.read(65_536):
        for line in piece.splitlines():
            if line.strip():
                said(line[:MAX_SAID].decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, upon which its guardian ends it; kill the group if that does not."""
    if process.stdin is not None:
        process.stdin.close()
    ended = False
    try:
        async with asyncio.timeout(LEAVING_S):
            await process.wait()
            ended = True
    except TimeoutError:
        pass
    finally:
        if not ended:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        # What was not read to its end would keep the pipes, and whoever has left the group may hold them open.
        process._transport.close()  # type: ignore[attr-defined]
