"""Access tokens against the present state, API keys and tickets."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from hub.auth.accounts import create_account
from hub.auth.api_keys import ApiKeys, NewApiKey
from hub.auth.authenticator import Authenticator
from hub.auth.known import Known
from hub.domain.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from hub.domain.ids import UserId, new_id
from hub.relay.connection import Redis
from hub.relay.tickets import TicketStore
from hub.store import users
from hub.store.database import Store
from tests.auth.conftest import HERE, PASSWORD, Auth


async def test_who_asks_at_the_same_time_gets_an_answer_of_their_own(auth: Auth) -> None:
    ann, bob = await auth.user("ann"), await auth.user("bob")
    left = await auth.accounts.sign_in("bob", PASSWORD, address=HERE)
    await auth.accounts.revoke(left.refresh_token, address=HERE)
    nobody = auth.tokens.issue(user=UserId(new_id()), name="nobody", is_admin=False, auth_version=1, grant=None)
    shown = [ann.access_token, left.access_token, bob.access_token, nobody]

    async def name_or_why_not(token: str) -> str:
        try:
            return (await auth.authenticator.bearer(token)).name
        except Unauthenticated as e:
            return e.message

    said = await asyncio.gather(*(name_or_why_not(token) for token in shown * 60))
    assert said == ["ann", "the access token was revoked", "bob", "the access token is not valid"] * 60


async def test_who_gives_up_takes_nobody_along(auth: Auth) -> None:
    token = (await auth.user("ann")).access_token
    for passes in range(4):  # of the loop, until the one that reads for all is given up
        async with asyncio.TaskGroup() as tasks:
            first, second, *others = [tasks.create_task(auth.authenticator.bearer(token)) for _ in range(6)]
            await first
            for _ in range(passes):
                await asyncio.sleep(0)
            second.cancel()
        assert [other.result().name for other in others] == ["ann"] * 4


async def test_somebody_has_so_many_keys_however_many_are_made_at_once(auth: Auth, store: Store) -> None:
    ann = await auth.authenticator.bearer((await auth.user()).access_token)
    keys = ApiKeys(store, per_user=2)
    await keys.create(ann, name="ended")
    async with store.transaction() as db:
        await db.execute(text("UPDATE api_keys SET expires_at = clock_timestamp()"))
    made = await asyncio.gather(*(keys.create(ann, name="bot") for _ in range(6)), return_exceptions=True)
    got = [one for one in made if isinstance(one, NewApiKey)]
    assert len(got) == 2
    assert {str(one) for one in made if not isinstance(one, NewApiKey)} == {
        "you have too many API keys: revoke one first"
    }
    assert await keys.create_for(ann.user, name="by the operator")
    for one in got:
        await keys.revoke(ann, one.id)
    assert await keys.create(ann, name="bot")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users SET auth_version = auth_version + 1",
        "UPDATE users SET disabled_at = now()",
        "UPDATE refresh_tokens SET revoked_at = now()",
    ],
)
async def test_a_token_does_not_outlive_its_user(auth: Auth, statement: str) -> None:
    pair = await auth.user()
    principal = await auth.authenticator.bearer(pair.access_token)
    assert await auth.authenticator.ended([principal]) == set()
    await auth.execute(statement)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.bearer(pair.access_token)
    assert await auth.authenticator.ended([principal]) == {principal.credential}


async def test_a_token_of_nobody(auth: Auth) -> None:
    token = auth.tokens.issue(user=UserId(new_id()), name="ann", is_admin=True, auth_version=1, grant=None)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.bearer(token)


async def test_name_and_rights_come_from_the_database(auth: Auth) -> None:
    principal = await auth.principal()
    token = auth.tokens.issue(user=principal.user, name="root", is_admin=True, auth_version=1, grant=None)
    seen = await auth.authenticator.bearer(token)
    assert (seen.name, seen.is_admin) == ("ann", False)


async def test_nobody_is_asked_about_nothing(auth: Auth) -> None:
    assert await auth.authenticator.ended([]) == set()


async def test_a_key_works_with_its_scopes(auth: Auth) -> None:
    ann = await auth.principal()
    made = await auth.keys.create(ann, name="bot", scopes=["sessions:read"])
    assert made.key.startswith(f"hub_{made.id}_")
    bot = await auth.authenticator.bearer(made.key)
    assert (bot.user, bot.scopes, bot.credential) == (ann.user, frozenset({"sessions:read"}), f"key:{made.id}")
    assert bot.expires_at == made.expires_at > datetime.now(UTC)
    listed, following = await auth.keys.page(ann, limit=10, cursor=None)
    assert [(key.id, key.last_used_at is not None) for key in listed] == [(made.id, True)]
    assert following is None


async def test_the_secret_is_not_in_the_database(auth: Auth) -> None:
    made = await auth.keys.create(await auth.principal(), name="bot")
    async with auth.store.transaction() as db:
        stored = (await db.execute(text("SELECT row_to_json(api_keys)::text FROM api_keys"))).scalar_one()
    assert made.key.rsplit("_", 1)[1] not in stored


async def test_a_revoked_key_ends_with_its_connections(auth: Auth) -> None:
    ann = await auth.principal()
    made = await auth.keys.create(ann, name="bot")
    bot = await auth.authenticator.bearer(made.key)
    await auth.keys.revoke(ann, made.id)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.bearer(made.key)
    assert await auth.authenticator.ended([ann, bot]) == {bot.credential}
    assert auth.announced == [ann.user]
    with pytest.raises(NotFound):
        await auth.keys.revoke(ann, made.id)


async def test_a_key_is_its_owners(auth: Auth) -> None:
    made = await auth.keys.create(await auth.principal("ann"), name="bot")
    bob = await auth.principal("bob")
    for key in (made.id, new_id(), "x"):
        with pytest.raises(NotFound):
            await auth.keys.revoke(bob, key)
    assert await auth.keys.page(bob, limit=10, cursor=None) == ([], None)


async def test_a_key_cannot_make_a_stronger_one(auth: Auth) -> None:
    ann = await auth.principal()
    plain = await auth.authenticator.bearer((await auth.keys.create(ann, name="plain")).key)
    with pytest.raises(Forbidden):
        await auth.keys.create(plain, name="more")
    limited = await auth.authenticator.bearer(
        (await auth.keys.create(ann, name="limited", scopes=["admin", "sessions:read"])).key
    )
    await auth.keys.create(limited, name="less", scopes=["sessions:read"])
    with pytest.raises(Forbidden):
        await auth.keys.create(limited, name="more", scopes=["sessions:write"])


async def test_keys_that_cannot_be_made(auth: Auth) -> None:
    ann = await auth.principal()
    now = datetime.now(UTC)
    for scopes in ([], ["everything"]):
        with pytest.raises(BadRequest):
            await auth.keys.create(ann, name="bot", scopes=scopes)
    for ends in (now - timedelta(seconds=1), now + timedelta(days=400)):
        with pytest.raises(BadRequest):
            await auth.keys.create(ann, name="bot", expires_at=ends)


async def test_keys_that_do_not_hold(auth: Auth) -> None:
    ann = await auth.principal()
    made = await auth.keys.create(ann, name="bot")
    secret = made.key.rsplit("_", 1)[1]
    for key in (
        "hub_",
        "hub__",
        f"hub_{made.id}",
        f"hub_{made.id}_",
        f"hub_{made.id}_x{secret}",
        f"hub_{new_id()}_{secret}",
        made.key + " ",
        made.key + "é",
        "hub_\ud800_x",
    ):
        with pytest.raises(Unauthenticated):
            await auth.authenticator.bearer(key)
    await auth.execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
    with pytest.raises(Unauthenticated):
        await auth.authenticator.bearer(made.key)
    await auth.execute("UPDATE api_keys SET expires_at = NULL")
    assert (await auth.authenticator.bearer(made.key)).expires_at.year == 9999
    await auth.execute("UPDATE users SET disabled_at = now()")
    with pytest.raises(Unauthenticated):
        await auth.authenticator.bearer(made.key)


async def test_the_operator_makes_keys_for_anybody(auth: Auth) -> None:
    bot = await create_account(auth.store, auth.passwords, "bot", None)
    made = await auth.keys.create_for(bot.id, name="first", scopes=["admin"])
    assert (await auth.authenticator.bearer(made.key)).user == bot.id


async def test_a_ticket_works_once(auth: Auth) -> None:
    ann = await auth.principal()
    ticket = await auth.tickets.mint(ann, origin=None)
    assert await auth.authenticator.ticket(ticket, "https://anywhere.example") == ann
    with pytest.raises(Unauthenticated):
        await auth.authenticator.ticket(ticket, None)


async def test_racing_for_a_ticket_one_wins(auth: Auth) -> None:
    ticket = await auth.tickets.mint(await auth.principal(), origin=None)

    async def use() -> bool:
        try:
            await auth.authenticator.ticket(ticket, None)
        except Unauthenticated:
            return False
        return True

    async with asyncio.TaskGroup() as tasks:
        uses = [tasks.create_task(use()) for _ in range(8)]
    assert [task.result() for task in uses].count(True) == 1


@pytest.mark.parametrize("origin", [None, "https://evil.example", "https://hub.example:444", "null"])
async def test_a_ticket_from_elsewhere_is_refused_and_used_up(auth: Auth, origin: str | None) -> None:
    ticket = await auth.tickets.mint(await auth.principal(), origin="https://hub.example")
    with pytest.raises(Unauthenticated):
        await auth.authenticator.ticket(ticket, origin)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.ticket(ticket, "https://hub.example")


async def test_a_ticket_carries_the_limits_of_its_credential(auth: Auth) -> None:
    ann = await auth.principal()
    bot = await auth.authenticator.bearer((await auth.keys.create(ann, name="bot", scopes=["sessions:read"])).key)
    seen = await auth.authenticator.ticket(await auth.tickets.mint(bot, origin=None), None)
    assert seen == bot


async def test_a_ticket_does_not_outlive_its_credential(auth: Auth) -> None:
    pair = await auth.user()
    ann = await auth.authenticator.bearer(pair.access_token)
    ended = await auth.tickets.mint(replace(ann, expires_at=datetime.now(UTC)), origin=None)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.ticket(ended, None)
    revoked = await auth.tickets.mint(ann, origin=None)
    await auth.accounts.revoke(pair.refresh_token, address=HERE)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.ticket(revoked, None)


@pytest.mark.parametrize("ticket", ["", "x", "\ud800"])
async def test_what_is_not_a_ticket(auth: Auth, ticket: str) -> None:
    with pytest.raises(Unauthenticated):
        await auth.authenticator.ticket(ticket, None)


async def test_a_ticket_expires_and_is_kept_as_a_hash(auth: Auth, redis_url: str) -> None:
    ticket = await auth.tickets.mint(await auth.principal(), origin=None)
    redis = Redis(redis_url)
    try:
        names = await redis.command("KEYS", "hub:ticket:*")
        assert isinstance(names, list)
        assert len(names) == 1
        assert ticket.encode() not in names[0]
        left = await redis.command("TTL", names[0])
        assert isinstance(left, int)
        assert 0 < left <= 30
    finally:
        await redis.close()


async def test_junk_in_redis_is_no_ticket(auth: Auth, redis_url: str) -> None:
    redis = Redis(redis_url)
    try:
        digest = hashlib.sha256(b"junk").hexdigest()
        await TicketStore(redis).put(digest, b'{"user": 1}', 30)
        with pytest.raises(Unauthenticated):
            await auth.authenticator.ticket("junk", None)
    finally:
        await redis.close()


async def test_the_database_away_is_not_a_wrong_credential(auth: Auth) -> None:
    token = (await auth.user()).access_token
    nowhere = Store("postgresql://hub@/hub?host=/nowhere")
    try:
        authenticator = Authenticator(nowhere, auth.tokens, ApiKeys(nowhere), auth.tickets, Known())
        with pytest.raises(Unavailable):
            await authenticator.bearer(token)
        with pytest.raises(Unauthenticated):
            await authenticator.bearer("not a token")
    finally:
        await nowhere.close()


async def test_auth_versions_are_those_of_the_store(auth: Auth) -> None:
    ann = await auth.principal()
    async with auth.store.transaction() as db:
        assert await users.auth_versions(db, [ann.user]) == {ann.user: 1}
