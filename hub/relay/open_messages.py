"""The messages of a session that are being written right now, as Redis keeps them for late joiners."""

from dataclasses import dataclass
from typing import cast

import orjson

from hub.domain.errors import Unavailable
from hub.domain.ids import MessageId, RunId, SessionId
from hub.protocol.events import AgentAuthor
from hub.relay import keys, scripts
from hub.relay.connection import Redis


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """`text` holds all deltas below `index`; `seq` is that of the last durable event before the message was opened."""

    message: MessageId
    run: RunId
    turn: int
    author: AgentAuthor
    seq: int
    text: str
    index: int


def head(run: RunId, turn: int, author: AgentAuthor, seq: int) -> bytes:
    """What is kept beside the text of an open message."""
    return orjson.dumps(
        {"run": run, "turn": turn, "name": author.name, "display_name": author.display_name, "seq": seq}
    )


class OpenMessages:
    """Reads what `DeltaPublisher` writes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._read = scripts.load("open_messages")

    async def snapshots(self, session: SessionId) -> list[OpenMessage]:
        """The open messages, text and index of each as of the same moment. Raises `Unavailable`."""
        reply = await self._redis.script(
            self._read, [keys.open_messages(session)], [keys.text_prefix(session), keys.next_prefix(session)]
        )
        rows = cast(list[bytes], reply)
        try:
            return [_open_message(*rows[i : i + 4]) for i in range(0, len(rows), 4)]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("the hub's relay holds something it should not") from error


def _open_message(message: bytes, head: bytes, text: bytes, index: bytes) -> OpenMessage:
    about = orjson.loads(head)
    return OpenMessage(
        message=MessageId(message.decode()),
        run=RunId(about["run"]),
        turn=about["turn"],
        author=AgentAuthor(name=about["name"], display_name=about["display_name"]),
        seq=about["seq"],
        text=text.decode(),
        index=int(index),
    )
