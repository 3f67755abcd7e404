"""What was allowed when a connection began, and is not any more: revoked credentials and ended memberships.

Roles are read with every command. This is for what needs no command: an open socket, a session that is followed.
"""

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from hub.auth.authenticator import Authenticator
from hub.domain.errors import Unavailable
from hub.domain.ids import SessionId, UserId
from hub.gateway.connection import Connection
from hub.gateway.serving import Serving
from hub.protocol.close import Close
from hub.relay.broadcast import CredentialsChanged, MembershipChanged, Notice
from hub.relay.presence import Presence
from hub.store import members
from hub.store.database import Store

EVERY_S = 2.0  # twice this bounds how long an ended membership still receives whose end no room has shown
PAUSE_S = 0.2  # between two looks, however many notices come

_Pair = tuple[SessionId, UserId]


class AccessWatch:
    """Looks in PostgreSQL every 2 s, and at once after a notice, with two reads for the whole worker."""

    def __init__(
        self,
        connections: AbstractSet[Connection],
        authenticator: Authenticator,
        store: Store,
        presence: Presence,
        serving: Serving,
    ) -> None:
        self._connections = connections
        self._authenticator = authenticator
        self._store = store
        self._presence = presence
        self._serving = serving
        self._noticed = asyncio.Event()
        self._ending: set[_Pair] = set()

    def notice(self, notice: Notice) -> None:
        """Look at once when it concerns access; a lost notice only delays."""
        if isinstance(notice, MembershipChanged | CredentialsChanged):
            self._noticed.set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._noticed.wait()
            except TimeoutError:
                pass
            self._noticed.clear()
            if not self._connections:
                continue
            await asyncio.sleep(PAUSE_S)
            try:
                await self.look()
            except Unavailable:
                continue  # nobody can tell; access that PostgreSQL cannot confirm is of little use without it

    def left(self, session: SessionId, users: AbstractSet[str]) -> None:
        """These users are members no more, and have seen it: their following of the session ends now."""
        self._end({user: {session} for user in users})

    async def look(self) -> None:
        """Close connections whose credential was revoked; stop following where the membership has ended."""
        await self._look_at_credentials()
        await self._look_at_memberships()

    async def _look_at_credentials(self) -> None:
        principals = {c.principal.credential: c.principal for c in self._connections if not c.closing}
        if not principals:
            return
        ended = await self._authenticator.ended(list(principals.values()))
        for connection in list(self._connections) if ended else ():
            if connection.principal.credential in ended:
                connection.close(Close.REVOKED, "access revoked")

    async def _look_at_memberships(self) -> None:
        """A membership is seen to have ended once before anything is done: its member gets to see `member.removed`."""
        followed = {(session, c.principal.user) for c in self._connections for session in c.followers}
        followed |= self._serving.held()
        if not followed:
            return
        async with self._store.statements() as db:
            ended = await members.ended(db, followed)
        gone: dict[str, set[SessionId]] = {}
        for session, user in ended & self._ending:
            gone.setdefault(user, set()).add(session)
        if gone:
            self._end(gone)
        self._serving.evict(ended)
        self._ending = ended - self._ending

    def _end(self, gone: Mapping[str, AbstractSet[SessionId]]) -> None:
        """These users' following of these sessions ends: one pass over the connections, however many sessions."""
        for connection in list(self._connections):
            user = connection.principal.user
            for session in gone.get(user, ()):
                if connection.unfollow(session):
                    self._presence.leave(session, user, connection.id)
