"""Reading what was said: the log, the log as it grows, and the transcript."""

import asyncio
import time
from collections.abc import AsyncGenerator

from hub.auth.policy import Action, require_scope
from hub.auth.shares import Turns
from hub.domain.errors import BadRequest, NotFound
from hub.domain.ids import CallId, parse_id
from hub.domain.principal import Principal
from hub.protocol.frames import LoggedEvent, timestamp
from hub.protocol.results import TranscriptMessage
from hub.relay import envelope, keys
from hub.relay.subscriber import Subscriber
from hub.sessions.access import reach, reached, session_id
from hub.store import log, messages, search, tool_results
from hub.store.database import Store
from hub.store.messages import TranscriptRow
from hub.store.search import Hit
from hub.store.tool_results import LargeResult

PAGE = 500  # events or messages read at once
KEEPALIVE_S = 15.0
MAX_SEARCHES = 100  # of one user, most of which wait
FOLLOW_CHECK_S = 2.0  # how late a follower hears of an event when Redis has lost the news


class History:
    """Read access to what a session holds.

    `searches` are done at once in this worker, half of them for one user: each has one of the store's connections, for
    seconds when somebody means it, and everybody else needs those."""

    def __init__(self, store: Store, subscriber: Subscriber, *, searches: int) -> None:
        self._store = store
        self._subscriber = subscriber
        self._searches = Turns("searches", at_once=searches, each=max(1, searches // 2), most=MAX_SEARCHES)

    async def events(
        self, principal: Principal, session: str, *, after_seq: int, limit: int
    ) -> tuple[list[LoggedEvent], int]:
        """Durable events after `after_seq`, oldest first, and the session's last seq.

        Raises `BadRequest` when `after_seq` lies in the future: a position the session never had is an error of the
        caller's bookkeeping, not an empty page.
        """
        id_ = session_id(session)
        async with self._store.reads(principal, id_) as db:
            found = await log.read(db, id_, after=after_seq, limit=limit)
            last_seq = reached(db, principal, Action.READ).last_seq
        if after_seq > last_seq:
            raise BadRequest("after_seq is in the future", details={"last_seq": last_seq})
        return found, last_seq

    async def follow(self, principal: Principal, session: str, *, after_seq: int) -> AsyncGenerator[LoggedEvent | None]:
        """Every event after `after_seq`, then each new one; None when nothing has happened for 15 s.

        The membership and the credential are checked with every read: it ends with `NotFound` when the caller is
        removed, and by itself when the credential has run out.
        """
        id_ = session_id(session)
        grown = asyncio.Event()

        def heard(payload: bytes) -> None:
            if envelope.tells_of_the_log(payload):
                grown.set()

        subscription = self._subscriber.subscribe(keys.channel(id_), heard, grown.set)
        position, quiet_since = after_seq, time.monotonic()
        try:
            while time.time() < principal.expires_at.timestamp():
                grown.clear()
                batch, _ = await self.events(principal, session, after_seq=position, limit=PAGE)
                for event in batch:
                    position, quiet_since = event.seq, time.monotonic()
                    yield event
                if len(batch) == PAGE:
                    continue
                if time.monotonic() - quiet_since > KEEPALIVE_S:
                    quiet_since = time.monotonic()
                    yield None
                await _wait(grown, FOLLOW_CHECK_S)
        finally:
            subscription.cancel()

    async def large_result(self, principal: Principal, session: str, call: str) -> LargeResult:
        """What a tool call of the session came to, when that is too large for its event. Raises `NotFound`."""
        id_, call_id = session_id(session), parse_id(call)
        async with self._store.reads(principal, id_) as db:
            await reach(db, principal, id_, Action.READ)
            found = await tool_results.get(db, id_, CallId(call_id)) if call_id is not None else None
        if found is None:
            raise NotFound("no such result")
        return found

    async def search(
        self, principal: Principal, query: str, *, limit: int, cursor: str | None
    ) -> tuple[list[Hit], str | None]:
        """Messages of the caller's sessions with these words, the newest first, and the cursor of the next page.
        Raises `RateLimited` when too many searches of theirs wait."""
        require_scope(principal, Action.READ)
        async with self._searches.turn(principal.user), self._store.reads(principal) as db:
            return await search.search(db, principal.user, query, limit=limit, cursor=cursor)

    async def transcript(self, principal: Principal, session: str) -> AsyncGenerator[list[TranscriptMessage]]:
        """All messages of the session, oldest first, page by page; access and credential are checked with each page.
        The first may be empty, the others are not."""
        id_ = session_id(session)
        after = 0
        while True:
            async with self._store.reads(principal, id_) as db:
                rows = await messages.transcript(db, id_, after_seq=after, limit=PAGE)
                reached(db, principal, Action.READ)
            if rows or not after:
                yield [_message(row) for row in rows]
            if len(rows) < PAGE:
                return
            after = rows[-1].seq


def _message(row: TranscriptRow) -> TranscriptMessage:
    return TranscriptMessage(
        message=row.id,
        seq=row.seq,
        run=row.run,
        author=row.author,
        text=row.text,
        parts=row.parts if any(part["type"] == "attachment" for part in row.parts) else None,
        status=row.status,
        created_at=timestamp(row.created_at),
    )


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
