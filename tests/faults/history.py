"""What clients did and what came over the wire, one record a line, in the order it happened.

All records come from one event loop, so that their order is that of their monotonic times. Kinds:

try            a client sends message.send (again): op, session, user, client_id, text
ok fail info   what came of op: {seq, message, run} | code, retryable (not carried out) | why (nobody knows)
join           a client asks to follow: c (connection), session, after (None: the last 50)
joined         the answer, in the order of frames: c, session, last_seq, replay_from
in             an event that came over the wire: c, f (the frame)
offered        a bot is offered a turn: c, session, run, turn, attempt, retry, offer
said           what came of a bot's words: c, offer, command, ok, code, late (why it had lost the turn by then, or "")
open gone      a connection: c, user, node | c, code
read           a REST reader asks: op, session
read.ok        its answer: op, last_seq, items (events)
fault heal     what was done to the hub
ended restored somebody was suspended, or is themselves again: user
member         user may see session
log            the final log: session, items · transcript: session, items · run: id, status
effect         key, value: how often the tool took effect
audit          what PostgreSQL saw: grants of leases, rows of runs and effects of tools, in order, each with its writer
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

Record = dict[str, Any]


class History:
    """Written to a file, so that hours fit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb", buffering=1 << 20)
        self.count = 0

    def add(self, kind: str, **fields: Any) -> float:
        """Keep a record; gives its time."""
        now = time.monotonic()
        self._file.write(orjson.dumps({"k": kind, "t": now, **fields}) + b"\n")
        self.count += 1
        return now

    def close(self) -> None:
        self._file.close()

    def records(self) -> Iterator[Record]:
        """All of them, from the beginning."""
        if not self._file.closed:
            self._file.flush()
        return records_of(self.path)


def records_of(path: Path) -> Iterator[Record]:
    """The records in a history's file."""
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)
