"""One turn as it happens: what the engine tells becomes deltas, and durable events in the same order."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, assert_never

import orjson

from hub.domain.errors import HubError
from hub.domain.ids import CallId, MessageId, RunId
from hub.domain.run import MessageStatus, Usage
from hub.domain.team import AgentSpec
from hub.engine.base import (
    AgentStarted,
    EngineEvent,
    Handoff,
    MessageEnded,
    MessageVoided,
    ReasoningDelta,
    TextDelta,
    ToolEnded,
    ToolStarted,
)
from hub.engine.tools.outcome import MAX_SHOWN
from hub.protocol.durable import (
    AgentHandoffData,
    MessageCompletedData,
    MessageSteeredData,
    ToolCalledData,
    ToolReturnedData,
    TurnStartedData,
    TurnSupersededData,
)
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.protocol.live import AgentStatusData
from hub.protocol.pieces import AgentAuthor, UsageData
from hub.protocol.text import storable
from hub.relay.deltas import DeltaPublisher
from hub.relay.message_stream import MessageStream
from hub.runs.journal import Journal
from hub.store import messages, steering, tool_results
from hub.store.database import Db
from hub.store.log import LeaseLost
from hub.store.messages import AgentMessage

_PIECES = (TextDelta, ReasoningDelta)  # made once: a union would be made anew for every token
DRAIN_S = 1.0  # how long an event waits for the deltas before it, should Redis be slow; they are void after it anyway


class TurnEnd(Protocol):
    """Writes the end of a turn: its events, of which `early` come before those of what was said and is not written yet,
    and all that belongs to it, in one statement."""

    async def write(
        self, db: Db, said: list[AgentMessage], events: Sequence[NewEvent], early: int
    ) -> list[LoggedEvent]: ...

    async def alone(
        self, db: Db, said: list[AgentMessage], events: Sequence[NewEvent], early: int
    ) -> list[LoggedEvent] | None:
        """The same as a transaction of its own. None: nothing was written, for there is more to write in it."""

    async def also(self, db: Db, _: list[LoggedEvent], /) -> Sequence[NewEvent]:
        """What is to be written after `write`, and events to be logged then."""


@dataclass(frozen=True, slots=True)
class FinishedMessage:
    """A message that is to be recorded."""

    id: MessageId
    agent: AgentSpec
    text: str
    reasoning: str | None
    status: MessageStatus
    usage: Usage


class Turn:
    """Records one attempt at a turn, or at a part of one: what comes after calls was `announced` before. `steering` are
    messages it is given, of which it is yet to be told that they were taken: that is told when the turn begins.

    The last finished message is held back until something follows or the turn ends, so that it can be committed
    together with the checkpoint.
    """

    __slots__ = (  # noqa: RUF023 - those that a token needs first, as in `MessageStream`
        "_held",
        "_writing",
        "_writing_message",
        "_journal",
        "_deltas",
        "_turn",
        "_attempt",
        "_announced",
        "_steering",
        "_streams",
        "_ended",
        "_statuses",
        "_large",
        "recorded",
        "tool_calls",
        "messages",
        "fault",
    )

    def __init__(
        self,
        journal: Journal,
        deltas: DeltaPublisher,
        *,
        turn: int,
        attempt: int,
        announced: bool = False,
        steering: Sequence[MessageId] = (),
    ) -> None:
        self._journal = journal
        self._held = journal.held
        # The message that got a token last, and whose agent is shown to write it: all that most tokens need.
        self._writing: MessageStream | None = None
        self._writing_message = ""
        self._deltas = deltas
        self._turn = turn
        self._attempt = attempt
        self._announced = announced
        self._steering = list(steering)
        self._streams: dict[str, tuple[MessageStream, AgentSpec]] = {}
        self._ended: FinishedMessage | None = None
        self._statuses: dict[str, str] = {}
        self._large: list[ToolEnded] = []
        self.recorded: list[MessageId] = []
        self.tool_calls = 0  # that the engine has made
        self.messages = 0  # that were finished
        self.fault: Exception | None = None

    async def emit(self, event: EngineEvent) -> None:
        """Take what the engine tells. Raises when the turn must end at once; `fault` says why, for engines hide it."""
        try:
            self._held.check()
            # For every token: it looks at little, and awaits nothing unless it must.
            if (
                isinstance(event, TextDelta)
                and event.message == self._writing_message
                and (stream := self._writing) is not None
            ):
                stream.add(event.text)
            elif isinstance(event, _PIECES):
                stream = self._add(event)
            else:
                await self._take(event)
                return
            if stream.is_full:
                await stream.space()
            if stream.refused:
                self._refused()
        except (HubError, LeaseLost) as e:
            self.fault = e
            raise

    def _add(self, event: TextDelta | ReasoningDelta) -> MessageStream:
        stream = self._stream(event.message, event.agent)
        if isinstance(event, TextDelta):
            self._show(event.agent, "writing")
            self._writing, self._writing_message = stream, event.message
            stream.add(event.text)
        else:
            self._show(event.agent, "thinking")
            stream.add_reasoning(event.text)
        return stream

    async def _take(
        self, event: AgentStarted | MessageEnded | MessageVoided | ToolStarted | ToolEnded | Handoff
    ) -> None:
        match event:
            case MessageEnded():
                self.messages += 1
                await self._record()
                self._ended = FinishedMessage(
                    MessageId(event.message),
                    event.agent,
                    storable(event.text),
                    storable(event.reasoning) if event.reasoning is not None else None,
                    MessageStatus.COMPLETE,
                    event.usage,
                )
            case AgentStarted(agent=agent):
                if not self._announced:
                    await self._record(self._started(agent))
                self._show(agent, "thinking")
            case MessageVoided():
                await self._void(event)
                self._show(event.agent, "thinking")
            case ToolStarted():
                self.tool_calls += 1
                called = tool_called(event.call, event.agent.name, event.name, event.arguments, self._turn)
                await self._record(NewEvent(called, self._run))
                self._show(event.agent, "calling")
            case ToolEnded():
                if is_large(event.result):
                    self._large.append(event)
                returned = tool_returned(event.call, event.name, event.result, is_error=event.is_error)
                await self._record(NewEvent(returned, self._run))
                self._show(event.agent, "thinking")
            case Handoff():
                handoff = AgentHandoffData.model_validate(
                    {"from": event.source, "to": event.to, "reason": event.reason}
                )
                await self._record(NewEvent(handoff, self._run))
            case _:
                assert_never(event)

    async def end(self, status: MessageStatus, events: list[NewEvent], end: TurnEnd) -> None:
        """Commit what is left of the turn, then `events`, with what `end` writes, in one transaction.

        A message that was finished keeps its status; one that is still open is kept as far as it was shown, with
        `status`.
        """
        left = [self._ended] if self._ended is not None else []
        for message, (stream, agent) in self._streams.items():
            if stream.text and all(message != finished.id for finished in left):
                partial = FinishedMessage(MessageId(message), agent, stream.text, None, status, Usage())
                left.append(partial)
        self._ended = None
        for agent_name in self._statuses:
            self._journal.live(AgentStatusData(agent=agent_name, status="idle"))
        await self._commit(left, events, end)

    @property
    def _run(self) -> RunId:
        return self._journal.lease.run

    def _stream(self, message: str, agent: AgentSpec) -> MessageStream:
        if (known := self._streams.get(message)) is not None:
            return known[0]
        author = AgentAuthor(name=agent.name, display_name=agent.display_name)
        stream = self._deltas.open(
            self._journal.lease, MessageId(message), turn=self._turn, author=author, seq=self._journal.seq
        )
        self._streams[message] = (stream, agent)
        return stream

    def _show(self, agent: AgentSpec, status: str) -> None:
        if self._statuses.get(agent.name) != status:
            self._writing = None
            self._statuses[agent.name] = status
            self._journal.live(AgentStatusData.model_validate({"agent": agent.name, "status": status}))

    def _refused(self) -> NoReturn:
        """Redis knows a newer lease."""
        self._journal.refuse()
        raise LeaseLost

    def _started(self, agent: AgentSpec) -> NewEvent:
        return NewEvent(TurnStartedData(turn=self._turn, agent=agent.name, attempt=self._attempt), self._run)

    async def _void(self, event: MessageVoided) -> None:
        void = TurnSupersededData(turn=self._turn, attempt=self._attempt, messages=[event.message], reason=event.reason)
        # Together: a worker that is lost after it must leave a turn that was begun.
        await self._record(NewEvent(void, self._run), self._started(event.agent))
        if (voided := self._streams.pop(event.message, None)) is not None:
            self._writing = None
            voided[0].close()

    async def _record(self, *events: NewEvent) -> None:
        ended, self._ended = self._ended, None
        if events and self._steering:  # the turn begins: what it was given has steered it
            taken = [MessageSteeredData(message=m, outcome="consumed", turn=self._turn) for m in self._steering]
            events = (*(NewEvent(data, self._run) for data in taken), *events)
        if ended is not None or events:
            await self._commit([ended] if ended else [], list(events), None)

    async def _commit(self, finished: list[FinishedMessage], events: list[NewEvent], end: TurnEnd | None) -> None:
        """To its end, also when the turn is stopped meanwhile: of a COMMIT that is cut off nobody knows what came of
        it, and what follows would tell the same again."""
        committing = asyncio.create_task(self._do_commit(finished, events, end))  # noqa: TID251 - this waits for it
        try:
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            await asyncio.wait({committing})
            committing.result()
            raise

    async def _do_commit(self, finished: list[FinishedMessage], events: list[NewEvent], end: TurnEnd | None) -> None:
        said = [self._said(message) for message in finished]
        events = [*(NewEvent(self._completed(message), self._run) for message in finished), *events]
        if end is None:
            await self._append(said, events)
        else:
            await self._journal.append(
                events,
                end.also,
                before_publishing=self._drain,
                write=lambda db, events, early: end.write(db, said, events, early),
                alone=lambda db, events, early: end.alone(db, said, events, early),
            )
        self._steering.clear()
        self._large.clear()
        self.recorded += [message.id for message in finished]
        for message in finished:
            if (closed := self._streams.pop(message.id, None)) is not None:
                self._writing = None
                closed[0].close()

    async def _append(self, said: list[AgentMessage], events: list[NewEvent]) -> None:
        """Commit something in the middle of the turn."""

        async def write(db: Db, events: Sequence[NewEvent], early: int) -> list[LoggedEvent]:
            return await messages.say(db, self._journal.lease, said, events, early=early)

        also = self._also if self._steering or self._large else None
        await self._journal.append(events, also, before_publishing=self._drain, write=write)

    async def _also(self, db: Db, _: list[LoggedEvent]) -> Sequence[NewEvent]:
        if self._steering:
            await steering.consume(db, self._journal.lease.session, self._steering)
        for ended in self._large:
            await tool_results.keep(db, self._journal.lease, CallId(ended.call), ended.name, storable(ended.result))
        return ()

    async def _drain(self) -> None:
        for stream, _ in self._streams.values():
            await stream.drain(DRAIN_S)

    def _completed(self, message: FinishedMessage) -> MessageCompletedData:
        return MessageCompletedData(
            message=message.id,
            author=AgentAuthor(name=message.agent.name, display_name=message.agent.display_name),
            text=message.text,
            reasoning=message.reasoning,
            turn=self._turn,
            status=message.status.value,
            usage=UsageData.of(message.usage),
        )

    def _said(self, message: FinishedMessage) -> AgentMessage:
        return AgentMessage(
            id=message.id,
            author_id=message.agent.name,
            author_name=message.agent.display_name,
            text=message.text,
            reasoning=message.reasoning,
            turn=self._turn,
            status=message.status,
            usage=message.usage,
        )


def tool_called(call: str, agent: str, name: str, arguments: str, turn: int) -> ToolCalledData:
    """The event of a call that is about to be made. `arguments` is what the model wrote."""
    return ToolCalledData(call=call, agent=agent, name=name, arguments=arguments_of(arguments), turn=turn)


def tool_returned(call: str, name: str, result: str, *, is_error: bool) -> ToolReturnedData:
    """The event of what a call came to; of a large result the beginning, and how large it is."""
    characters = len(result) if is_large(result) else None
    return ToolReturnedData(
        call=call, name=name, result=storable(result[:MAX_SHOWN]), is_error=is_error, characters=characters
    )


def is_large(result: str) -> bool:
    """Whether a result is kept beside the log, for the event has its beginning only."""
    return len(result) > MAX_SHOWN


def arguments_of(text: str) -> dict[str, object]:
    """A model's arguments as an object; what is not one is shown under `invalid`, for the tool will refuse it."""
    text = storable(text)
    try:
        parsed = orjson.loads(text or "{}")
        orjson.dumps([[[[parsed]]]])  # as deep as in an event: it reads deeper nesting than can be written
    except (orjson.JSONDecodeError, TypeError):
        return {"invalid": text}
    return parsed if isinstance(parsed, dict) else {"invalid": parsed}
