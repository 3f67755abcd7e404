"""The parts of `hub.auth` on a real database and a real Valkey."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from hub.auth.accounts import Accounts, TokenPair
from hub.auth.api_keys import ApiKeys
from hub.auth.attempts import Attempts
from hub.auth.authenticator import Authenticator
from hub.auth.keys import secret_key
from hub.auth.known import Known
from hub.auth.passwords import Passwords
from hub.auth.sign_ins import SignIns
from hub.auth.tickets import Tickets
from hub.auth.tokens import Tokens
from hub.domain.ids import UserId
from hub.domain.principal import Principal
from hub.relay.connection import Redis
from hub.relay.limits import Limits
from hub.relay.tickets import TicketStore
from hub.store.database import Store

PASSWORD = "correct horse"

HERE = "192.0.2.1"


@dataclass
class Auth:
    store: Store
    passwords: Passwords
    tokens: Tokens
    accounts: Accounts
    closed: Accounts
    keys: ApiKeys
    sign_ins: SignIns
    tickets: Tickets
    authenticator: Authenticator
    announced: list[UserId] = field(default_factory=list)

    async def user(self, name: str = "ann") -> TokenPair:
        await self.accounts.register(name, PASSWORD, address=HERE)
        return await self.accounts.sign_in(name, PASSWORD, address=HERE)

    async def principal(self, name: str = "ann") -> Principal:
        return await self.authenticator.bearer((await self.user(name)).access_token)

    async def execute(self, statement: str, **values: object) -> int:
        async with self.store.transaction() as db:
            return (await db.execute(text(statement), values)).rowcount

    async def audited(self) -> list[str]:
        async with self.store.transaction() as db:
            return list((await db.execute(text("SELECT action FROM audit ORDER BY id"))).scalars())


def wire(store: Store, redis: Redis, passwords: Passwords) -> Auth:
    tokens = Tokens({"k": secret_key(b"k" * 32)}, lifetime_s=900)
    announced: list[UserId] = []
    keys = ApiKeys(store, announce=announced.append)
    tickets = Tickets(TicketStore(redis))
    attempts = Attempts(Limits(redis), hub_per_minute=3_000, hub_burst=1_000)

    def accounts(*, registration_open: bool) -> Accounts:
        return Accounts(
            store,
            passwords,
            tokens,
            attempts,
            registration_open=registration_open,
            refresh_s=3600,
            announce=announced.append,
        )

    return Auth(
        store,
        passwords,
        tokens,
        accounts(registration_open=True),
        accounts(registration_open=False),
        keys,
        SignIns(store, announce=announced.append),
        tickets,
        Authenticator(store, tokens, keys, tickets, Known()),
        announced,
    )


@pytest.fixture
async def auth(store: Store, redis_url: str) -> AsyncIterator[Auth]:
    redis, passwords = Redis(redis_url), Passwords()
    yield wire(store, redis, passwords)
    passwords.close()
    await redis.close()
