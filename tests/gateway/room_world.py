"""A session as a room sees it, step by step: its log, a bus that may lose, double and swap, and clients that check
every frame they are shown against the rules of the protocol."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hub.domain.ids import MessageId, RunId, SessionId, new_id
from hub.gateway.audience import Audience
from hub.gateway.follower import Follower, catch_up
from hub.gateway.outbox import Outbox
from hub.gateway.room import Room
from hub.protocol.durable import DurableData, MessageCompletedData, MessageRedactedData, RunFinishedData
from hub.protocol.frames import DeltaFrames, LoggedEvent
from hub.protocol.pieces import AgentAuthor, Person, UsageData
from hub.relay import envelope
from hub.relay.open_messages import OpenMessage

ALPHA = AgentAuthor(name="alpha", display_name="Alpha")
PAGE = 3


def payload_of(frame: bytes) -> bytes:
    """What is in a text frame of a server that is one whole frame."""
    assert frame[0] == 0x81
    short = frame[1]
    size, at = {126: (int.from_bytes(frame[2:4]), 4), 127: (int.from_bytes(frame[2:10]), 10)}.get(short, (short, 2))
    assert len(frame) == at + size
    return frame[at:]


@dataclass
class Message:
    """What the run has written: piece `i` is the delta `i`."""

    id: MessageId
    seq: int
    pieces: list[str] = field(default_factory=list)
    ended: bool = False

    def text(self, index: int) -> str:
        return "".join(self.pieces[:index])


class Client:
    """Applies the rules of a client and fails on anything the protocol does not allow."""

    def __init__(self, world: "World", after_seq: int, max_bytes: int) -> None:
        self.world = world
        self.seq = after_seq
        self.shown: dict[str, int] = {}  # open message → next index
        self.texts: dict[str, str] = {}
        self.over: set[str] = set()
        self.frames: list[dict[str, Any]] = []
        self.wire: list[bytes] = []
        self.reading = True
        self.overflowed = False
        self.outbox = Outbox(self, self._overflow, max_bytes=max_bytes)
        self.follower: Follower | None = None

    def _overflow(self) -> None:
        self.overflowed = True
        if self.follower is not None:
            self.follower.close()

    def write(self, frame: bytes) -> None:
        self.wire.append(frame)
        for line in payload_of(frame).split(b"\n"):
            self._take(json.loads(line))
        if not self.reading:
            self.outbox.hold()

    def _take(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        data = frame["data"]
        if "seq" in frame:
            assert frame["seq"] == self.seq + 1, f"expected {self.seq + 1}: {frame}"
            self.seq += 1
            assert json.dumps(data) == json.dumps(json.loads(self.world.log[self.seq - 1].data))
            self._end(frame)
            return
        if "message" not in data:
            return
        message = data["message"]
        assert message not in self.over, "shown after its end"
        assert self.world.messages[message].seq <= self.seq, "shown before what came before it"
        following = self.shown.get(message, 0)
        if frame["type"] == "message.snapshot":
            self.texts[message], self.shown[message] = data["text"], data["index"]
        elif data["index"] >= following:
            assert data["index"] == following, f"hole before {frame}"
            self.texts[message] = self.texts.get(message, "") + data["text"]
            self.shown[message] = following + data.get("n", 1)
        else:
            raise AssertionError(f"shown twice: {frame}")
        assert self.texts[message] == self.world.messages[message].text(self.shown[message])

    def _end(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "message.completed":
            ended = [frame["data"]["message"]]
        elif frame["type"] == "run.finished":
            ended = [m.id for m in self.world.messages.values() if m.seq < frame["seq"]]
        else:
            ended = []
        for message in ended:
            self.over.add(message)
            self.shown.pop(message, None)
            self.texts.pop(message, None)


@dataclass
class _Read:
    after: int
    events: Sequence[LoggedEvent]
    answer: "asyncio.Future[Sequence[LoggedEvent]]"


class World:
    def __init__(self, tasks: asyncio.TaskGroup, *, batching: bool = False) -> None:
        """With `batching` deltas are passed on by `room.pass_on` only, as at the end of a read from Redis."""
        self.tasks = tasks
        self.session = SessionId(new_id())
        self.run = RunId(new_id())
        self.log: list[LoggedEvent] = []
        self.messages: dict[str, Message] = {}
        self.kept: dict[str, int] = {}  # what Redis holds: open message → next index
        self.bus: list[bytes] = []
        self.reads: list[_Read] = []
        self.clients: list[Client] = []
        self.room = Room(self.session, self._needed, self._batched if batching else None)
        self.repairing = False
        self.needed = False

    def _needed(self) -> None:
        self.needed = True

    def _batched(self, room: Audience) -> None:
        """It tells so of the first delta."""

    def start(self) -> None:
        self.room.start(len(self.log), self.snapshots())

    # ---- the run

    def append(self, data: DurableData) -> LoggedEvent:
        event = LoggedEvent(
            self.session, len(self.log) + 1, data.TYPE, self.run, datetime.now(UTC), data.model_dump_json()
        )
        self.log.append(event)
        self.bus.append(envelope.durable(event))
        return event

    def tagged(self, payload: bytes) -> bytes:
        """As the session's own."""
        return self.session.encode() + b" " + payload

    def say(self, size: int = 1) -> None:
        self.append(MessageRedactedData(message="m", by=Person(id="u", name="n" * size)))

    def open(self) -> Message:
        message = Message(MessageId(new_id()), len(self.log))
        self.messages[message.id] = message
        return message

    def live(self) -> list[Message]:
        return [message for message in self.messages.values() if not message.ended]

    def write(self, message: Message, size: int = 0) -> None:
        index = len(message.pieces)
        message.pieces.append(f"{index} " + "x" * size)
        frames = DeltaFrames(self.session, self.run, message.id, 0, ALPHA.name, ALPHA.display_name)
        if self.kept.get(message.id, 0) == index:
            payload = envelope.delta(
                self.session, message.id, index, message.seq, frames.delta(index, message.pieces[-1])
            )
        else:
            frame = frames.snapshot(index + 1, message.text(index + 1))
            payload = envelope.snapshot(self.session, message.id, index + 1, message.seq, frame)
        self.kept[message.id] = index + 1
        self.bus.append(payload)

    def complete(self, message: Message) -> None:
        message.ended = True
        text = message.text(len(message.pieces))
        self.append(
            MessageCompletedData(
                message=message.id, author=ALPHA, text=text, turn=0, status="complete", usage=UsageData()
            )
        )

    def finish(self) -> None:
        for message in self.live():
            message.ended = True
        self.append(
            RunFinishedData(status="completed", reason="done", usage=UsageData(), input_seq=1, turns=1, duration_ms=1)
        )

    def forget_ended(self) -> None:
        for message in self.messages.values():
            if message.ended:
                self.kept.pop(message.id, None)

    def snapshots(self) -> list[OpenMessage]:
        return [
            OpenMessage(MessageId(name), self.run, 0, ALPHA, known.seq, known.text(index), index)
            for name, index in self.kept.items()
            for known in (self.messages[name],)
        ]

    # ---- what the room reads

    async def read_page(self, after: int) -> Sequence[LoggedEvent]:
        read = _Read(after, self.log[after : after + PAGE], asyncio.get_running_loop().create_future())
        self.reads.append(read)
        return await read.answer

    def answer(self, read: _Read, *, fresh: bool) -> None:
        self.reads.remove(read)
        read.answer.set_result(self.log[read.after : read.after + PAGE] if fresh else read.events)

    async def repair(self) -> None:
        """As `Rooms` does it, once."""
        self.repairing = True
        self.needed = False
        try:
            if self.room.needs_log:
                await catch_up(self.room, self.read_page)
            if self.room.needs_text:
                self.room.needs_text = False
                self.room.restore(self.snapshots())
        finally:
            self.repairing = False

    # ---- clients

    def join(self, after_seq: int, *, max_bytes: int = 1_048_576) -> Client:
        client = Client(self, after_seq, max_bytes)
        client.follower = Follower(
            self.room, client.outbox, after_seq, read_page=self.read_page, tasks=self.tasks, on_close=lambda: None
        )
        self.clients.append(client)
        client.follower.start()
        return client

    def leave(self, client: Client) -> None:
        assert client.follower is not None
        client.follower.close()
        client.outbox.close()
        self.clients.remove(client)
