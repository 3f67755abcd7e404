"""What the end of a turn writes, with all that belongs to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hub.domain.run import Usage
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.runs.calls import Calls, Step, paused
from hub.runs.ending import End, finished_run
from hub.runs.steering import follow_up
from hub.store import closing
from hub.store.closing import ClosedTurn, Finished, WentOn
from hub.store.database import Db
from hub.store.messages import AgentMessage


@dataclass(slots=True)
class Closing:
    """Records `turn`, of which the events and what was said come last, or its part up to the calls of `step`, with its
    checkpoint. The run ends with it when there is an `end`; else `went_on` says how it goes on."""

    turn: ClosedTurn
    usage: Usage
    end: End | None
    calls: Calls
    step: Step | None
    went_on: WentOn | None = None
    _finished: Finished | None = None

    async def write(
        self, db: Db, said: list[AgentMessage], events: Sequence[NewEvent], early: int
    ) -> list[LoggedEvent]:
        logged = await self._write(db, said, events, early, alone=False)
        assert logged is not None, "only what is written alone may not be written"
        return logged

    async def alone(
        self, db: Db, said: list[AgentMessage], events: Sequence[NewEvent], early: int
    ) -> list[LoggedEvent] | None:
        return await self._write(db, said, events, early, alone=True) if self.step is None else None

    async def also(self, db: Db, _: list[LoggedEvent], /) -> Sequence[NewEvent]:
        lease = self.turn.lease
        if self._finished is not None:
            return await follow_up(db, lease.session, lease.run, self._finished.waiting)
        if self.step is not None:
            return await self.calls.record(db, self.step)
        return await paused(db, lease.session) if self.went_on is not None and self.went_on.paused else ()

    async def _write(
        self, db: Db, said: list[AgentMessage], events: Sequence[NewEvent], early: int, *, alone: bool
    ) -> list[LoggedEvent] | None:
        turn = replace(self.turn, said=said, events=events, early=early)
        if self.end is not None:
            ended = finished_run(self.end, turns=turn.turns, usage=self.usage)
            self._finished = await closing.finish(db, turn, ended, alone=alone)
            return self._finished.events if self._finished is not None else None
        self.went_on = await closing.go_on(db, turn, self.usage, alone=alone)
        return self.went_on.events if self.went_on is not None else None
