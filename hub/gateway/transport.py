"""One peer's WebSocket connection, hardened: caps on what a peer may send, deadlines on what it must take.

The gateway lets the peer in with `accept`, or refuses it; from then on the connection writes finished frames to
`transport`, takes messages with `take`, and ends with `end`, all without waiting. There is nothing else per connection:
no task, no queue, no state of a parser while nothing is under way.

It stands in uvicorn's place for a WebSocket protocol class, which makes it from its upgrade request on. What uvicorn's
own would let happen: a peer that stops reading is never dropped, fragments are not counted, pongs are queued without
bound, a close frame after a protocol error is lost to a TCP reset while the peer is still sending.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Coroutine
from typing import Protocol

from uvicorn.server import ServerState
from websockets.frames import CloseCode

from hub.gateway.incoming import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    TEXT,
    End,
    Fragments,
    Incoming,
    Violation,
    end_of,
    next_frame,
)
from hub.gateway.progress import Progress
from hub.gateway.upgrade import refusal
from hub.protocol.close import Close
from hub.protocol.frames import MAX_FRAME_BYTES

MAX_CONTROL_FRAMES = 512  # pings and pongs between two heartbeats
READ_SLICE = 8_192  # parsed at once: at most some 1,300 frames before others get their turn
EARLY_BYTES = 65_536  # that may come before the peer is let in; more stays in the kernel
AFTERWARDS_S = 0.25  # between two slices of what comes after our close frame: a flood may be long

_PING = b"\x89\x00"
_CLOSE_HEAD, _PONG_HEAD = 0x88, 0x8A


class Owner(Protocol):
    """Who is told what happens to a connection."""

    def arrived(self) -> None:
        """There is something to `take`."""

    def hold(self) -> None:
        """Nothing may be written until `resume` comes, which never does when the connection ends."""

    def resume(self) -> None:
        """It may be written again."""

    def stalled(self) -> None:
        """The peer takes nothing any more; it is to be sent away."""


class HubWebSocket(asyncio.Protocol):
    """One peer's WebSocket connection, from its upgrade request on."""

    __slots__ = (
        "_abort_timer",
        "_accepted",
        "_control_frames",
        "_discarding",
        "_ended",
        "_fragments",
        "_heard",
        "_inbox",
        "_loop",
        "_owner",
        "_parse_scheduled",
        "_progress",
        "_read_paused",
        "_server",
        "_stall_s",
        "_unparsed",
        "_writable",
        "close_sent",
        "disconnected",
        "transport",
    )

    goodbye_s = 5.0  # for the peer to take the close frame
    stalled_goodbye_s = 2.0  # the same, for a peer that did not read what came before it

    def __init__(self, transport: asyncio.Transport, server: ServerState) -> None:
        """Takes the transport over. uvicorn's `server` is told of it, and of the tasks that are begun for it."""
        self.transport = transport
        self.close_sent = False
        self.disconnected = False
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._owner: Owner | None = None
        self._stall_s = 15.0  # a peer that takes nothing for so long is dropped
        self._accepted = False
        self._inbox: deque[str | bytes | End] | None = None  # None when empty
        self._unparsed = b""
        self._fragments: Fragments | None = None  # while a message of them is under way
        self._parse_scheduled = False
        self._read_paused = False
        self._discarding = False
        self._ended = False  # an `End` has been said: there is one
        self._heard = True
        self._control_frames = 0
        self._writable = True
        self._progress: Progress | None = None  # watched while the peer has enough to read
        self._abort_timer: asyncio.TimerHandle | None = None
        server.connections.add(self)  # type: ignore[arg-type]  # it wants `shutdown` of it, no more

    # ---- coming in

    @property
    def is_gone(self) -> bool:
        """Whether nobody is there any more to be let in."""
        return self.disconnected or self.transport.is_closing()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What the server says with every answer: the date."""
        return self._server.default_headers

    def accept(self, answer: bytes) -> None:
        """Let the peer in: `answer` is what makes the connection a WebSocket, with what is said right behind it."""
        self._accepted = True
        self.transport.write(answer)
        if self._unparsed:
            self._schedule_parse()

    def refuse(self, answer: bytes) -> None:
        """Answer the request with this instead, and close."""
        self._discarding = self.close_sent = True
        if not self.is_gone:
            self.transport.write(answer)
            self.transport.close()

    def open(self, owner: Owner, *, stall_s: float) -> None:
        """From here on the owner is told; at once, of what came before."""
        self._owner = owner
        self._stall_s = stall_s
        if self._inbox is not None:
            owner.arrived()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Have this done for the connection; the server waits for it when it stops, and cancels it in the end."""
        task = self._loop.create_task(work)
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    # ---- the way out

    def end(self, code: Close, reason: str = "") -> None:
        """Close with this code. What was written before goes out first, if the peer takes it soon."""
        if self.close_sent or self.is_gone:
            return
        self._inbox = None  # nobody wants it any more
        self._deliver(End(code, reason))
        self._send_close(code, reason)
        self._hold()
        self._say_goodbye(self.goodbye_s if self._writable else self.stalled_goodbye_s)
        # To see the peer's own close frame. What is there already comes first: of a flood nothing more is to pile up.
        if self._unparsed:
            self._pause_reading()
            self._schedule_parse()
        else:
            self._resume_reading()
        self._loop.call_soon(self._tell)

    def drop(self) -> None:
        """End at once, without a word: nobody is there to hear it."""
        self._deliver(End(CloseCode.ABNORMAL_CLOSURE))
        self._hold()
        self.transport.abort()
        self._loop.call_soon(self._tell)

    def _send_close(self, code: int, reason: str) -> None:
        payload = struct.pack("!H", code) + reason.encode()
        self.transport.write(bytes((_CLOSE_HEAD, len(payload))) + payload)
        self.close_sent = True

    def pause_writing(self) -> None:
        self._writable = False
        self._hold()
        self._progress = Progress(self.transport, self._stall_s, self._stalled)

    def resume_writing(self) -> None:
        self._forget_progress()
        self._writable = True
        if self._owner is not None and not self.close_sent:
            self._owner.resume()

    def _hold(self) -> None:
        if self._owner is not None:
            self._owner.hold()

    def _stalled(self) -> None:
        if self._owner is not None:
            self._owner.stalled()
        else:
            self.transport.abort()

    def _forget_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    # ---- the way in

    def take(self) -> str | bytes | End | None:
        """The next message, or why there will be no more; None when there is none now. When the last one was taken,
        reading goes on."""
        inbox = self._inbox
        if inbox is None:
            return None
        message = inbox.popleft()
        if not inbox:
            self._inbox = None
            if self._unparsed:
                self._schedule_parse()
            else:
                self._resume_reading()
        return message

    @property
    def waiting(self) -> int:
        """How many messages have been parsed and not been taken."""
        return len(self._inbox or ())

    def _deliver(self, message: str | bytes | End) -> None:
        if self._ended:
            return
        self._ended = isinstance(message, End)
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(message)

    def _tell(self) -> None:
        if self._inbox is not None and self._owner is not None:
            self._owner.arrived()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._discarding:
            return
        self._unparsed = self._unparsed + data if self._unparsed else data
        if not self._accepted:
            if len(self._unparsed) > EARLY_BYTES:
                self._pause_reading()
        elif not self._parse_scheduled:
            self._parse()

    def _parse(self) -> None:
        """Parse one slice; the rest follows when what came of it has been taken."""
        self._parse_scheduled = False
        if self._discarding or self.transport.is_closing():
            self._unparsed = b""
            self._resume_reading()
            return
        data, at = self._unparsed, 0
        pongs: list[bytes] = []
        try:
            while at < READ_SLICE and not self._discarding:
                so_far = 0 if self._fragments is None else self._fragments.size
                frame = next_frame(data, at, max_bytes=MAX_FRAME_BYTES - so_far)
                if frame is None:
                    break
                at = frame.end
                if frame.opcode == PING:
                    pongs.append(bytes((_PONG_HEAD, len(frame.payload))) + frame.payload)
                elif frame.opcode == CLOSE:
                    self._send_pongs(pongs)
                    pongs = []
                self._take_frame(frame)
        except Violation as violation:
            self._send_pongs(pongs)
            self._fail(violation)
            self._tell()
            return
        self._unparsed = b"" if self._discarding else data[at:]
        self._send_pongs(pongs)
        if self._control_frames > MAX_CONTROL_FRAMES:
            self.end(Close.RATE_LIMITED, "too many control frames")
        self._tell()
        self._go_on(may_have_more=at >= READ_SLICE)

    def _go_on(self, *, may_have_more: bool) -> None:
        """Read on when everything was taken, and parse on in a later pass when there may be something."""
        if self._inbox is not None and not self.close_sent:
            self._pause_reading()
        elif self._unparsed and may_have_more:
            self._pause_reading()
            self._schedule_parse()
        else:
            self._resume_reading()

    def _schedule_parse(self) -> None:
        if self._parse_scheduled or not self._accepted:
            return
        self._parse_scheduled = True
        if self.close_sent:
            self._loop.call_later(AFTERWARDS_S, self._parse)
        else:
            self._loop.call_soon(self._parse)

    def _pause_reading(self) -> None:
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def _take_frame(self, frame: Incoming) -> None:
        opcode, is_final, payload, _ = frame
        if opcode in (TEXT, BINARY):
            if self._fragments is not None:
                raise Violation(CloseCode.PROTOCOL_ERROR, "expected a continuation frame")
            if is_final:
                self._take_message(payload, is_text=opcode == TEXT)
            else:
                self._fragments = Fragments(frame)
        elif opcode == CONT:
            if self._fragments is None:
                raise Violation(CloseCode.PROTOCOL_ERROR, "unexpected continuation frame")
            self._fragments.add(frame)
            if is_final:
                message, self._fragments = self._fragments, None
                self._take_message(message.whole(), is_text=message.is_text)
        elif opcode == CLOSE:
            self._take_close(payload)
        else:  # that anything came is enough of an answer to a ping; pongs go out together with those of the slice
            self._control_frames += 1

    def _take_message(self, payload: bytes, *, is_text: bool) -> None:
        if self.close_sent:
            return
        if not is_text:
            self._deliver(payload)
            return
        try:
            self._deliver(payload.decode())
        except UnicodeDecodeError:
            raise Violation(CloseCode.INVALID_DATA) from None

    def _take_close(self, payload: bytes) -> None:
        said = end_of(payload)
        if self._fragments is not None:
            raise Violation(CloseCode.PROTOCOL_ERROR, "incomplete fragmented message")
        self._discarding = True
        if not self.close_sent:
            self._deliver(said)
            self.transport.write(bytes((_CLOSE_HEAD, len(payload))) + payload)
            self.close_sent = True
        self.transport.close()
        self._hold()
        self._say_goodbye(self.goodbye_s)

    def _send_pongs(self, pongs: list[bytes]) -> None:
        # Otherwise dropped: a peer that does not read does not miss them.
        if pongs and self._writable and not self.close_sent and not self.transport.is_closing():
            self.transport.write(b"".join(pongs))

    def _fail(self, violation: Violation) -> None:
        self._discarding = True
        self._unparsed = b""
        self._fragments = None
        self._deliver(End(violation.code, violation.reason))
        if not self.close_sent:
            self._send_close(violation.code, violation.reason)
        self._hold()
        # Closing now, with unread input, would reset the connection, and the peer would never see the code.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._say_goodbye(self.goodbye_s)
        self._resume_reading()

    # ---- liveness

    def ping(self) -> None:
        """Ask the peer for a sign of life; `is_silent` tells later whether one came."""
        self._control_frames = 0
        if self.close_sent or self.transport.is_closing() or not self._writable:
            return  # a peer that takes nothing is watched for progress instead
        self._heard = False
        self.transport.write(_PING)

    @property
    def is_silent(self) -> bool:
        """Whether nothing came from the peer since the last ping."""
        return not self._heard and not self._read_paused

    # ---- the end

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.disconnected = True
        self._forget_progress()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._server.connections.discard(self)
        self._unparsed = b""
        self._hold()
        self._deliver(End(CloseCode.NO_STATUS_RCVD if self._accepted else CloseCode.ABNORMAL_CLOSURE))
        self._tell()
        self._owner = None

    def shutdown(self) -> None:
        """The server stops."""
        if self._accepted:
            self.end(Close.RESTARTING)
            self.transport.close()
        else:
            self.refuse(refusal(500))

    def _say_goodbye(self, seconds: float) -> None:
        """Give the peer this long to take what is written; closing alone would wait for it for ever."""
        if self._abort_timer is None and not self.disconnected:
            self._abort_timer = self._loop.call_later(seconds, self.transport.abort)
