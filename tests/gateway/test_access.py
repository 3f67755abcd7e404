"""No connection outlives its credential, and nobody follows a session they were removed from."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from sqlalchemy import text
from websockets.exceptions import InvalidStatus

from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.driver import PASSWORD, Door, Refused

PROMISED_S = 5.0


@pytest.fixture
async def brief(dsn: str, redis_url: str) -> AsyncIterator[Door]:
    """A hub whose access tokens live five seconds."""
    async with running_worker(settings_for(dsn, redis_url, access_token_s=5)) as door:
        yield door


async def test_a_credential_that_ends_is_announced_and_then_closes(brief: Door) -> None:
    async with await brief.person() as person:
        warning = await person.expect("auth.expiring")
        assert warning["data"]["expires_at"] == person.hello["expires_at"]
        assert "session" not in warning
        assert "seq" not in warning
        assert await person.closed() == 4100


async def test_a_new_credential_keeps_the_connection(brief: Door) -> None:
    async with await brief.person("ada") as person:
        await person.expect("auth.expiring")
        renewed = await person.ask("auth", token=await brief.sign_in("ada"))
        assert renewed["user"]["name"] == "ada"
        assert renewed["expires_at"] > person.hello["expires_at"]
        await person.expect("auth.expiring")
        assert await person.closed() == 4100


async def test_a_credential_that_cannot_be_used_changes_nothing(hub: Door) -> None:
    async with await hub.person("ada") as ada, await hub.person("bob") as bob:
        with pytest.raises(Refused) as caught:
            await ada.ask("auth", token=bob.token)
        assert caught.value.code == "forbidden"
        with pytest.raises(Refused) as caught:
            await ada.ask("auth", token="wrong")
        assert caught.value.code == "unauthenticated"
        made = await ada.ask("session.create", team="scripted")
        assert made["role"] == "owner"


async def test_a_revoked_api_key_closes_its_connections_and_no_others(hub: Door) -> None:
    token = await hub.register("ada")
    async with hub.rest(token) as rest:
        made = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()
        async with await hub.enter(made["key"]) as bot, await hub.enter(token) as person:
            assert (await rest.delete(f"/v1/api-keys/{made['id']}")).status_code in (200, 204)
            async with asyncio.timeout(PROMISED_S):
                assert await bot.closed() == 4503
            await person.ask("ping")


async def test_signing_out_closes_the_connections(hub: Door) -> None:
    await hub.register("ada")
    async with hub.rest() as rest:
        form = {"grant_type": "password", "username": "ada", "password": "correct horse battery staple"}
        tokens = (await rest.post("/v1/auth/token", data=form)).json()
        async with await hub.enter(tokens["access_token"]) as person:
            revoked = await rest.post("/v1/auth/revoke", data={"token": tokens["refresh_token"]})
            assert revoked.status_code in (200, 204), revoked.text
            async with asyncio.timeout(PROMISED_S):
                assert await person.closed() == 4503


async def test_a_removed_member_sees_it_and_then_nothing_more(hub: Door) -> None:
    async with await hub.person("ada") as ada, await hub.person("bob") as bob:
        session = (await ada.ask("session.create", team="scripted"))["id"]
        await ada.ask("session.join", session=session)
        async with hub.rest(ada.token) as rest:
            await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "editor"})
            await bob.ask("session.join", session=session)
            await ada.expect("presence.changed", name="bob", status="active")
            await rest.delete(f"/v1/sessions/{session}/members/bob")
        await bob.expect("member.removed", name="bob")
        # Bob's presence ends in the same step as his following.
        async with asyncio.timeout(PROMISED_S + 3):
            await ada.expect("presence.changed", name="bob", status="offline")
        await ada.say(session, "/script turns=1 tokens=3")
        await ada.until("run.finished")
        with pytest.raises(Refused) as caught:
            await bob.ask("presence.set", session=session, status="idle")
        assert caught.value.code == "not_found"
        told = [f["type"] for f in bob.seen if f.get("session") == session and f["type"] != "presence.changed"]
        assert told[-1] == "member.removed"


async def test_a_removed_member_is_shown_nothing_that_comes_after_it(two_workers: tuple[Door, Door]) -> None:
    one, two = two_workers
    async with await one.person("ada") as ada, await one.person("bob") as bob, await two.enter(bob.token) as away:
        session = (await ada.ask("session.create", team="scripted"))["id"]
        await ada.ask("session.join", session=session)
        async with one.rest(ada.token) as rest:
            await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "editor"})
            for here in (bob, away):
                await here.ask("session.join", session=session)
            await ada.say(session, "/script turns=2 tokens=40 rate=80")
            for here in (ada, bob, away):
                await here.expect("message.delta")
            await rest.delete(f"/v1/sessions/{session}/members/bob")
            await ada.say(session, "between us")
            await ada.until("run.finished")
            await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "viewer"})
        for here in (bob, away):
            await here.expect("member.removed", name="bob")
            await here.ask("ping")
            assert [f["type"] for f in here.seen if f.get("session") == session][-1] == "member.removed"
            last_seq = (await here.ask("session.join", session=session))["last_seq"]
            while (await here.next_frame()).get("seq") != last_seq:
                pass
            await here.ask("presence.set", session=session, status="idle")


async def test_a_deleted_session_is_followed_by_nobody(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        session = (await ada.ask("session.create", team="scripted"))["id"]
        await ada.ask("session.join", session=session)
        async with hub.rest(ada.token) as rest:
            assert (await rest.delete(f"/v1/sessions/{session}")).status_code in (200, 204)
        await ada.expect("member.removed", name="ada")
        with pytest.raises(Refused) as caught:
            await ada.say(session, "anybody there")
        assert caught.value.code == "not_found"


async def sign_in(hub: Door, name: str) -> dict[str, str]:
    async with hub.rest() as rest:
        form = {"grant_type": "password", "username": name, "password": PASSWORD}
        tokens: dict[str, str] = (await rest.post("/v1/auth/token", data=form)).json()
        return tokens


async def sign_out(hub: Door, tokens: dict[str, str]) -> httpx2.Response:
    async with hub.rest() as rest:
        return await rest.post("/v1/auth/revoke", data={"token": tokens["refresh_token"]})


async def come_and_go(hub: Door, token: str) -> None:
    async with await hub.enter(token):
        pass


async def is_turned_away(hub: Door, token: str) -> bool:
    try:
        await come_and_go(hub, token)
    except InvalidStatus as refused:
        return refused.response.status_code == 401
    return False


async def turned_away(hub: Door, token: str) -> None:
    """Come again and again until that is refused, which must be so in time."""
    async with asyncio.timeout(PROMISED_S + 5):  # and a busy machine's
        while not await is_turned_away(hub, token):
            pass


async def test_who_has_signed_out_here_does_not_come_in_again(hub: Door) -> None:
    await hub.register("ada")
    tokens = await sign_in(hub, "ada")
    await come_and_go(hub, tokens["access_token"])  # known now
    assert (await sign_out(hub, tokens)).is_success
    assert await is_turned_away(hub, tokens["access_token"])


async def test_who_has_signed_out_elsewhere_does_not_come_in_for_long(two_workers: tuple[Door, Door]) -> None:
    here, there = two_workers
    await here.register("ada")
    tokens = await sign_in(here, "ada")
    await come_and_go(there, tokens["access_token"])
    assert (await sign_out(here, tokens)).is_success
    await turned_away(there, tokens["access_token"])


async def test_who_was_suspended_without_a_word_does_not_come_in_for_long(hub: Door, store: Store) -> None:
    """As when Redis is away: nobody tells the worker."""
    token = await hub.register("ada")
    await come_and_go(hub, token)
    async with store.transaction() as db:
        await db.execute(text("UPDATE users SET disabled_at = now() WHERE name = 'ada'"))
    await turned_away(hub, token)
