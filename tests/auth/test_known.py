"""What is still known of somebody who showed a credential a moment ago."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hub.auth.known import Known
from hub.domain.errors import Unauthenticated
from hub.domain.ids import new_id
from hub.domain.principal import Principal
from tests.auth.conftest import Auth


def somebody(**changes: object) -> Principal:
    ends = datetime.now(UTC) + timedelta(hours=1)
    made = Principal(new_id(), "ada", is_admin=False, auth_version=1, credential="token:1", expires_at=ends)  # type: ignore[arg-type]
    return replace(made, **changes)  # type: ignore[arg-type]


async def test_who_was_looked_up_is_known_and_nobody_else(auth: Auth) -> None:
    pair = await auth.user()
    assert auth.authenticator.known(pair.access_token) is None
    ann = await auth.authenticator.bearer(pair.access_token)
    assert auth.authenticator.known(pair.access_token) == ann
    key = (await auth.keys.create(ann, name="bot")).key
    bot = await auth.authenticator.bearer(key)
    assert auth.authenticator.known(key) == bot
    assert auth.authenticator.known(key + "x") is None
    assert auth.authenticator.known(pair.access_token[:-1]) is None


async def test_no_refusal_and_no_ticket_is_known(auth: Auth) -> None:
    ticket = await auth.tickets.mint(await auth.principal(), origin=None)
    await auth.authenticator.ticket(ticket, None)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.bearer("wrong")
    assert auth.authenticator.known(ticket) is None
    assert auth.authenticator.known("wrong") is None


async def test_an_answer_is_good_for_a_moment_only() -> None:
    known, ada = Known(fresh_s=60), somebody()
    known.keep("old", ada, time.monotonic() - 61)
    known.keep("new", ada, time.monotonic() - 1)
    assert known.find("old") is None
    assert known.find("new") == ada
    known = Known(fresh_s=0.05)
    known.keep("t", ada, time.monotonic())
    async with asyncio.timeout(10):
        while known.find("t") is not None:  # noqa: ASYNC110 - for time to pass
            await asyncio.sleep(0.01)


def test_a_credential_that_has_ended_by_itself_is_not_known() -> None:
    known = Known()
    known.keep("t", somebody(expires_at=datetime.now(UTC) - timedelta(seconds=1)), time.monotonic())
    assert known.find("t") is None


async def test_what_was_asked_before_an_end_does_not_count_whenever_the_answer_came() -> None:
    known, ada, bob = Known(), somebody(), somebody()
    asked_at = time.monotonic()
    known.keep("before", ada, asked_at)
    known.keep("bob's", bob, asked_at)
    await asyncio.sleep(0)
    known.forget(ada.user)
    known.keep("under way", ada, asked_at)
    assert known.find("before") is None
    assert known.find("under way") is None
    assert known.find("bob's") == bob
    known.keep("after", ada, time.monotonic() + 0.001)
    assert known.find("after") == ada


def test_only_so_many_are_known() -> None:
    known, ada = Known(most=2), somebody()
    for token in ("a", "b", "a", "c"):
        known.keep(token, ada, time.monotonic())
    assert known.find("b") is None
    assert known.find("a") == known.find("c") == ada
