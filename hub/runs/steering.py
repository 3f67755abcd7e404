"""What becomes of messages that were to steer a run, when the run ends before a turn could take them."""

from collections.abc import Sequence

from hub.domain.ids import RunId, SessionId, new_id
from hub.protocol.durable import MessageSteeredData, RunQueuedData
from hub.protocol.frames import NewEvent
from hub.store import steering
from hub.store.database import Db
from hub.store.steering import WaitingMessage


async def follow_up(db: Db, session: SessionId, run: RunId, waiting: Sequence[WaitingMessage]) -> list[NewEvent]:
    """Give each message that waited for `run` a run of its own, and say so. To be called in the transaction that ends
    `run`, under the session's lock."""
    following = [(left, RunId(new_id())) for left in waiting]
    if following:
        await steering.follow_up(db, session, [(left.message, queued) for left, queued in following])
    events: list[NewEvent] = []
    for left, queued in following:
        events.append(NewEvent(MessageSteeredData(message=left.message, outcome="follow_up"), run))
        events.append(NewEvent(RunQueuedData(input_seq=left.seq), queued))
    return events
