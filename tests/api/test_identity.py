"""Accounts, tokens, tickets and API keys over REST."""

from datetime import UTC, datetime, timedelta

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.api.people import fresh, open_session, problem, somebody
from tests.driver import PASSWORD, Door


async def test_from_a_name_to_being_known(hub: Door) -> None:
    async with hub.rest() as rest:
        name = fresh("Ann")
        made = await rest.post("/v1/auth/register", json={"name": name, "password": PASSWORD})
        assert made.status_code == 201
        assert set(made.json()) == {"id", "name"}
        form = {"grant_type": "password", "username": name.lower(), "password": PASSWORD}
        answer = await rest.post("/v1/auth/token", data=form)
        assert answer.headers["cache-control"] == "no-store"
        tokens = answer.json()
        assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 900)
        me = await rest.get("/v1/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
        assert me.json()["id"] == made.json()["id"]
        assert (me.json()["name"], me.json()["scopes"]) == (name, None)


async def test_refresh_and_revoke(hub: Door) -> None:
    name = fresh("ann")
    await hub.register(name)
    async with hub.rest() as rest:
        form = {"grant_type": "password", "username": name, "password": PASSWORD}
        first = (await rest.post("/v1/auth/token", data=form)).json()
        again = await rest.post(
            "/v1/auth/token", data={"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        )
        second = again.json()
        assert second["refresh_token"] != first["refresh_token"]
        gone = await rest.post("/v1/auth/revoke", data={"token": second["refresh_token"]})
        assert (gone.status_code, gone.json()) == (200, {})
        problem(
            await rest.post(
                "/v1/auth/token", data={"grant_type": "refresh_token", "refresh_token": second["refresh_token"]}
            ),
            401,
            "unauthenticated",
        )
        authorization = {"Authorization": f"Bearer {second['access_token']}"}
        problem(await rest.get("/v1/me", headers=authorization), 401, "unauthenticated")


async def test_signing_out_by_the_calls_own_token(hub: Door) -> None:
    async with somebody(hub) as rest:
        assert (await rest.post("/v1/auth/revoke")).status_code == 200
        problem(await rest.get("/v1/me"), 401, "unauthenticated")
    async with hub.rest() as rest:
        problem(await rest.post("/v1/auth/revoke"), 400, "bad_request")


async def test_another_password_and_signing_out_everywhere(hub: Door) -> None:
    name = fresh("ann")
    async with hub.rest(await hub.register(name)) as rest:
        listed = (await rest.get("/v1/auth/sign-ins")).json()
        assert [one["current"] for one in listed["items"]] == [True]
        body = {"password": "wrong password", "new_password": "another password"}
        problem(await rest.post("/v1/auth/password", json=body), 403, "forbidden")
        changed = await rest.post("/v1/auth/password", json={**body, "password": PASSWORD})
        assert (changed.status_code, changed.headers["cache-control"]) == (200, "no-store")
        problem(await rest.get("/v1/me"), 401, "unauthenticated")
        rest.headers["Authorization"] = f"Bearer {changed.json()['access_token']}"
        (mine,) = (await rest.get("/v1/auth/sign-ins")).json()["items"]
        assert mine["current"]
        problem(await rest.delete("/v1/auth/sign-ins/x"), 404, "not_found")
        key = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()["key"]
        assert (await rest.post("/v1/auth/signout-all", json={"api_keys": True})).json() == {}
        problem(await rest.get("/v1/me"), 401, "unauthenticated")
        rest.headers["Authorization"] = f"Bearer {key}"
        problem(await rest.get("/v1/me"), 401, "unauthenticated")


async def test_ending_one_sign_in(hub: Door) -> None:
    name = fresh("ann")
    async with hub.rest(await hub.register(name)) as rest, hub.rest(await hub.sign_in(name)) as other:
        listed = (await rest.get("/v1/auth/sign-ins")).json()["items"]
        theirs = next(one["id"] for one in listed if not one["current"])
        assert (await rest.delete(f"/v1/auth/sign-ins/{theirs}")).status_code == 204
        problem(await other.get("/v1/me"), 401, "unauthenticated")
        assert (await rest.get("/v1/me")).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"grant_type": "client_credentials"},
        {"grant_type": "password", "username": "ann"},
        {"grant_type": "refresh_token"},
        {"grant_type": "password", "username": "ann", "password": "x" * 2000},
    ],
)
async def test_a_token_request_that_is_not_valid(hub: Door, form: dict[str, str]) -> None:
    async with hub.rest() as rest:
        problem(await rest.post("/v1/auth/token", data=form), 400, "bad_request")


async def test_a_wrong_password_and_an_unknown_name_look_the_same(hub: Door) -> None:
    known = fresh("ann")
    await hub.register(known)
    answers = []
    async with hub.rest() as rest:
        for name in (known, fresh("eve")):
            form = {"grant_type": "password", "username": name, "password": "wrong password"}
            answer = await rest.post("/v1/auth/token", data=form)
            told = problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")
            answers.append({**told, "request": ""})
    assert answers[0] == answers[1]


async def test_a_storm_of_guesses_gets_429(hub: Door) -> None:
    name = fresh("ann")
    await hub.register(name)
    async with hub.rest() as rest:
        for _ in range(60):
            form = {"grant_type": "password", "username": name, "password": "wrong password"}
            answer = await rest.post("/v1/auth/token", data=form)
            if answer.status_code == 429:
                break
        problem(answer, 429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ann"},
        {"name": "ann", "password": "short"},
        {"name": "", "password": PASSWORD},
        {"name": " ann", "password": PASSWORD},
        {"name": "a\x00b", "password": PASSWORD},
        {"name": "a/b", "password": PASSWORD},
        {"name": "ann", "password": PASSWORD, "is_admin": True},
        {"name": ["ann"], "password": PASSWORD},
        {"name": "ann", "password": "x" * 1100},
        [],
        None,
    ],
)
async def test_a_registration_that_is_not_valid(hub: Door, body: object) -> None:
    async with hub.rest() as rest:
        told = problem(await rest.post("/v1/auth/register", json=body), 400, "bad_request")
        assert PASSWORD not in str(told)


async def test_a_taken_name(hub: Door) -> None:
    name = fresh("ann")
    await hub.register(name)
    async with hub.rest() as rest:
        problem(
            await rest.post("/v1/auth/register", json={"name": name.upper(), "password": PASSWORD}), 409, "conflict"
        )


# ---- credentials of a call


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer x", "Basic YTpi", "Bearer hub_x_y", "Bearer " + "a" * 9000])
async def test_a_credential_that_does_not_hold(hub: Door, value: str) -> None:
    async with hub.rest() as rest:
        answer = await rest.get("/v1/me", headers={"Authorization": value})
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_no_credential_and_one_in_the_wrong_place(hub: Door) -> None:
    token = await hub.register(fresh("ann"))
    async with hub.rest() as rest:
        problem(await rest.get("/v1/me"), 401, "unauthenticated")
        problem(await rest.get("/v1/me", params={"access_token": token}), 401, "unauthenticated")
        problem(await rest.get("/v1/me", headers={"X-API-Key": token}), 401, "unauthenticated")
        twice = [("Authorization", f"Bearer {token}")] * 2
        problem(await rest.get("/v1/me", headers=twice), 401, "unauthenticated")


# ---- tickets


async def test_a_ticket_opens_one_socket(hub: Door) -> None:
    async with somebody(hub) as rest:
        answer = await rest.post("/v1/auth/tickets")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["expires_in"] == 30
        url = f"{hub.ws_url}?ticket={answer.json()['ticket']}"
        async with connect(url, proxy=None) as socket:
            assert '"hello"' in str(await socket.recv())
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, proxy=None)
        assert refused.value.response.status_code == 401


# ---- API keys


async def test_the_life_of_a_key(hub: Door) -> None:
    async with somebody(hub) as rest:
        ends = (datetime.now(UTC) + timedelta(days=2)).isoformat()
        made = await rest.post("/v1/api-keys", json={"name": "bot", "scopes": ["sessions:read"], "expires_at": ends})
        assert made.status_code == 201
        assert made.headers["cache-control"] == "no-store"
        key = made.json()
        assert key["key"].startswith(f"hub_{key['id']}_")
        assert key["scopes"] == ["sessions:read"]
        listed = await rest.get("/v1/api-keys")
        assert "key" not in listed.json()["items"][0]
        assert key["key"] not in listed.text
        session = await open_session(rest)
        async with hub.rest(key["key"]) as bot:
            assert (await bot.get("/v1/me")).json()["scopes"] == ["sessions:read"]
            assert (await bot.get(f"/v1/sessions/{session}")).status_code == 200
            problem(await bot.post("/v1/sessions", json={"team": "scripted"}), 403, "forbidden")
            problem(await bot.post("/v1/api-keys", json={"name": "more"}), 403, "forbidden")
            problem(await bot.get("/v1/api-keys"), 403, "forbidden")
            problem(await bot.delete(f"/v1/api-keys/{key['id']}"), 403, "forbidden")
            gone = await rest.delete(f"/v1/api-keys/{key['id']}")
            assert (gone.status_code, gone.content) == (204, b"")
            problem(await bot.get("/v1/me"), 401, "unauthenticated")
        problem(await rest.delete(f"/v1/api-keys/{key['id']}"), 404, "not_found")


async def test_keys_come_in_pages(hub: Door) -> None:
    async with somebody(hub) as rest:
        made = [(await rest.post("/v1/api-keys", json={"name": f"bot {n}"})).json()["id"] for n in range(3)]
        first = (await rest.get("/v1/api-keys", params={"limit": 2})).json()
        second = (await rest.get("/v1/api-keys", params={"limit": 2, "cursor": first["next"]})).json()
        assert {key["id"] for key in first["items"] + second["items"]} == set(made)
        assert second["next"] is None
        problem(await rest.get("/v1/api-keys", params={"cursor": "nonsense"}), 400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "bot", "scopes": []},
        {"name": "bot", "scopes": ["everything"]},
        {"name": "bot", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "bot", "expires_at": "9999-12-31T23:59:59Z"},
        {"name": "bot", "expires_at": "2030-01-01T00:00:00"},
        {"name": "bot", "expires_at": "soon"},
    ],
)
async def test_a_key_that_cannot_be_made(hub: Door, body: dict[str, object]) -> None:
    async with somebody(hub) as rest:
        problem(await rest.post("/v1/api-keys", json=body), 400, "bad_request")
