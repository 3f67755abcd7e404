"""Another password and signing out: what was ended stays ended, whatever was under way."""

import asyncio
from collections.abc import Awaitable

import pytest

from hub.auth.accounts import TokenPair
from hub.auth.attempts import PAIR_BURST
from hub.auth.sign_ins import end_credentials
from hub.domain.errors import (
    BadRequest,
    Forbidden,
    HubError,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from hub.domain.ids import new_id
from tests.auth.conftest import HERE, PASSWORD, Auth
from tests.store.conftest import somebody_waits

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
    for _ in range(PAIR_BURST + 25):  # on a busy machine some come back meanwhile
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
