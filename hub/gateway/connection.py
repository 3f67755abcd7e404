"""One authenticated connection: reads commands, has them answered in order, writes what others put into its outbox.

Reading never waits for work, and needs no task. Commands go through a bounded queue to one task that lives only while
there are any; what comes too fast or is no command is answered at once.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable

from pydantic import BaseModel

from hub.auth.places import Place
from hub.auth.rate_limits import RateLimits
from hub.domain.errors import HubError, RateLimited
from hub.domain.ids import SessionId, new_id
from hub.domain.principal import Principal
from hub.gateway.follower import Follower
from hub.gateway.incoming import End
from hub.gateway.options import GatewayOptions
from hub.gateway.outbox import Frame, Outbox
from hub.gateway.pace import Pace
from hub.gateway.parse import BadFrame, parse_command
from hub.gateway.transport import HubWebSocket
from hub.protocol.close import Close
from hub.protocol.commands import AnyCommand, TurnDelta
from hub.protocol.frames import ReplyError, failed, live_frame, ok, timestamp
from hub.protocol.live import AuthExpiringData

MAX_QUEUED = 32  # commands that wait for the one before them
MAX_BAD_FRAMES = 20  # in a row
MAX_REFUSED = 500  # commands over the rate limit, before the peer is sent away; one that is within it …
REDEEMED = 10  # … makes up for so many
PIECES_PER_MINUTE = 18_000  # of bots' turns: as they come out of several models at once
PIECES_AT_ONCE = 300
FRAMES_PER_PASS = 8  # then others get their turn: of a flood on many sockets each takes as much of every pass
PATIENCE = 64  # refusals; who goes on after that is read …
REFUSED_PASS_S = 0.06  # … a pass at a time, with this pause: being told to wait is cheap for one who does not care
EXPIRY_WARNING = 0.8  # of the time the credential has left when it is shown
LONGEST_TIMER_S = 3_600.0  # the wall clock may be set while a timer runs

Answer = Callable[["Connection", AnyCommand, float], Awaitable[None]]
"""Carries out a command that came at this time of the event loop, and replies. Never raises but when cancelled."""


OnGone = Callable[["Connection"], None]


class Connection:
    """One live socket of one user on this worker. `followers` are the sessions it follows; `place` is theirs until it
    has ended, `slot` the heartbeat's."""

    __slots__ = (
        "_answer",
        "_bad_frames",
        "_commands",
        "_credential_timer",
        "_frames",
        "_limits",
        "_loop",
        "_on_gone",
        "_pace",
        "_pieces",
        "_refused",
        "_slowed",
        "_taking",
        "_warn_at",
        "_working",
        "closing",
        "followers",
        "gone",
        "id",
        "outbox",
        "place",
        "principal",
        "slot",
        "transport",
    )

    def __init__(
        self,
        transport: HubWebSocket,
        principal: Principal,
        options: GatewayOptions,
        answer: Answer,
        limits: RateLimits | None = None,
        on_gone: OnGone | None = None,
    ) -> None:
        """`limits` are those of the user over all connections. `on_gone` is called once, when it has ended and nothing
        is done for it any more. It is read from when `begin` is called."""
        self.id = new_id()
        self.transport = transport
        self.principal = principal
        self.followers: dict[SessionId, Follower] = {}
        self.closing = False
        self.gone = False
        self.place: Place | None = None
        self.slot = 0
        self.outbox = Outbox(transport.transport, self._too_slow, max_bytes=options.outbox_bytes)
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._on_gone = on_gone
        self._pace = Pace(options.commands_per_minute, options.command_burst)
        self._pieces = Pace(PIECES_PER_MINUTE, PIECES_AT_ONCE)
        self._commands: deque[tuple[AnyCommand, float]] | None = None
        self._working = False
        self._taking = False  # more is taken in a later pass
        self._frames = 0
        self._bad_frames = 0
        self._refused = 0
        self._slowed = False
        self._warn_at: float | None = None
        self._credential_timer: asyncio.TimerHandle | None = None

    def begin(self, stall_s: float) -> None:
        """Read and have answered, until the connection ends."""
        self.renew(self.principal)
        self.transport.open(self, stall_s=stall_s)

    # ---- what others may do with it

    def put(self, data: bytes) -> None:
        """Send one object."""
        self.outbox.put(Frame(data))

    def reply(self, command_id: str, result: BaseModel) -> None:
        self.put(ok(command_id, result))

    def fail(self, command_id: str | None, error: HubError) -> None:
        """Answer with an error."""
        body = ReplyError(
            code=error.code.value,
            message=error.message,
            retryable=error.retryable,
            retry_after=error.retry_after,
            details=error.details,
        )
        self.put(failed(command_id, body))

    def renew(self, principal: Principal) -> None:
        """From now on this credential counts: what it may do, and when it ends."""
        self.principal = principal
        now = time.time()
        self._warn_at = now + EXPIRY_WARNING * (principal.expires_at.timestamp() - now)
        self._watch_credential()

    def unfollow(self, session: SessionId) -> bool:
        """Stop following; returns whether it did follow."""
        follower = self.followers.pop(session, None)
        if follower is not None:
            follower.close()
        return follower is not None

    def close(self, code: Close, reason: str = "") -> None:
        """Send what is ready, then close with this code."""
        if self.closing:
            return
        self.outbox.flush()
        self._let_go()
        self.transport.end(code, reason)

    def drop(self) -> None:
        """End at once, without a word: something of the hub's own has failed."""
        self._let_go()
        self.transport.drop()
        self._end()

    # ---- what the transport tells

    def arrived(self) -> None:
        """Take what has come; of a flood a part, so that others get their turn."""
        if not self._taking:
            self._read()

    def hold(self) -> None:
        self.outbox.hold()

    def resume(self) -> None:
        self.outbox.resume()

    def stalled(self) -> None:
        self._too_slow()

    # ---- its life

    def _read(self) -> None:
        self._taking = False
        while not self.closing:
            message = self.transport.take()
            if message is None:
                return
            if isinstance(message, End):
                self._let_go()
                break
            self._take(message if isinstance(message, str) else None)
            self._frames += 1
            if self._frames % FRAMES_PER_PASS == 0:
                self._taking = True
                self._loop.call_later(REFUSED_PASS_S if self._slowed else 0, self._read)
                return
        self._end()

    def _end(self) -> None:
        """A command under way is finished first; those that wait are not begun."""
        if self.gone or self._working:
            return
        self.gone = True
        for follower in self.followers.values():
            follower.close()
        if self._on_gone is not None:
            self._on_gone(self)

    def _take(self, text: str | None) -> None:
        """Decide about one frame (None: a binary one), without waiting."""
        try:
            command = parse_command(text)
        except BadFrame as bad:
            self._bad_frames += 1
            self.fail(bad.id, bad.error)
            if self._bad_frames >= MAX_BAD_FRAMES:
                self.close(Close.BAD_FRAMES, "too many bad frames")
            return
        pace = self._pieces if isinstance(command, TurnDelta) else self._pace
        retry_after = pace.take(self._loop.time())
        if not retry_after and self._commands is not None and len(self._commands) >= MAX_QUEUED:
            retry_after = 1.0
        if not retry_after and self._limits is not None and not isinstance(command, TurnDelta):
            retry_after = self._limits.command(self.principal, command.type).retry_after_s
        if retry_after:
            self._refuse(command, retry_after)
        else:
            self._bad_frames = 0
            self._refused = max(0, self._refused - REDEEMED)
            self._slowed = False
            self._enqueue(command)

    def _refuse(self, command: AnyCommand, retry_after: float) -> None:
        self._refused += 1
        # A bot whose words are too many is told so at once: it has a turn to finish in time.
        self._slowed = self._refused > PATIENCE and not isinstance(command, TurnDelta)
        self.fail(command.id, RateLimited("too many commands", retry_after=math.ceil(retry_after * 1000) / 1000))
        if self._refused >= MAX_REFUSED:
            self.close(Close.RATE_LIMITED, "too many commands")

    def _enqueue(self, command: AnyCommand) -> None:
        if self._commands is None:
            self._commands = deque()
        self._commands.append((command, self._loop.time()))
        if not self._working:
            self._working = True
            self.transport.spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._commands and not self.closing:
                await self._answer(self, *self._commands.popleft())
        except BaseException:
            self.drop()
            raise
        finally:
            self._working = False
            self._commands = None
            if self.closing:
                self._end()

    def _let_go(self) -> None:
        """Nothing is written or begun from here on."""
        self.closing = True
        self.outbox.close()
        if self._credential_timer is not None:
            self._credential_timer.cancel()
            self._credential_timer = None

    def _too_slow(self) -> None:
        self.close(Close.SLOW_CONSUMER, "slow consumer")

    # ---- the credential's time

    def _watch_credential(self) -> None:
        """Warn, close, or look again when one of them is due."""
        if self._credential_timer is not None:
            self._credential_timer.cancel()
            self._credential_timer = None
        if self.closing:
            return
        now, end = time.time(), self.principal.expires_at.timestamp()
        if now >= end:
            self.close(Close.CREDENTIAL_ENDED, "the credential has ended")
            return
        if self._warn_at is not None and now >= self._warn_at:
            self._warn_at = None
            self.put(live_frame(AuthExpiringData(expires_at=timestamp(self.principal.expires_at))))
        due = end if self._warn_at is None else self._warn_at
        # The loop's clock and the wall clock differ by a little: never wake up early again and again.
        delay = min(max(due - now, 0.001), LONGEST_TIMER_S)
        self._credential_timer = self._loop.call_later(delay, self._watch_credential)
