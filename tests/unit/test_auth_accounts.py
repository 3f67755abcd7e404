"""Accounts, keys, tickets and the authenticator on a real database and a real Valkey."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from hub.auth.accounts import Accounts, TokenPair, create_account
from hub.auth.api_keys import ApiKeys, NewApiKey
from hub.auth.attempts import PAIR_BURST, Attempts
from hub.auth.authenticator import Authenticator
from hub.auth.keys import secret_key
from hub.auth.passwords import Passwords
from hub.auth.sign_ins import SignIns, end_credentials
from hub.auth.tickets import Tickets
from hub.auth.tokens import Tokens
from hub.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    HubError,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from hub.domain.ids import UserId, new_id
from hub.domain.principal import Principal
from hub.relay.connection import Redis
from hub.relay.limits import Limits
from hub.relay.tickets import TicketStore
from hub.store import users
from hub.store.database import Store
from tests.store.conftest import somebody_waits

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
        Authenticator(store, tokens, keys, tickets),
        announced,
    )


@pytest.fixture
async def auth(store: Store, redis_url: str) -> AsyncIterator[Auth]:
    redis, passwords = Redis(redis_url), Passwords()
    yield wire(store, redis, passwords)
    passwords.close()
    await redis.close()


# ---- registering and signing in


async def test_register_sign_in_and_be_known(auth: Auth) -> None:
    made = await auth.accounts.register("Ann", PASSWORD, address=HERE)
    pair = await auth.accounts.sign_in("aNN", PASSWORD, address=HERE)
    principal = await auth.authenticator.bearer(pair.access_token)
    assert (principal.user, principal.name, principal.scopes) == (made.id, "Ann", None)
    assert principal.credential.startswith("token:")
    assert pair.expires_in == 900
    assert await auth.audited() == ["user.create", "user.sign_in"]


async def test_a_name_is_taken_whatever_its_case(auth: Auth) -> None:
    await auth.accounts.register("Ann", PASSWORD, address=HERE)
    with pytest.raises(Conflict):
        await auth.accounts.register("ANN", PASSWORD, address=HERE)


async def test_closed_registration(auth: Auth) -> None:
    with pytest.raises(Forbidden):
        await auth.closed.register("ann", PASSWORD, address=HERE)
    made = await create_account(auth.store, auth.passwords, "ann", PASSWORD, is_admin=True)
    assert made.is_admin


@pytest.mark.parametrize(
    ("name", "password"), [(" ann", PASSWORD), ("ann", "short"), ("0190b5a0-0000-7000-8000-000000000000", PASSWORD)]
)
async def test_a_bad_name_or_password(auth: Auth, name: str, password: str) -> None:
    with pytest.raises(BadRequest):
        await auth.accounts.register(name, password, address=HERE)


async def test_every_way_not_to_sign_in_looks_the_same(auth: Auth) -> None:
    for name in ("ann", "off"):
        await auth.accounts.register(name, PASSWORD, address=HERE)
    await create_account(auth.store, auth.passwords, "bot", None)
    await auth.execute("UPDATE users SET disabled_at = now() WHERE name = 'off'")
    answers = set()
    for name, password in (("ann", "wrong password"), ("eve", PASSWORD), ("off", PASSWORD), ("bot", ""), ("\x00", "x")):
        with pytest.raises(Unauthenticated) as refused:
            await auth.accounts.sign_in(name, password, address=HERE)
        answers.add((refused.value.message, str(refused.value.details)))
    assert len(answers) == 1


async def test_guessing_is_throttled_and_others_are_not(auth: Auth) -> None:
    await auth.user("ann")
    await auth.user("bob")

    async def guess(_: int) -> type[HubError]:
        try:
            await auth.accounts.sign_in("ann", "wrong password", address=HERE)
        except HubError as error:
            return type(error)
        raise AssertionError

    async with asyncio.TaskGroup() as tasks:
        guesses = [tasks.create_task(guess(n)) for n in range(PAIR_BURST + 10)]
    outcomes = [task.result() for task in guesses]
    assert outcomes.count(RateLimited) >= 5

    async def tries() -> None:
        # One comes back every five seconds: on a busy machine, while the guesses were computed.
        for _ in range(4):
            await auth.accounts.sign_in("ann", PASSWORD, address=HERE)

    with pytest.raises(RateLimited) as refused:
        await tries()
    assert refused.value.retry_after
    await auth.accounts.sign_in("bob", PASSWORD, address=HERE)
    await auth.accounts.sign_in("ann", PASSWORD, address="192.0.2.2")


async def test_without_redis_nobody_signs_in_but_who_is_signed_in_stays(auth: Auth, store: Store) -> None:
    pair = await auth.user()
    redis = Redis("unix:///nowhere/valkey.sock")
    try:
        lonely = wire(store, redis, auth.passwords)
        with pytest.raises((RateLimited, Unavailable)):
            await lonely.accounts.sign_in("ann", PASSWORD, address=HERE)
        with pytest.raises(Unavailable):
            await lonely.tickets.mint(await lonely.authenticator.bearer(pair.access_token), origin=None)
        again = await lonely.accounts.refresh(pair.refresh_token, address=HERE)
        await lonely.authenticator.bearer(again.access_token)
    finally:
        await redis.close()


# ---- refresh tokens


async def test_refreshing_rotates(auth: Auth) -> None:
    first = await auth.user()
    second = await auth.accounts.refresh(first.refresh_token, address=HERE)
    third = await auth.accounts.refresh(second.refresh_token, address=HERE)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    await auth.authenticator.bearer(third.access_token)


async def test_only_hashes_are_kept(auth: Auth) -> None:
    pair = await auth.user()
    async with auth.store.transaction() as db:
        rows = (await db.execute(text("SELECT token_hash FROM refresh_tokens"))).scalars()
    assert rows == [hashlib.sha256(pair.refresh_token.encode()).digest()]


async def test_a_lost_answer_locks_nobody_out(auth: Auth) -> None:
    first = await auth.user()
    await auth.accounts.refresh(first.refresh_token, address=HERE)
    again = await auth.accounts.refresh(first.refresh_token, address=HERE)
    await auth.authenticator.bearer(again.access_token)


async def test_racing_refreshes_all_succeed(auth: Auth) -> None:
    first = await auth.user()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(auth.accounts.refresh(first.refresh_token, address=HERE))


async def test_reuse_ends_the_whole_sign_in(auth: Auth) -> None:
    first = await auth.user()
    thief = await auth.accounts.refresh(first.refresh_token, address=HERE)
    other_device = await auth.accounts.sign_in("ann", PASSWORD, address=HERE)
    open_connection = await auth.authenticator.bearer(thief.access_token)
    await auth.execute("UPDATE refresh_tokens SET used_at = used_at - interval '1 minute' WHERE used_at IS NOT NULL")
    with pytest.raises(Unauthenticated):
        await auth.accounts.refresh(first.refresh_token, address=HERE)
    for token in (thief.refresh_token, first.refresh_token):
        with pytest.raises(Unauthenticated):
            await auth.accounts.refresh(token, address=HERE)
    for token in (first.access_token, thief.access_token):
        with pytest.raises(Unauthenticated):
            await auth.authenticator.bearer(token)
    still_open = await auth.authenticator.bearer(other_device.access_token)
    assert await auth.authenticator.ended([open_connection, still_open]) == {open_connection.credential}
    assert "refresh_token.reuse" in await auth.audited()
    assert open_connection.user in auth.announced


async def test_refreshing_does_not_prolong_the_sign_in(auth: Auth) -> None:
    pair = await auth.user()
    await auth.accounts.refresh(pair.refresh_token, address=HERE)
    async with auth.store.transaction() as db:
        ends = (await db.execute(text("SELECT DISTINCT expires_at FROM refresh_tokens"))).scalars()
    assert len(ends) == 1


async def test_refresh_tokens_that_do_not_hold(auth: Auth) -> None:
    pair = await auth.user()
    await auth.execute("UPDATE refresh_tokens SET expires_at = now() - interval '1 second'")
    for token in (pair.refresh_token, "unknown", "", "\ud800", pair.access_token):
        with pytest.raises(Unauthenticated):
            await auth.accounts.refresh(token, address=HERE)


async def test_a_disabled_user_cannot_refresh(auth: Auth) -> None:
    pair = await auth.user()
    await auth.execute("UPDATE users SET disabled_at = now()")
    with pytest.raises(Unauthenticated):
        await auth.accounts.refresh(pair.refresh_token, address=HERE)


@pytest.mark.parametrize("which", ["refresh_token", "access_token"])
async def test_signing_out_ends_that_sign_in_only(auth: Auth, which: str) -> None:
    here = await auth.user()
    there = await auth.accounts.sign_in("ann", PASSWORD, address=HERE)
    await auth.accounts.revoke(getattr(here, which), address=HERE)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.bearer(here.access_token)
    with pytest.raises(Unauthenticated):
        await auth.accounts.refresh(here.refresh_token, address=HERE)
    principal = await auth.authenticator.bearer(there.access_token)
    assert auth.announced == [principal.user]


async def test_revoking_what_is_unknown_is_no_error(auth: Auth) -> None:
    await auth.accounts.revoke("unknown", address=HERE)
    assert auth.announced == []


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


# ---- another password, and signing out


NEW_PASSWORD = "battery staple"


async def test_another_password_ends_everything_but_the_caller_and_the_keys(auth: Auth) -> None:
    here = await auth.user()
    there = await auth.accounts.sign_in("ann", PASSWORD, address=HERE)
    ann = await auth.authenticator.bearer(here.access_token)
    key = (await auth.keys.create(ann, name="bot")).key
    bot = await auth.authenticator.bearer(key)
    ticket = await auth.tickets.mint(ann, origin=None)
    fresh = await auth.accounts.change_password(ann, PASSWORD, NEW_PASSWORD, address=HERE)
    for pair in (here, there):
        with pytest.raises(Unauthenticated):
            await auth.authenticator.bearer(pair.access_token)
        with pytest.raises(Unauthenticated):
            await auth.accounts.refresh(pair.refresh_token, address=HERE)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.ticket(ticket, None)
    assert await auth.authenticator.ended([ann, bot]) == {ann.credential}
    await auth.authenticator.bearer(key)
    await auth.authenticator.bearer(fresh.access_token)
    await auth.accounts.refresh(fresh.refresh_token, address=HERE)
    with pytest.raises(Unauthenticated):
        await auth.accounts.sign_in("ann", PASSWORD, address=HERE)
    await auth.accounts.sign_in("ann", NEW_PASSWORD, address=HERE)
    assert auth.announced == [ann.user]
    assert "user.password" in await auth.audited()


@pytest.mark.parametrize(
    ("present", "wanted", "refusal"),
    [
        ("wrong password", NEW_PASSWORD, Forbidden),
        ("", NEW_PASSWORD, Forbidden),
        (PASSWORD, "short", BadRequest),
        (PASSWORD, "x" * 2000, BadRequest),
    ],
)
async def test_a_password_that_is_not_changed(auth: Auth, present: str, wanted: str, refusal: type[HubError]) -> None:
    pair = await auth.user()
    ann = await auth.authenticator.bearer(pair.access_token)
    with pytest.raises(refusal):
        await auth.accounts.change_password(ann, present, wanted, address=HERE)
    await auth.authenticator.bearer(pair.access_token)
    await auth.accounts.sign_in("ann", PASSWORD, address=HERE)


async def test_guessing_the_present_password_is_throttled_as_signing_in_is(auth: Auth) -> None:
    ann = await auth.principal()
    outcomes = []
    for _ in range(PAIR_BURST + 5):
        try:
            await auth.accounts.change_password(ann, "wrong password", NEW_PASSWORD, address=HERE)
        except HubError as error:
            outcomes.append(type(error))
    assert outcomes.count(RateLimited) >= 3


async def test_signing_out_everywhere(auth: Auth) -> None:
    here = await auth.user()
    there = await auth.accounts.sign_in("ann", PASSWORD, address=HERE)
    ann = await auth.authenticator.bearer(here.access_token)
    keys = [(await auth.keys.create(ann, name="bot")).key for _ in range(2)]
    await auth.sign_ins.end_all(ann, keys=False, address=HERE)
    for pair in (here, there):
        with pytest.raises(Unauthenticated):
            await auth.authenticator.bearer(pair.access_token)
        with pytest.raises(Unauthenticated):
            await auth.accounts.refresh(pair.refresh_token, address=HERE)
    bots = [await auth.authenticator.bearer(key) for key in keys]
    again = await auth.authenticator.bearer((await auth.accounts.sign_in("ann", PASSWORD, address=HERE)).access_token)
    await auth.sign_ins.end_all(again, keys=True, address=HERE)
    assert await auth.authenticator.ended([again, *bots]) == {again.credential, *(bot.credential for bot in bots)}
    for key in keys:
        with pytest.raises(Unauthenticated):
            await auth.authenticator.bearer(key)


async def test_sign_ins_are_listed_and_ended_one_by_one(auth: Auth) -> None:
    here = await auth.user()
    there = await auth.accounts.sign_in("ann", PASSWORD, address=HERE)
    there = await auth.accounts.refresh(there.refresh_token, address=HERE)
    ann = await auth.authenticator.bearer(here.access_token)
    other = await auth.authenticator.bearer(there.access_token)
    listed = await auth.sign_ins.list(ann)
    assert [one.id for one in listed] == [other.grant, ann.grant]
    assert listed[0].used_at > listed[0].created_at
    bob = await auth.principal("bob")
    for who, sign_in in ((bob, other.grant), (ann, bob.grant), (ann, new_id()), (ann, "x")):
        with pytest.raises(NotFound):
            await auth.sign_ins.end(who, str(sign_in), address=HERE)
    await auth.sign_ins.end(ann, str(other.grant), address=HERE)
    assert await auth.authenticator.ended([ann, other]) == {other.credential}
    assert [one.id for one in await auth.sign_ins.list(ann)] == [ann.grant]
    with pytest.raises(NotFound):
        await auth.sign_ins.end(ann, str(other.grant), address=HERE)


# ---- races: what was ended stays ended, whatever was under way


async def outcome(call: Awaitable[TokenPair]) -> TokenPair | None:
    try:
        return await call
    except HubError:
        return None


async def is_dead(auth: Auth, pair: TokenPair) -> bool:
    """Neither of both tokens does anything any more."""
    for use in (auth.authenticator.bearer(pair.access_token), auth.accounts.refresh(pair.refresh_token, address=HERE)):
        try:
            await use
        except Unauthenticated:
            continue
        return False
    return True


async def test_who_signs_in_with_the_old_password_while_it_is_changed_is_out_afterwards(auth: Auth) -> None:
    ann = await auth.principal()
    survivors = 0
    old, new = PASSWORD, NEW_PASSWORD
    for _ in range(4):
        async with asyncio.TaskGroup() as tasks:
            thieves = [
                tasks.create_task(outcome(auth.accounts.sign_in("ann", old, address=f"198.51.100.{n}")))
                for n in range(6)
            ]
            change = tasks.create_task(auth.accounts.change_password(ann, old, new, address=HERE))
        for thief in thieves:
            pair = thief.result()
            survivors += pair is not None and not await is_dead(auth, pair)
        ann = await auth.authenticator.bearer(change.result().access_token)
        old, new = new, old
    assert survivors == 0


async def test_a_sign_in_that_was_checked_before_the_change_is_refused_after_it(auth: Auth) -> None:
    """The narrow moment between the hash and the token, held open by a lock."""
    ann = await auth.principal()
    async with asyncio.TaskGroup() as tasks, auth.store.transaction() as db:
        await end_credentials(db, ann.user, keys=False)
        late = tasks.create_task(outcome(auth.accounts.sign_in("ann", PASSWORD, address=HERE)))
        await somebody_waits(auth.store)
    assert late.result() is None


async def test_a_key_made_while_signing_out_everywhere_is_not_made(auth: Auth) -> None:
    ann = await auth.principal()

    async def make() -> bool:
        try:
            await auth.keys.create(ann, name="bot")
        except Unauthenticated:
            return False
        return True

    async with asyncio.TaskGroup() as tasks, auth.store.transaction() as db:
        await end_credentials(db, ann.user, keys=True)
        late = tasks.create_task(make())
        await somebody_waits(auth.store)
    assert not late.result()


async def test_refreshing_while_signing_out_everywhere_ends_signed_out(auth: Auth) -> None:
    for n in range(8):
        pair = await auth.user(f"user{n}")
        principal = await auth.authenticator.bearer(pair.access_token)
        async with asyncio.TaskGroup() as tasks:
            refreshes = [
                tasks.create_task(outcome(auth.accounts.refresh(pair.refresh_token, address=HERE))) for _ in range(4)
            ]
            tasks.create_task(auth.sign_ins.end_all(principal, keys=False, address=HERE))
        for refresh in refreshes:
            got = refresh.result()
            assert got is None or await is_dead(auth, got)
        assert await is_dead(auth, pair)


async def test_two_changes_of_the_password_at_once(auth: Auth) -> None:
    ann = await auth.principal()
    async with asyncio.TaskGroup() as tasks:
        changes = [
            tasks.create_task(outcome(auth.accounts.change_password(ann, PASSWORD, f"{NEW_PASSWORD}{n}", address=HERE)))
            for n in range(2)
        ]
    won = [n for n, change in enumerate(changes) if change.result() is not None]
    assert len(won) == 1
    await auth.accounts.sign_in("ann", f"{NEW_PASSWORD}{won[0]}", address=HERE)


# ---- nobody learns who exists


async def test_every_refused_sign_in_costs_one_hash(auth: Auth) -> None:
    """What takes long is the hash, so counting hashes says more about timing than a clock on a busy machine."""
    for name in ("ann", "off"):
        await auth.accounts.register(name, PASSWORD, address=HERE)
    await create_account(auth.store, auth.passwords, "bot", None)
    await auth.execute("UPDATE users SET disabled_at = now() WHERE name = 'off'")
    for name, password in (
        ("ann", "wrong password"),
        ("eve", PASSWORD),
        ("off", PASSWORD),
        ("bot", PASSWORD),
        ("ann", ""),
        ("eve", ""),
        ("ann", "x" * 1024),
        ("eve", "x" * 1024),
        ("", PASSWORD),
    ):
        before = auth.passwords.computed
        with pytest.raises(Unauthenticated):
            await auth.accounts.sign_in(name, password, address=HERE)
        assert auth.passwords.computed - before == 1, (name, password[:10])


async def test_the_hash_of_nobody_costs_what_the_hash_of_somebody_does(auth: Auth) -> None:
    """The same parameters are in both: what a clock would measure."""
    made = await auth.passwords.hash(PASSWORD)
    assert auth.passwords.dummy.split("$")[:4] == made.split("$")[:4]


# ---- access tokens against the present state


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


# ---- API keys


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


# ---- tickets


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
        authenticator = Authenticator(nowhere, auth.tokens, ApiKeys(nowhere), auth.tickets)
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
