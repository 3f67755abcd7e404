"""Requests that nobody has answered in time: refused by the hub, so that no run waits for ever."""

import asyncio

import structlog

from hub.domain.calls import Decision, InputRequest
from hub.domain.errors import HubError, NotFound
from hub.relay.broadcast import Broadcast
from hub.runs import answers
from hub.store import input_requests
from hub.store.database import Store

CHECK_S = 2.0
BATCH = 50


class Expiry:
    """Looks for expired requests; every runner does, and they do not get into each other's way."""

    def __init__(self, store: Store, broadcast: Broadcast) -> None:
        self._store = store
        self._broadcast = broadcast
        self._log = structlog.get_logger("hub.runs")

    async def run(self) -> None:
        """Look every 2 s. Ends only by cancellation."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                async with self._store.statements() as db:
                    found = await input_requests.expired(db, limit=BATCH)
                for request in found:
                    await self._expire(request)
            except HubError as e:  # tried again
                self._log.warning("requests_not_expired", error=e.message)

    async def _expire(self, request: InputRequest) -> None:
        try:
            async with self._store.transaction(lock=request.session) as db:
                asked = await input_requests.get(db, request.session, request.id)
                if asked is None or asked.resolution is not None or asked.run_status.is_terminal:
                    return
                events = await answers.resolve(db, request, Decision.REJECT, answers.EXPIRED, answers.HUB)
        except NotFound:  # the session was deleted
            return
        self._broadcast.events(events)
        self._broadcast.run_queued()
