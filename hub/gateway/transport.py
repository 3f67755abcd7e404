"""uvicorn's WebSocket protocol class, hardened: caps on what a peer may send, deadlines on what it must take.

The application gets it as `scope["state"]["transport"]`. Handshake and first accept go through ASGI; from then on the
connection writes finished frames to `transport` and ends with `end`, both without waiting.

Facts about uvicorn 0.54 and websockets 17 that this class answers: a peer that stops reading is never dropped,
fragments are not counted, pongs are queued without bound, a request line over 8 KiB is never answered, a close frame
after a protocol error is lost to a TCP reset while the peer is still sending, handshakes are logged with their query
string, and refused ones as errors of the application.
"""

import asyncio
import fcntl
import logging
import socket
import sys
import termios
from asyncio.transports import BaseTransport
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from hub.protocol.close import Close
from hub.protocol.frames import MAX_FRAME_BYTES

MAX_FRAGMENTS = 64
MAX_CONTROL_FRAMES = 512  # pings and pongs between two heartbeats
READ_SLICE = 8_192  # parsed at once: at most some 1,300 frames before others get their turn
AFTERWARDS_S = 0.25  # between two slices of what comes after our close frame: a flood may be long
SEND_BUFFER = 262_144  # of the kernel; by itself it takes about 4 MB before a stalled peer is noticed


class _QuietHandshakes(logging.LoggerAdapter[logging.Logger]):
    """Drops uvicorn's lines about handshakes: they hold the query string, and so a ticket."""

    level = logging.WARNING

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # named by logging
        return level >= self.level and super().isEnabledFor(level)


class HubWebSocket(WebSocketsSansIOProtocol):
    """One peer's WebSocket connection, from its upgrade request on."""

    stall_s = 15.0  # a peer that takes nothing for so long is dropped
    goodbye_s = 5.0  # for the peer to take the close frame
    stalled_goodbye_s = 2.0  # the same, for a peer that did not read what came before it
    _quiet = _QuietHandshakes(logging.getLogger("uvicorn.error"))

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "transport": self}, _loop)
        self.logger = self._quiet  # type: ignore[assignment]  # used for its methods only
        self.conn.logger = self.logger
        self.conn.debug = False  # it would log Authorization headers
        self.conn.max_message_size = MAX_FRAME_BYTES
        self.on_full: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_stalled: Callable[[], None] | None = None
        self._unparsed = b""
        self._parse_scheduled = False
        self._discarding = False
        self._heard = True
        self._control_frames = 0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    def open(
        self,
        *,
        stall_s: float,
        on_full: Callable[[], None],
        on_writable: Callable[[], None],
        on_stalled: Callable[[], None],
    ) -> None:
        """From here on the connection writes by itself; what only the handshake needed is let go.

        After `on_full` nothing may be written until `on_writable` comes, which never does when the connection ends.
        """
        self.stall_s = stall_s
        self.on_full = on_full
        self.on_writable = on_writable
        self.on_stalled = on_stalled
        del self.request, self.response

    # ---- the way out

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # Else every handshake that the application refuses is logged as its error: anybody could fill the log.
            self.handshake_complete = True

    def end(self, code: Close, reason: str = "") -> None:
        """Close with this code. What was written before goes out first, if the peer takes it soon."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._write_no_more()
        self._say_goodbye(self.goodbye_s if self.writable.is_set() else self.stalled_goodbye_s)
        if self.read_paused:  # to see the peer's own close frame
            self.read_paused = False
            self.transport.resume_reading()
            if self._unparsed:
                self._schedule_parse()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_no_more()
        self._watch_progress(self._untaken())

    def resume_writing(self) -> None:
        self._cancel_stall_timer()
        super().resume_writing()
        if self.on_writable is not None and not self.close_sent:
            self.on_writable()

    def _write_no_more(self) -> None:
        if self.on_full is not None:
            self.on_full()

    def _watch_progress(self, untaken: int) -> None:
        self._cancel_stall_timer()
        self._stall_timer = self.loop.call_later(self.stall_s, self._check_progress, untaken)

    def _check_progress(self, before: int) -> None:
        untaken = self._untaken()
        if untaken < before:
            self._watch_progress(untaken)
        elif self.on_stalled is not None:
            self.on_stalled()
        else:
            self.transport.abort()

    def _untaken(self) -> int:
        """Bytes that the peer's kernel has not acknowledged yet. The transport's own buffer says too little: it
        shrinks in steps of a third of the kernel's, which a slow peer needs minutes for."""
        size = self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        try:
            return size + int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:  # not every system tells
            return size

    # ---- the way in

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if not self._discarding:
            self._unparsed += data
            self._parse()

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if self._unparsed:
                self._schedule_parse()
            elif not self.transport.is_closing():
                self.transport.resume_reading()
        return message

    def _parse(self) -> None:
        """Parse one slice; the rest follows when the application has taken what came of it."""
        self._parse_scheduled = False
        piece, self._unparsed = self._unparsed[:READ_SLICE], self._unparsed[READ_SLICE:]
        if self._discarding or self.transport.is_closing():
            self._unparsed = b""
            return
        super().data_received(piece)
        self._send_pongs()
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            self._refuse_request()
        elif self._control_frames > MAX_CONTROL_FRAMES:
            self.end(Close.RATE_LIMITED, "too many control frames")
        if self._unparsed and not self.read_paused:
            self.transport.pause_reading()
            self._schedule_parse()
        elif not self._unparsed and not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _schedule_parse(self) -> None:
        if self._parse_scheduled:
            return
        self._parse_scheduled = True
        if self.close_sent:
            self.loop.call_later(AFTERWARDS_S, self._parse)
        else:
            self.loop.call_soon(self._parse)

    def _refuse_request(self) -> None:
        """Send the answer that websockets has prepared for a request it does not take."""
        self.handshake_complete = self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAGMENTS:
            self.frames = []
            self.conn.fail(Close.POLICY, "too many fragments")
            self.handle_parser_exception()
        elif not self._discarding:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        self._control_frames += 1  # the answer goes out with those to the rest of the slice

    def _send_pongs(self) -> None:
        if not self.conn.writes or self.conn.parser_exc is not None:
            return  # what a parser error has to say was sent where it was noticed
        pongs = self.conn.data_to_send()
        # Otherwise dropped: a peer that does not read does not miss them.
        if self.writable.is_set() and not self.transport.is_closing():
            self.transport.write(b"".join(pongs))

    def handle_pong(self, event: Frame) -> None:
        del event
        self._control_frames += 1  # that anything came is enough of an answer

    def handle_parser_exception(self) -> None:
        if self._discarding:
            return
        self._discarding = True
        sent = self.conn.close_sent
        code, reason = (sent.code, sent.reason) if sent is not None else (Close.POLICY, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._write_no_more()
        # Closing now, with unread input, would reset the connection, and the peer would never see the code.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._say_goodbye(self.goodbye_s)

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._write_no_more()
        self._say_goodbye(self.goodbye_s)

    # ---- liveness

    def ping(self) -> None:
        """Ask the peer for a sign of life; `is_silent` tells later whether one came."""
        self._control_frames = 0
        if self.close_sent or self.transport.is_closing() or not self.writable.is_set():
            return  # a peer that takes nothing is watched for progress instead
        self._heard = False
        self.conn.send_ping(b"")
        self.transport.write(b"".join(self.conn.data_to_send()))

    @property
    def is_silent(self) -> bool:
        """Whether nothing came from the peer since the last ping."""
        return not self._heard and not self.read_paused

    def drop(self) -> None:
        """End at once, without a word: nobody is there to hear it."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self._write_no_more()
        self.transport.abort()

    # ---- beginning and end

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_stall_timer()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._unparsed = b""
        self._write_no_more()
        self.on_full = self.on_writable = self.on_stalled = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        self._write_no_more()
        self._say_goodbye(self.goodbye_s)

    def _say_goodbye(self, seconds: float) -> None:
        """Give the peer this long to take what is written; closing alone would wait for it for ever."""
        if self._abort_timer is None and not self.disconnected:
            self._abort_timer = self.loop.call_later(seconds, self.transport.abort)
            # uvicorn closes at once when the application returns, unless this is set.
            self.close_timer = self.loop.call_later(seconds, self.transport.abort)

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
