"""A session as a client follows it: its events in order, each once, across reconnects."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal, Self

from hub.domain.session import OnBusy
from hub.protocol.commands import (
    AttachmentPart,
    InputRespond,
    MessageEdit,
    MessageRegenerate,
    MessageSend,
    Part,
    PresenceSet,
    RunCancel,
    RunPause,
    RunResume,
    SessionFork,
)
from hub.protocol.events import AnyDurableEvent, AnyEvent, DurableEvent, PresenceChanged, Resync
from hub.protocol.live import PresenceData
from hub.protocol.pieces import SessionData
from hub.protocol.results import JoinResult, RunCommandResult, SendResult, SeqResult, SeqRunResult
from hub_client.assembly import OpenMessages
from hub_client.mailbox import Mailbox

if TYPE_CHECKING:
    from hub_client.client import Hub

SEND_TIMEOUT_S = 30.0


class _Events:
    """An iterator and no generator: leaving a loop over it leaves nothing behind."""

    def __init__(self, take: Callable[[], Awaitable[AnyEvent | None]]) -> None:
        self._take = take

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyEvent:
        event = await self._take()
        if event is None:
            raise StopAsyncIteration
        return event


class Session:
    """A joined session. `Hub.join` makes it.

    `seq` is the position of the last event that was handed on or waits to be. `joined_at` was the log's end when the
    session was (re)joined: events up to it are history, which began with event `replayed_from`. `open` are the
    messages being written, `presence` is who is here, by user id; both are current as of the connection, which may be
    ahead of a slow reader of `events`.
    """

    def __init__(self, hub: "Hub", session: str, after_seq: int | None) -> None:
        self.id = session
        self.role = ""
        self.seq = after_seq
        self.joined_at = 0
        self.replayed_from = 0
        self.open = OpenMessages()
        self.presence: dict[str, PresenceData] = {}
        self._hub = hub
        self._mailbox = Mailbox()
        self._following = False
        self._overrun = False
        self._taking = False

    def events(self) -> AsyncIterator[AnyEvent]:
        """Everything that happens: durable events in order and each once, live ones as they come.

        Pieces of a message can be appended as they come; a `message.snapshot` or `message.completed` replaces the text.
        Ends when the session is left or the hub is closed; raises `HubClientError` when it cannot go on. A loop that
        was left can be taken up again where it was; two at the same time are a `RuntimeError`.
        """
        return _Events(self._next)

    async def send(
        self,
        text: str | None = None,
        *,
        parts: Sequence[Part] | None = None,
        attachments: Sequence[str] = (),
        to: str | None = None,
        on_busy: OnBusy | None = None,
        client_id: str | None = None,
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> SendResult:
        """Say something. When this returns, it is in the log, once: it is sent again after a lost connection.
        `attachments` are ids of what this user has uploaded (`Rest.upload`).

        Raises `RequestFailed` (among others `busy` when `on_busy` is reject), `NoAnswer` after `timeout_s` seconds.
        """
        attached: list[Part] = [AttachmentPart(type="attachment", id=id_) for id_ in attachments]
        reply = await self._hub.ask(
            MessageSend,
            repeatable=True,
            timeout_s=timeout_s,
            session=self.id,
            text=text,
            parts=[*(parts or ()), *attached] or None,
            to=to,
            on_busy=on_busy,
            client_id=client_id or uuid.uuid4().hex,
        )
        return SendResult.model_validate(reply)

    async def cancel(self, run: str | None = None) -> RunCommandResult:
        """Stop a run; without `run`, the live one."""
        reply = await self._hub.ask(RunCancel, repeatable=run is not None, session=self.id, run=run)
        return RunCommandResult.model_validate(reply)

    async def edit(self, message: str, text: str) -> SeqRunResult:
        """Replace a message of this user: the conversation is cut there, what runs is ended, and the team answers the
        new text.

        Raises `RequestFailed`, among others `forbidden` for a message of somebody else, `conflict` for one that does
        not count any more.
        """
        reply = await self._hub.ask(MessageEdit, repeatable=True, session=self.id, message=message, text=text)
        return SeqRunResult.model_validate(reply)

    async def regenerate(self, message: str) -> SeqRunResult:
        """Have the team answer again: `message` is a user's, or any of the answers to it. Raises as `edit` does."""
        reply = await self._hub.ask(MessageRegenerate, session=self.id, message=message)
        return SeqRunResult.model_validate(reply)

    async def pause(self) -> RunCommandResult:
        """Pause the run: at once when it is doing nothing, else after its present turn (`pausing`)."""
        return RunCommandResult.model_validate(await self._hub.ask(RunPause, repeatable=True, session=self.id))

    async def resume(self) -> RunCommandResult:
        """Let a paused run go on, or take a pause back that has not begun."""
        return RunCommandResult.model_validate(await self._hub.ask(RunResume, repeatable=True, session=self.id))

    async def respond(
        self,
        request: str,
        *,
        decision: Literal["approve", "reject"] | None = None,
        text: str | None = None,
        arguments_sha256: str | None = None,
    ) -> SeqResult:
        """Answer an `input.requested`: a decision for an approval or a retry, a text for a question. With
        `arguments_sha256` it is for these arguments only.

        It is sent again after a lost connection: the same answer counts once. Raises `RequestFailed`, among others
        `conflict` when somebody has answered differently, or too late.
        """
        reply = await self._hub.ask(
            InputRespond,
            repeatable=True,
            session=self.id,
            request=request,
            decision=decision,
            text=text,
            arguments_sha256=arguments_sha256,
        )
        return SeqResult.model_validate(reply)

    async def fork(self, at_seq: int | None = None) -> SessionData:
        """A new session, owned by this user, with the conversation up to and with event `at_seq` (None: all that was
        received). It is not joined yet."""
        position = self.seq if at_seq is None else at_seq
        reply = await self._hub.ask(SessionFork, session=self.id, at_seq=position or 0)
        return SessionData.model_validate(reply)

    async def set_presence(self, status: Literal["active", "idle", "typing"]) -> None:
        """Tell the others what this user is doing."""
        await self._hub.ask(PresenceSet, session=self.id, status=status)

    async def leave(self) -> None:
        """Stop following; `events` ends."""
        await self._hub.leave(self)

    # ---- for the connection's reader

    def joined(self, answer: JoinResult) -> None:
        """The hub took us in; what follows on this connection continues at `seq`."""
        if self.seq is None:
            self.seq = answer.replay_from - 1
        self.role = answer.role
        self.joined_at = answer.last_seq
        self.replayed_from = answer.replay_from
        self.presence = {person.user: person for person in answer.presence}
        self._following = True
        self._overrun = False

    def interrupted(self) -> None:
        """Nothing that comes counts until the session is joined again."""
        self._following = False

    def receive(self, event: AnyEvent) -> None:
        """An event of this session came."""
        if not self._following:
            return
        if isinstance(event, DurableEvent):
            if self.advances(event.seq):
                self._receive_durable(event)
        elif isinstance(event, Resync):
            if event.data.from_seq > (self.seq or 0):
                self._hub.follow_again(self)
        else:
            if isinstance(event, PresenceChanged):
                self._note_presence(event)
            if self.open.apply(event):
                self._hand_on(event)

    def advances(self, seq: int) -> bool:
        """Whether the durable event with this number is the next one. A gap makes the session be followed again."""
        if not self._following or self.seq is None or seq <= self.seq:
            return False
        if seq > self.seq + 1:
            self._hub.follow_again(self)
            return False
        return True

    def skip(self, seq: int) -> None:
        """A durable event of a type this client does not know."""
        if self.advances(seq):
            self.seq = seq

    def end(self, error: Exception | None = None) -> None:
        """Nothing more will come."""
        self._following = False
        self._mailbox.close(error)

    async def _next(self) -> AnyEvent | None:
        if self._taking:
            raise RuntimeError("somebody reads this session's events already")
        if self._overrun and not len(self._mailbox):
            self._overrun = False
            self._hub.follow_again(self)
        self._taking = True
        try:
            return await self._mailbox.take()
        finally:
            self._taking = False

    def _receive_durable(self, event: AnyDurableEvent) -> None:
        if self._hand_on(event):
            self.seq = event.seq
            self.open.apply(event)

    def _hand_on(self, event: AnyEvent) -> bool:
        if self._mailbox.put(event):
            return True
        # The reader is far behind: it gets what it has, then the log again from there.
        self._following = False
        self._overrun = True
        return False

    def _note_presence(self, event: PresenceChanged) -> None:
        if event.data.status == "offline":
            self.presence.pop(event.data.user, None)
        else:
            self.presence[event.data.user] = event.data
