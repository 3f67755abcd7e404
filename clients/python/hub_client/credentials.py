"""Where a connection's bearer token comes from, and how it gets a new one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from hub_client.errors import NotSignedIn, RequestFailed, Unreachable
from hub_client.rest import Rest, Tokens

MARGIN_S = 10.0  # a token that ends sooner is not worth starting a connection with


class Credential(Protocol):
    """Gives the token that a connection is opened with. One connection at a time asks."""

    async def token(self) -> str:
        """A token that is good now, as far as one can know. Raises `NotSignedIn`, `Unreachable`."""
        ...

    async def renew(self) -> str:
        """A new token, because the last one has ended or soon will. Raises `NotSignedIn` when there is no way."""
        ...


class FixedToken:
    """An API key, or an access token that nobody renews."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token

    async def renew(self) -> str:
        raise NotSignedIn("the access token or API key is not valid (any more)")


class SignIn:
    """A person's sign-in: access tokens by refresh token, and by name and password when that has ended.

    `rotate` may stand in for the plain refresh (a client that shares its sign-in with other processes needs a lock).
    """

    def __init__(
        self,
        rest: Rest,
        *,
        name: str | None = None,
        password: str | None = None,
        tokens: Tokens | None = None,
        rotate: Callable[[Tokens], Awaitable[Tokens]] | None = None,
    ) -> None:
        self._rest = rest
        self._name = name
        self._password = password
        self._tokens = tokens
        self._rotate = rotate
        self._good_until = time.monotonic() + tokens.expires_in if tokens else 0.0
        self._renewing = asyncio.Lock()  # a refresh token that is shown twice ends the whole sign-in

    async def token(self) -> str:
        async with self._renewing:
            if self._tokens is not None and time.monotonic() < self._good_until - self._margin():
                return self._tokens.access_token
            return await self._new()

    async def renew(self) -> str:
        async with self._renewing:
            return await self._new()

    def _margin(self) -> float:
        return min(MARGIN_S, self._tokens.expires_in / 4) if self._tokens else 0.0

    async def _new(self) -> str:
        try:
            tokens = await self._by_refresh_token() or await self._by_password()
        except RequestFailed as e:
            if e.retryable:
                raise Unreachable(str(e)) from e
            raise NotSignedIn(e.message) from e
        self._tokens = tokens
        self._good_until = time.monotonic() + tokens.expires_in
        return tokens.access_token

    async def _by_refresh_token(self) -> Tokens | None:
        if self._tokens is None:
            return None
        try:
            if self._rotate is not None:
                return await self._rotate(self._tokens)
            return await self._rest.refresh(self._tokens.refresh_token)
        except (NotSignedIn, RequestFailed) as e:
            if self._password is None or (isinstance(e, RequestFailed) and e.retryable):
                raise
            return None

    async def _by_password(self) -> Tokens:
        if self._name is None or self._password is None:
            raise NotSignedIn("the sign-in has ended")
        return await self._rest.sign_in(self._name, self._password)
