"""Taking everything away: all there is about a session, or about a person."""

from collections.abc import AsyncGenerator

import orjson

from hub.auth.policy import Action, require_account, require_admin
from hub.domain.ids import SessionId, UserId
from hub.domain.principal import Principal
from hub.protocol.frames import now
from hub.sessions.access import reach, session_id, stay
from hub.store import audit, exporting, users
from hub.store.database import Store
from hub.store.exporting import Lines

FORMAT = 1


class Exports:
    """Exports are lines of JSON, each `{"kind", …}`: the first (`export`) says of what, the last (`end`) counts those
    between, so that a download that was cut off is seen to be. They are read page by page, and what lets the caller
    read is looked at again with each. `address` is where the call comes from, for the audit trail."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def session(self, principal: Principal, session: str, *, address: str | None) -> AsyncGenerator[bytes]:
        """Everything about a session that its members may know. Raises `NotFound` before the first line."""
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, Action.READ)
            await audit.add(db, actor=principal.user, action="session.export", object=f"session:{id_}", address=address)
        return self._of_session(principal, id_)

    async def own(self, principal: Principal, *, address: str | None) -> AsyncGenerator[bytes]:
        """Everything about the caller."""
        require_account(principal)
        return await self._of_user(principal, principal.user, address)

    async def user(self, principal: Principal | None, user: str, *, address: str | None) -> AsyncGenerator[bytes]:
        """Everything about anybody, by id or name, for administrators and the operator (None). Raises `NotFound`."""
        if principal is not None:
            require_admin(principal)
        async with self._store.statements() as db:
            id_ = (await users.find(db, user)).id
        return await self._of_user(principal, id_, address)

    async def _of_user(self, principal: Principal | None, user: UserId, address: str | None) -> AsyncGenerator[bytes]:
        async with self._store.transaction() as db:
            actor = principal.user if principal is not None else None
            await audit.add(db, actor=actor, action="user.export", object=f"user:{user}", address=address)
        return _framed("user", user, self._checked(principal, exporting.of_user(self._store, user)))

    def _of_session(self, principal: Principal, session: SessionId) -> AsyncGenerator[bytes]:
        async def checked() -> Lines:
            async for page in exporting.of_session(self._store, session, principal.user):
                async with self._store.transaction(person=principal.user, session=session) as db:
                    await reach(db, principal, session, Action.READ)
                yield page

        return _framed("session", session, self._checked(principal, checked()))

    async def _checked(self, principal: Principal | None, pages: Lines) -> Lines:
        async for page in pages:
            if principal is not None:
                async with self._store.statements() as db:
                    await stay(db, principal)
            yield page


async def _framed(noun: str, id_: str, pages: Lines) -> AsyncGenerator[bytes]:
    lines = 0
    yield orjson.dumps({"kind": "export", "format": FORMAT, noun: id_, "at": now()}) + b"\n"
    async for page in pages:
        lines += len(page)
        # The object comes from the database as text: it gets its kind without being read and written again.
        yield b"".join(f'{{"kind":"{kind}",{line[1:]}\n'.encode() for kind, line in page)
    yield orjson.dumps({"kind": "end", "lines": lines}) + b"\n"
