"""The messages of a session that are being written right now, as Redis keeps them for late joiners."""

from dataclasses import dataclass
from typing import cast

import orjson

from hub.domain.errors import Unavailable
from hub.domain.ids import MessageId, RunId, SessionId
from hub.protocol.pieces import AgentAuthor
from hub.relay import keys, scripts
from hub.relay.connection import Redis

_END = b"\xff"


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


def whole(run: RunId, turn: int, author: AgentAuthor, seq: int, text: str, index: int) -> bytes:
    """What is kept of a message whose text so far is `text` and whose next delta is `index` (1 or more).

    A line of JSON, then the text; pieces that come later are appended as `piece` makes them.
    """
    about = {
        "run": run,
        "turn": turn,
        "name": author.name,
        "display_name": author.display_name,
        "seq": seq,
        "index": index - 1,
    }
    return orjson.dumps(about) + b"\n" + piece(text)


def piece(text: str) -> bytes:
    """One delta as it is appended: its end is marked by a byte that is in no UTF-8, so that the index is known."""
    return text.encode() + _END


class OpenMessages:
    """Reads what `DeltaPublisher` writes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._read = scripts.load("open_messages")

    async def snapshots(self, session: SessionId) -> list[OpenMessage]:
        """The open messages, text and index of each as of the same moment. Raises `Unavailable`."""
        reply = await self._redis.script(self._read, [keys.open_messages(session)], [])
        rows, prefix = cast(list[bytes], reply), keys.text_prefix(session)
        try:
            return [_open_message(prefix, rows[i], rows[i + 1]) for i in range(0, len(rows), 2)]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("the hub's relay holds something it should not") from error


def _open_message(prefix: bytes, key: bytes, kept: bytes) -> OpenMessage:
    if not key.startswith(prefix):
        raise ValueError("the text of another session")
    head, _, pieces = kept.partition(b"\n")
    about = orjson.loads(head)
    return OpenMessage(
        message=MessageId(key.removeprefix(prefix).decode()),
        run=RunId(about["run"]),
        turn=about["turn"],
        author=AgentAuthor(name=about["name"], display_name=about["display_name"]),
        seq=about["seq"],
        text=pieces.replace(_END, b"").decode(),
        index=about["index"] + pieces.count(_END),
    )
