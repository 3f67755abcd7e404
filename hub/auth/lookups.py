"""Who shows a token, by what the database says now: those who ask at the same time are answered by one read."""

import asyncio
from collections import deque

from hub.domain.errors import HubError
from hub.domain.ids import UserId
from hub.store import users
from hub.store.database import Store
from hub.store.users import StoredUser

MOST = 100  # of one read

Found = tuple[StoredUser, bool]
"""A user, and whether the sign-in that the token descends from has ended."""


class _Asked:
    """One question. `answer` is a list of one once there is one: the answer may be that there is nobody."""

    __slots__ = ("answer", "failure", "grant", "user")

    def __init__(self, user: UserId, grant: str | None) -> None:
        self.user = user
        self.grant = grant
        self.answer: list[Found | None] = []
        self.failure: HubError | None = None


class Lookups:
    """One read at a time. Whoever comes meanwhile is answered by the next, which begins after they asked: nothing is
    kept. A storm of those who come back costs the database a read for many, and a lone caller no wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._asked: deque[_Asked] = deque()

    async def look(self, user: UserId, grant: str | None) -> Found | None:
        """The user with this id, and whether their sign-in `grant` has ended; None when there is no such user.

        Raises `Unavailable` when nobody can tell.
        """
        asked = _Asked(user, grant)
        self._asked.append(asked)
        try:
            async with self._turn:  # in the order of the questions, so this one is the first that has no answer
                if not asked.answer and asked.failure is None:
                    await self._read(asked)
        except BaseException:
            if asked in self._asked:  # nobody waits for it any more
                self._asked.remove(asked)
            raise
        if asked.failure is not None:
            raise asked.failure
        return asked.answer[0]

    async def _read(self, first: _Asked) -> None:
        now = [self._asked.popleft() for _ in range(min(MOST, len(self._asked)))]
        try:
            async with self._store.statements() as db:
                found = await users.by_tokens(db, [(asked.user, asked.grant) for asked in now])
        except HubError as e:
            for asked in now:
                asked.failure = e
            return
        except BaseException:
            self._asked.extendleft(asked for asked in reversed(now) if asked is not first)  # they read again
            raise
        for asked, answer in zip(now, found, strict=True):
            asked.answer.append(answer)
