"""The client of a hub: commands as awaitables, sessions that resume, over one connection that comes back by itself."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from hub.domain.session import OnBusy
from hub.protocol.commands import Auth, Command, Ping, SessionCreate, SessionJoin, SessionLeave
from hub.protocol.events import AnyEvent, TurnOffered, TurnWithdrawn
from hub.protocol.frames import Hello, Reply, ServerFrame, Unknown
from hub.protocol.pieces import SessionData
from hub.protocol.results import JoinResult, PingResult
from hub_client.agents import Agents
from hub_client.calls import Call, Calls
from hub_client.credentials import Credential, FixedToken, SignIn
from hub_client.errors import ConnectionLost, HubClientError, NoAnswer, NotSignedIn, RequestFailed, Stopped, Unreachable
from hub_client.link import Link, Reactions, Status
from hub_client.reconnect import Advice, Backoff
from hub_client.rest import Rest
from hub_client.session import Session
from hub_client.socket import rest_url

COMMAND_TIMEOUT_S = 15.0
CALLS_AT_ONCE = 256


class Hub:
    """A hub, as one user sees it. `connect` makes it; use it with `async with`.

    `on_status` is called with every change of the connection's state.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        *,
        rest: Rest | None = None,
        patience_s: float = 10.0,
        on_status: Callable[[Status], None] | None = None,
    ) -> None:
        self.rest = rest or Rest(rest_url(url), credential.token)
        self._credential = credential
        self._patience_s = patience_s
        self._on_status = on_status
        self._numbers = itertools.count(1)
        self._calls = Calls()
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self._sessions: dict[str, Session] = {}
        self.agents = Agents(self)
        reactions = Reactions(self._receive, self._resume, self._renew, self._lost, self._end, self._report)
        self._link = Link(url, credential, reactions)
        self._tasks = asyncio.TaskGroup()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises `NotSignedIn`, `Stopped`, or `Unreachable` when nobody answers for `patience_s` seconds."""
        await self._tasks.__aenter__()
        self._running = self._tasks.create_task(self._link.run(), name="hub connection")
        try:
            async with asyncio.timeout(self._patience_s):
                await self._link.settled.wait()
        except TimeoutError:
            reason = self.status.reason
            await self.__aexit__(None, None, None)
            raise Unreachable(reason or f"no hub answers at {self._link.url}") from None
        except asyncio.CancelledError:
            await self.__aexit__(None, None, None)
            raise
        if self._link.ended is not None:
            await self.__aexit__(None, None, None)
            raise self._link.ended
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        self._running.cancel()
        # The body's error is not the group's: it goes on as it is, not wrapped in a group.
        await self._tasks.__aexit__(None, None, None)
        await self.rest.close()

    # ---- what a caller does

    @property
    def status(self) -> Status:
        """What the connection is doing."""
        return self._link.status

    @property
    def hello(self) -> Hello:
        """The hub's first words on the last connection: who the user is, which worker, until when, which limits."""
        assert self._link.hello is not None, "a hub is used inside its `async with`"
        return self._link.hello

    @property
    def user(self) -> str:
        """The user's id."""
        return self.hello.user.id

    async def create_session(
        self,
        team: str,
        *,
        title: str | None = None,
        metadata: dict[str, Any] | None = None,
        on_busy: OnBusy | None = None,
        organisation: str | None = None,
    ) -> SessionData:
        """Open a session with a team, in an organisation (id; None: the caller's own); the caller becomes its owner."""
        reply = await self.ask(
            SessionCreate, team=team, title=title, metadata=metadata, on_busy=on_busy, organisation=organisation
        )
        return SessionData.model_validate(reply)

    async def join(self, session: str, after_seq: int | None = None) -> Session:
        """Follow a session: what is in its log after `after_seq` (None: the last 50 events), then everything live.

        A session that is followed already is handed out again as it is.
        """
        followed = self._sessions.get(session)
        if followed is not None:
            return followed
        joining = Session(self, session, after_seq)
        await self._join(joining, repeatable=True)
        return self._sessions.setdefault(session, joining)

    async def ping(self) -> PingResult:
        """Ask the hub for its time."""
        return PingResult.model_validate(await self.ask(Ping, repeatable=True))

    async def ask(
        self,
        command: type[Command],
        *,
        repeatable: bool = False,
        timeout_s: float = COMMAND_TIMEOUT_S,
        **fields: Any,
    ) -> dict[str, Any]:
        """Send a command and wait for its result; while there is no connection, wait for one.

        A repeatable command is sent again after a lost connection and after `unavailable` and `rate_limited`.
        Raises `RequestFailed`, `ConnectionLost`, `NoAnswer` after `timeout_s` seconds, and what ended the connection.
        """
        backoff = Backoff()
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                while True:
                    reply = await self._exchange(self._call(command, fields, repeatable))
                    if reply.ok:
                        return reply.result or {}
                    failure = _failure(reply)
                    if not repeatable or failure.code not in ("unavailable", "rate_limited"):
                        raise failure
                    await asyncio.sleep(failure.retry_after or backoff.delay(Advice.AFTER_BACKING_OFF))
        except TimeoutError:
            raise NoAnswer(f"the hub did not answer within {timeout_s:g} s") from None

    async def wait_ended(self) -> None:
        """Wait until there will be no connection any more. Raises what has ended it."""
        assert self._running is not None
        await asyncio.wait((self._running,))
        if self._link.ended is not None:
            raise self._link.ended

    # ---- for sessions and agents

    def while_connected(self, work: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None] | None:
        """Do something that ends with this connection; None when there is none."""
        return self._link.start(work)

    def follow_again(self, session: Session) -> None:
        """Something is missing or was dropped: leave and join at the session's position."""
        session.interrupted()
        # Without a connection, the next one joins it anyway.
        self._link.start(lambda: self._rejoin(session, leave_first=True))

    async def leave(self, session: Session) -> None:
        """Stop following a session. Without a connection there is nothing to leave."""
        self._sessions.pop(session.id, None)
        session.end()
        if self._link.online:
            await self.ask(SessionLeave, session=session.id)

    # ---- one call

    def _call(self, command: type[Command], fields: dict[str, Any], repeatable: bool) -> Call:
        try:
            made = command(id=str(next(self._numbers)), **fields)
        except ValidationError as e:
            first = e.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RequestFailed("bad_request", f"{where}: {first['msg']}" if where else first["msg"]) from e
        return Call(made, repeatable)

    async def _exchange(self, call: Call) -> Reply:
        if self._link.ended is not None:
            raise self._link.ended
        self._calls.add(call)
        try:
            await self._transmit(call)
            return await call.answer
        finally:
            self._calls.discard(call)

    async def _transmit(self, call: Call) -> None:
        if self._link.online and not call.sent:  # offline, it waits for the next connection
            call.sent = True
            await self._link.send(call.command.model_dump_json(exclude_none=True))

    # ---- joining

    async def _join(self, session: Session, *, repeatable: bool) -> None:
        def took_in(reply: Reply) -> None:
            # In the reader: the replay follows right behind this reply.
            if reply.ok:
                session.joined(JoinResult.model_validate(reply.result))
                self._sessions[session.id] = session

        call = self._call(SessionJoin, {"session": session.id, "after_seq": session.seq}, repeatable)
        call.on_reply = took_in
        async with self._slots:
            try:
                async with asyncio.timeout(COMMAND_TIMEOUT_S):
                    reply = await self._exchange(call)
            except TimeoutError:
                raise NoAnswer(f"the hub did not answer within {COMMAND_TIMEOUT_S:g} s") from None
        if not reply.ok:
            raise _failure(reply)

    async def _rejoin(self, session: Session, *, leave_first: bool = False) -> None:
        backoff = Backoff()
        while session.id in self._sessions:
            try:
                if leave_first:
                    await self.ask(SessionLeave, session=session.id)
                await self._join(session, repeatable=False)
            except RequestFailed as e:
                if not e.retryable:
                    del self._sessions[session.id]
                    session.end(e)
                    return
                await asyncio.sleep(e.retry_after or backoff.delay(Advice.AFTER_BACKING_OFF))
            except NoAnswer:
                await asyncio.sleep(backoff.delay(Advice.AFTER_BACKING_OFF))
            except (ConnectionLost, Stopped, NotSignedIn):
                return  # the next connection starts over, or there is none
            else:
                return

    # ---- what the link tells

    def _receive(self, frame: ServerFrame | Unknown) -> None:
        match frame:
            case Reply():
                self._calls.settle(frame)
            case Hello():
                pass
            case Unknown():
                self._receive_unknown(frame)
            case _:
                self._receive_event(frame)

    def _receive_event(self, event: AnyEvent) -> None:
        if isinstance(event, TurnOffered):
            self.agents.offered(event)
            return
        if isinstance(event, TurnWithdrawn):
            self.agents.withdrawn(event)
            return
        session = self._sessions.get(event.session or "")
        if session is not None:
            session.receive(event)

    def _receive_unknown(self, frame: Unknown) -> None:
        # A newer hub's event: ignored, but a durable one still has its place in the log.
        extra = frame.model_extra or {}
        session, seq = self._sessions.get(str(extra.get("session"))), extra.get("seq")
        if session is not None and isinstance(seq, int):
            session.skip(seq)

    async def _resume(self) -> None:
        for call in self._calls.unsent():
            await self._transmit(call)
        for session in list(self._sessions.values()):
            await self._rejoin(session)
        await self.agents.register_again()

    async def _renew(self) -> None:
        try:
            await self.ask(Auth, token=await self._credential.renew())
        except HubClientError:
            return  # the hub ends the connection with 4100, and then there is time to say so

    def _lost(self) -> None:
        for session in self._sessions.values():
            session.interrupted()
        self._calls.connection_lost()

    def _end(self, error: HubClientError, told_readers: HubClientError | None) -> None:
        for session in self._sessions.values():
            session.end(told_readers)
        self._sessions.clear()
        self._calls.end(error)

    def _report(self, status: Status) -> None:
        if self._on_status is not None:
            self._on_status(status)


def _failure(reply: Reply) -> RequestFailed:
    error = reply.error
    if error is None:
        return RequestFailed("internal", "the hub refused without a reason")
    return RequestFailed(
        error.code, error.message, retryable=error.retryable, retry_after=error.retry_after, details=error.details
    )


def connect(
    url: str,
    *,
    token: str | None = None,
    api_key: str | None = None,
    name: str | None = None,
    password: str | None = None,
    patience_s: float = 10.0,
    on_status: Callable[[Status], None] | None = None,
) -> Hub:
    """A hub to be entered with `async with`: by access token, by API key, or by name and password.

    Raises `ValueError` for an address that is none and unless exactly one way to sign in is given.
    """
    by_name = (name, password) if name is not None and password is not None else None
    if sum(way is not None for way in (token, api_key, by_name)) != 1:
        raise ValueError("give a token, an api_key, or a name and a password")
    if by_name is None:
        return Hub(url, FixedToken(token or api_key or ""), patience_s=patience_s, on_status=on_status)
    rest = Rest(rest_url(url))
    sign_in = SignIn(rest, name=name, password=password)
    rest.use(sign_in.token)
    return Hub(url, sign_in, rest=rest, patience_s=patience_s, on_status=on_status)
