"""Signing in with an OpenID provider, from the first redirect to the hello of a socket, and all that must not work."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx2
import pytest
import redis.asyncio

from hub.auth.accounts import create_account
from hub.auth.administration import Administration
from hub.auth.oidc.provider import Provider
from hub.auth.oidc.refusal import SignInRefused
from hub.auth.passwords import Passwords
from hub.composition.auth import oidc_options
from hub.domain.errors import Conflict
from hub.domain.ids import OrganisationId, new_id
from hub.store import organisations
from hub.store.database import Store
from hub.store.organisations import NewOrganisation
from tests.api.people import Json, problem
from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import PASSWORD, Door
from tests.provider import CLIENT, OpenIdProvider, openid_provider, rsa_key

BEGIN, CALLBACK, TOKEN = "/v1/auth/oidc", "/v1/auth/oidc/callback", "/v1/auth/oidc/token"
ANYWHERE = "postgresql://hub@127.0.0.1/hub"


class Browser:
    """Somebody's browser in front of one hub: it keeps cookies, and does redirects one by one."""

    def __init__(self, rest: httpx2.AsyncClient, provider: OpenIdProvider) -> None:
        self.rest = rest
        self.provider = provider

    async def begin(self) -> str:
        """The address at the provider that the hub sends the browser to."""
        answer = await self.rest.get(BEGIN)
        assert answer.status_code == 303, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return str(answer.headers["location"])

    async def at_provider(self) -> str:
        """Begin, and sign in at the provider; gives where it sends the browser back to."""
        return self.provider.authorise(urlsplit(await self.begin()).query)

    async def back(self, url: str) -> tuple[str, str]:
        """Follow the way back; gives what the page is told."""
        answer = await self.rest.get(url)
        assert answer.status_code == 303, answer.text
        location = answer.headers["location"]
        assert location.startswith("/#sign-in"), location
        what, _, value = location.removeprefix("/#").partition("=")
        return what, value

    async def signs_in(self) -> httpx2.Response:
        """All of it; the answer with the tokens."""
        what, code = await self.back(await self.at_provider())
        assert what == "sign-in", code
        return await self.redeem(code)

    async def is_refused(self) -> str:
        """All of it; gives the word that the page is told."""
        what, reason = await self.back(await self.at_provider())
        assert what == "sign-in-failed"
        return reason

    async def redeem(self, code: str) -> httpx2.Response:
        return await self.rest.post(TOKEN, json={"code": code})


@pytest.fixture(scope="module")
def running_provider() -> Iterator[OpenIdProvider]:
    with openid_provider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: OpenIdProvider) -> OpenIdProvider:
    running_provider.reset()
    return running_provider


@pytest.fixture(scope="module")
async def place(cluster: Cluster, valkey_server: str) -> AsyncIterator[tuple[str, str]]:
    """A database and a Valkey."""
    dsn = await cluster.clone()
    yield dsn, valkey_server
    await cluster.drop(dsn)


@pytest.fixture(scope="module")
async def door(place: tuple[str, str], running_provider: OpenIdProvider) -> AsyncIterator[Door]:
    """A hub that knows the provider; the tests of this file share it."""
    rules = {"oidc_admin_claim": "groups=hub-admins", "oidc_required_claim": "realm.access=hub"}
    dsn, redis_url = place
    async with running_worker(settings_for(dsn, redis_url, **running_provider.settings, **rules)) as door:
        yield door


@asynccontextmanager
async def browsing(door: Door, provider: OpenIdProvider) -> AsyncIterator[Browser]:
    async with door.rest() as rest:
        yield Browser(rest, provider)


@pytest.fixture
async def browser(door: Door, provider: OpenIdProvider) -> AsyncIterator[Browser]:
    provider.claims = {"realm": {"access": ["hub"]}}
    async with browsing(door, provider) as browser:
        yield browser


async def trail(dsn: str, user: str) -> list[Json]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "SELECT action, detail::text FROM audit WHERE object = $1 ORDER BY id", f"user:{user}"
    )
    await connection.close()
    return [{"action": row["action"], **json.loads(row["detail"])} for row in rows]


async def count(dsn: str, query: str) -> int:
    connection = await asyncpg.connect(dsn)
    found: int = await connection.fetchval(query)
    await connection.close()
    return found


async def user_named(dsn: str, name: str) -> str:
    """A local account."""
    store, passwords = Store(dsn), Passwords(threads=1)
    made = await create_account(store, passwords, name, None)
    passwords.close()
    await store.close()
    return made.name


async def me(door: Door, tokens: Json) -> Json:
    async with door.rest(tokens["access_token"]) as rest:
        found: Json = (await rest.get("/v1/me")).json()
        return found


# ---- the straight line


async def test_from_the_provider_to_a_socket(
    door: Door, provider: OpenIdProvider, browser: Browser, place: tuple[str, str]
) -> None:
    provider.person = {"sub": "ann's", "preferred_username": "ann"}
    answer = await browser.signs_in()
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    async with await door.enter(tokens["access_token"]) as person:
        user = person.hello["user"]
    assert user["name"] == "ann"
    asked = provider.requests[-1]
    assert asked["redirect_uri"] == door.url + CALLBACK
    assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT, "S256")
    assert set(asked["scope"].split()) == {"openid", "profile"}
    again = (await browser.signs_in()).json()
    assert (await me(door, again))["id"] == user["id"]
    assert [entry["action"] for entry in await trail(place[0], user["id"])] == [
        "user.create",
        "user.sign_in",
        "user.sign_in",
    ]
    async with door.rest() as rest:
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        assert (await rest.post("/v1/auth/token", data=form)).is_success
        form = {"grant_type": "password", "username": "ann", "password": PASSWORD}
        problem(await rest.post("/v1/auth/token", data=form), 401, "unauthenticated")


# ---- what the provider says


NOW = int(time.time())
LATER = NOW + 86_400
BAD_CLAIMS: dict[str, Json] = {
    "another issuer": {"iss": "https://accounts.example.org"},
    "no issuer": {"iss": ...},
    "for another client": {"aud": "another"},
    "for nobody": {"aud": []},
    "for several, made for none of them by name": {"aud": [CLIENT, "another"]},
    "for several, made for another": {"aud": [CLIENT, "another"], "azp": "another"},
    "for us, made for another": {"azp": "another"},
    "expired": {"exp": NOW - 1},
    "without an end": {"exp": ...},
    "with an end that is no time": {"exp": "9999999999"},
    "from the future": {"iat": LATER, "exp": LATER + 60},
    "without a beginning": {"iat": ...},
    "with another nonce": {"nonce": "n" * 43},
    "without a nonce": {"nonce": ...},
    "about nobody": {"sub": ...},
    "about an empty subject": {"sub": ""},
    "about too long a subject": {"sub": "s" * 256},
    "about a subject that cannot be kept": {"sub": "s\x00"},
}


@pytest.mark.parametrize("why", BAD_CLAIMS)
async def test_a_token_with_wrong_claims_is_refused(provider: OpenIdProvider, browser: Browser, why: str) -> None:
    provider.claims |= BAD_CLAIMS[why]
    assert await browser.is_refused() == "provider"


async def test_several_audiences_are_fine_when_it_was_made_for_us(provider: OpenIdProvider, browser: Browser) -> None:
    provider.claims |= {"aud": ["another", CLIENT], "azp": CLIENT, "iat": time.time(), "weight": 1.5}
    assert (await browser.signs_in()).is_success


@pytest.mark.parametrize(
    "how",
    [
        "unsigned",
        "none_with_a_signature",
        "with_the_public_key_as_secret",
        "with_the_client_secret",
        "by_somebody_else",
        "with_a_claim_twice",
        "with_a_critical_header",
        "too_long",
    ],
)
async def test_a_token_that_is_not_signed_as_it_must_be_is_refused(
    provider: OpenIdProvider, browser: Browser, how: str
) -> None:
    provider.sign = getattr(provider, how)
    assert await browser.is_refused() == "provider"


async def test_keys_are_looked_for_again_but_not_for_ever(provider: OpenIdProvider, place: tuple[str, str]) -> None:
    """A hub of its own: it keeps what it knows of keys. Those it can do nothing with are in nobody's way."""
    dsn, redis_url = place
    good = rsa_key("one")[1]
    provider.strange_keys = [
        {**good, "use": "enc"},
        {**good, "alg": "RS512"},
        {**good, "n": 5},
        {**good, "n": "AQAB"},
        {"kty": "oct", "kid": "one", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "EC", "kid": "one", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "EC", "kid": "one", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "kid": ["one"], "crv": 1},
        {"kty": "OKP", "kid": "one", "crv": "Ed25519", "x": "AA"},
        {},
        "one",
    ]
    async with (
        running_worker(settings_for(dsn, redis_url, **provider.settings)) as door,
        browsing(door, provider) as browser,
    ):
        assert (await browser.signs_in()).is_success
        assert (await browser.signs_in()).is_success
        assert provider.asked["/keys"] == 1
        assert provider.asked["/.well-known/openid-configuration"] == 1
        provider.key = "two"  # changed without notice
        assert (await browser.signs_in()).is_success
        assert provider.asked["/keys"] == 2
        for number in range(3):
            provider.header = {"kid": f"unknown-{number}"}
            assert await browser.is_refused() == "provider"
        assert provider.asked["/keys"] == 2
        provider.header = {"kid": ...}  # there is one key only
        assert (await browser.signs_in()).is_success


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, b"not JSON"), "provider"),
        ((200, b"[]"), "provider"),
        ((200, b'{"access_token": "x"}'), "provider"),
        ((400, b'{"error": "invalid_grant"}'), "provider"),
        ((500, b"{}"), "unavailable"),
    ],
)
async def test_an_answer_for_the_code_that_is_none(
    provider: OpenIdProvider, browser: Browser, answer: tuple[int, bytes], reason: str
) -> None:
    provider.answer = answer
    assert await browser.is_refused() == reason


async def test_an_answer_is_bounded_and_comes_from_where_it_was_asked(
    provider: OpenIdProvider, browser: Browser
) -> None:
    provider.filler = 300_000
    assert await browser.is_refused() == "provider"
    provider.filler, provider.moved = 0, True
    assert await browser.is_refused() == "provider"
    assert not provider.asked["/elsewhere"], "the code was given to somebody else"
    provider.moved = False
    assert (await browser.signs_in()).is_success


async def test_a_description_that_is_not_the_issuers_or_leads_into_the_open(
    provider: OpenIdProvider, place: tuple[str, str]
) -> None:
    """One hub that has found none yet: what is wrong is asked for anew."""
    dsn, redis_url = place
    async with (
        running_worker(settings_for(dsn, redis_url, **provider.settings)) as door,
        browsing(door, provider) as browser,
    ):
        for wrong in (
            {"issuer": "https://accounts.example.org"},
            {"issuer": provider.url + "/"},
            {"token_endpoint": "http://192.0.2.1/token"},
            {"jwks_uri": "http://192.0.2.1/keys"},
            {"authorization_endpoint": "javascript:alert(1)"},
            {"token_endpoint": ...},
        ):
            provider.description = wrong
            assert await browser.begin() == "/#sign-in-failed=provider", wrong
        provider.description = {
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "authorization_response_iss_parameter_supported": True,
        }
        provider.public = False
        assert await browser.is_refused() == "provider"  # it says that it names itself, and does not
        provider.names_itself = provider.url
        assert (await browser.signs_in()).is_success


@pytest.mark.parametrize(
    ("error", "reason"), [("access_denied", "cancelled"), ("<script>", "provider"), ("server_error", "provider")]
)
async def test_the_provider_says_no(provider: OpenIdProvider, browser: Browser, error: str, reason: str) -> None:
    provider.refuses = error
    assert await browser.is_refused() == reason


async def test_an_answer_of_another_provider_is_not_mixed_up(provider: OpenIdProvider, browser: Browser) -> None:
    provider.names_itself = "https://accounts.example.org"
    assert await browser.is_refused() == "provider"
    assert not provider.asked["/token"], "the code was given to somebody"
    provider.names_itself = provider.url
    assert (await browser.signs_in()).is_success


# ---- whose sign-in it is


async def test_a_way_back_works_once(provider: OpenIdProvider, browser: Browser) -> None:
    url = await browser.at_provider()
    what, code = await browser.back(url)
    assert what == "sign-in"
    assert await browser.back(url) == ("sign-in-failed", "expired")
    assert (await browser.redeem(code)).is_success
    problem(await browser.redeem(code), 401, "unauthenticated")


async def test_the_providers_code_works_once(provider: OpenIdProvider, browser: Browser) -> None:
    used = parse_qs(urlsplit(await browser.at_provider()).query)
    assert (await browser.back(f"{CALLBACK}?state={used['state'][0]}&code={used['code'][0]}"))[0] == "sign-in"
    state = parse_qs(urlsplit(await browser.begin()).query)["state"][0]
    assert await browser.back(f"{CALLBACK}?state={state}&code={used['code'][0]}") == ("sign-in-failed", "provider")


async def test_a_code_of_another_sign_in_is_not_taken(provider: OpenIdProvider, browser: Browser) -> None:
    """Injected into one's own: the verifier and the nonce are not its own."""
    injected = parse_qs(urlsplit(await browser.at_provider()).query)["code"][0]
    state = parse_qs(urlsplit(await browser.begin()).query)["state"][0]
    assert await browser.back(f"{CALLBACK}?state={state}&code={injected}") == ("sign-in-failed", "provider")


async def test_what_another_browser_has_begun_gets_nobody_anywhere(
    door: Door, provider: OpenIdProvider, browser: Browser
) -> None:
    async with browsing(door, provider) as victim:
        assert await victim.back(await browser.at_provider()) == ("sign-in-failed", "expired")
        await victim.begin()  # has a cookie of its own
        assert await victim.back(await browser.at_provider()) == ("sign-in-failed", "expired")
        _, code = await browser.back(await browser.at_provider())
        problem(await victim.redeem(code), 401, "unauthenticated")
        problem(await browser.redeem(code), 401, "unauthenticated")  # it was used up


async def test_a_browser_may_begin_several_at_once(provider: OpenIdProvider, browser: Browser) -> None:
    first, second = await browser.at_provider(), await browser.at_provider()
    (_, one), (_, two) = await browser.back(second), await browser.back(first)
    assert (await browser.rest.post(TOKEN, json={"code": one})).is_success
    problem(await browser.redeem(two), 401, "unauthenticated")  # signed in: the browser has forgotten


@pytest.mark.parametrize(
    "query", ["", "?state=x&code=y", "?code=y", f"?state={'s' * 43}&code=y", "?error=access_denied"]
)
async def test_a_way_back_that_nobody_was_sent(browser: Browser, query: str) -> None:
    await browser.begin()
    assert await browser.back(CALLBACK + query) == ("sign-in-failed", "expired")


async def test_nothing_that_is_sent_is_somewhere_to_go_to(provider: OpenIdProvider, browser: Browser) -> None:
    answer = await browser.rest.get(BEGIN, params={"redirect_uri": "https://evil.example", "next": "//evil.example"})
    assert answer.headers["location"].startswith(provider.url + "/authorize?")
    assert "evil" not in answer.headers["location"]
    back = await browser.at_provider()
    assert (await browser.back(f"{back}&state=twice"))[1] == "provider"
    assert (await browser.back(f"{back}&redirect_uri=https://evil.example"))[0] == "sign-in"


@pytest.mark.parametrize("host", ["hub.evil.example", "127.0.0.1.evil.example"])
async def test_a_forged_host_is_not_where_codes_go(browser: Browser, host: str) -> None:
    answer = await browser.rest.get(BEGIN, headers={"Host": host})
    assert answer.headers["location"] == "/#sign-in-failed=address"


async def test_the_cookie_is_for_the_hub_alone(
    provider: OpenIdProvider, browser: Browser, place: tuple[str, str]
) -> None:
    cookie = (await browser.rest.get(BEGIN)).headers["set-cookie"].lower()
    assert cookie.startswith("hub-oidc=")
    assert {"httponly", "samesite=lax", "path=/", "max-age=600"} <= set(cookie.split("; "))
    dsn, redis_url = place
    public = settings_for(dsn, redis_url, public_url="https://hub.example.org", **provider.settings)
    async with running_worker(public) as door, door.rest() as rest:
        answer = await rest.get(BEGIN, headers={"Host": "whatever.example"})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-hub-oidc=")
        assert {"secure", "path=/", "httponly", "samesite=lax"} <= set(cookie.lower().split("; "))
        assert "domain" not in cookie.lower()
        sent = parse_qs(urlsplit(answer.headers["location"]).query)
        assert sent["redirect_uri"] == ["https://hub.example.org" + CALLBACK]


async def test_secrets_of_a_sign_in_are_stored_as_hashes(
    provider: OpenIdProvider, browser: Browser, place: tuple[str, str]
) -> None:
    state = parse_qs(urlsplit(await browser.begin()).query)["state"][0]
    client = redis.asyncio.Redis.from_url(place[1])
    keys = [key async for key in client.scan_iter("hub:oidc-flow:*")]
    values = [await client.get(key) for key in keys]
    assert all([0 < await client.ttl(key) <= 600 for key in keys])
    await client.aclose()
    told = repr((keys, values))
    assert keys
    assert state not in told
    assert browser.rest.cookies["hub-oidc"] not in told


# ---- who it is


async def test_nobody_becomes_somebody_who_is_here_already(
    door: Door, provider: OpenIdProvider, browser: Browser
) -> None:
    await door.register("Bob")
    provider.person = {
        "sub": "mallory",
        "preferred_username": "bob",
        "email": "bob@example.org",
        "email_verified": True,
    }
    name = (await me(door, (await browser.signs_in()).json()))["name"]
    assert name.startswith("bob-")
    provider.person = {"sub": "Mallory", "preferred_username": "bob"}  # subjects are told apart by every letter
    assert (await me(door, (await browser.signs_in()).json()))["name"] not in ("Bob", "bob", name)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "carol@example.org", "name": "Carol"}, "carol@example.org"),
        ({"name": " Dave  of/Sales\u202e\x00 "}, "Dave  of-Sales"),
        ({"preferred_username": "\u200b", "nickname": "erin"}, "erin"),
        ({"preferred_username": 7, "name": "f" * 100}, "f" * 64),
        ({"preferred_username": "00000000-0000-0000-0000-000000000000", "nickname": ["x"]}, "user"),
    ],
)
async def test_names_are_made_harmless(
    door: Door, provider: OpenIdProvider, browser: Browser, claims: Json, name: str
) -> None:
    provider.person |= claims
    found = (await me(door, (await browser.signs_in()).json()))["name"]
    assert found == name or (name == "user" and found.startswith("user-"))


async def test_somebody_who_comes_twice_at_once_is_one_user(
    door: Door, provider: OpenIdProvider, browser: Browser, place: tuple[str, str]
) -> None:
    provider.person = {"sub": "twin"}
    urls = [await browser.at_provider() for _ in range(4)]
    told = await asyncio.gather(*(browser.back(url) for url in urls))
    assert {what for what, _ in told} == {"sign-in"}
    assert await count(place[0], "SELECT count(*) FROM identities WHERE subject = 'twin'") == 1
    assert await count(place[0], "SELECT count(*) FROM users u WHERE name LIKE 'user%'") >= 1


async def test_rights_are_decided_anew_at_each_sign_in(
    door: Door, provider: OpenIdProvider, browser: Browser, place: tuple[str, str]
) -> None:
    provider.person = {"sub": "root", "groups": ["staff", "hub-admins"]}
    tokens = (await browser.signs_in()).json()
    user = (await me(door, tokens))["id"]
    async with door.rest(tokens["access_token"]) as rest:
        assert (await rest.get("/v1/admin/users")).is_success
        provider.person = {"sub": "root", "groups": ["staff"]}
        assert (await browser.signs_in()).is_success
        problem(await rest.get("/v1/admin/users"), 403, "forbidden")  # also what was given out before
    changes = [entry["admin"] for entry in await trail(place[0], user) if entry["action"] == "user.admin"]
    assert changes == [True, False]


async def test_who_lacks_what_is_required_does_not_come_in(
    provider: OpenIdProvider, browser: Browser, place: tuple[str, str]
) -> None:
    provider.person = {"sub": "outsider"}
    wrong: list[Any] = [..., "hub", {"access": "hubs"}, {"access": []}, {"access": {"hub": "hub"}}]
    for realm in wrong:
        provider.claims = {"realm": realm}
        assert await browser.is_refused() == "not-allowed"
    assert await count(place[0], "SELECT count(*) FROM identities WHERE subject = 'outsider'") == 0


async def test_who_is_suspended_stays_out(
    door: Door, provider: OpenIdProvider, browser: Browser, place: tuple[str, str]
) -> None:
    provider.person = {"sub": "suspended"}
    user = (await me(door, (await browser.signs_in()).json()))["id"]
    _, code = await browser.back(await browser.at_provider())
    store = Store(place[0])
    await Administration(store).suspend(None, user)
    await store.close()
    problem(await browser.redeem(code), 401, "unauthenticated")
    assert await browser.is_refused() == "suspended"


async def test_a_code_ends_with_the_credentials(door: Door, provider: OpenIdProvider, browser: Browser) -> None:
    provider.person = {"sub": "everywhere"}
    tokens = (await browser.signs_in()).json()
    _, code = await browser.back(await browser.at_provider())
    async with door.rest(tokens["access_token"]) as rest:
        assert (await rest.post("/v1/auth/signout-all", json={})).is_success
    problem(await browser.redeem(code), 401, "unauthenticated")


async def test_who_is_erased_is_known_no_more(
    door: Door, provider: OpenIdProvider, browser: Browser, place: tuple[str, str]
) -> None:
    provider.person = {"sub": "forgotten", "name": "Frank"}
    tokens = (await browser.signs_in()).json()
    user = (await me(door, tokens))["id"]
    async with door.rest(tokens["access_token"]) as rest:
        lines = [json.loads(line) for line in (await rest.get("/v1/me/export")).text.splitlines()]
        assert [(one["issuer"], one["subject"]) for one in lines if one["kind"] == "identity"] == [
            (provider.url, "forgotten")
        ]
        erased = await rest.request("DELETE", "/v1/me", json={})  # without a password: they have none
        assert erased.status_code == 202
    assert await count(place[0], "SELECT count(*) FROM identities WHERE subject = 'forgotten'") == 0
    again = await me(door, (await browser.signs_in()).json())
    assert again["name"] == "Frank"
    assert again["id"] != user


async def test_an_organisation_that_is_named_is_where_one_is_at_home(
    door: Door, provider: OpenIdProvider, place: tuple[str, str]
) -> None:
    """A worker of its own, where what another one has begun goes on, too, and the other way round."""
    dsn, redis_url = place
    store = Store(dsn)
    async with store.transaction() as db:
        await organisations.create(db, NewOrganisation(org := OrganisationId(new_id()), "Tenant One"))
    await Administration(store).link(await user_named(dsn, "linked"), issuer=provider.url, subject="linked")
    with pytest.raises(Conflict):
        await Administration(store).link("linked", issuer=provider.url, subject="linked")
    await store.close()
    settings = settings_for(dsn, redis_url, oidc_organisation_claim="urn:tenant.name", **provider.settings)
    async with (
        running_worker(settings, "test:2:b") as one,
        browsing(one, provider) as browser,
    ):
        for wrong in ({}, {"urn:tenant": {"name": "tenant two"}}, {"urn:tenant": {"name": ["Tenant One"]}}):
            provider.claims = wrong
            assert await browser.is_refused() == "not-allowed"
        provider.claims = {"urn:tenant": {"name": "tenant one"}}
        browser.rest.base_url = httpx2.URL(door.url)
        back = await browser.at_provider()
        browser.rest.base_url = httpx2.URL(one.url)
        what, code = await browser.back(back.removeprefix(door.url))
        assert what == "sign-in", code
        browser.rest.base_url = httpx2.URL(door.url)
        tokens = (await browser.redeem(code)).json()
        browser.rest.base_url = httpx2.URL(one.url)
        async with one.rest(tokens["access_token"]) as rest:
            (home,) = (await rest.get("/v1/organisations")).json()["items"]
        assert (home["id"], home["home"]) == (org, True)
        # Whom the operator has linked is who they were, where they were.
        provider.person, provider.claims = {"sub": "linked"}, {}
        assert (await me(one, (await browser.signs_in()).json()))["name"] == "linked"


async def test_without_redis_or_a_provider_the_page_is_told_so(place: tuple[str, str]) -> None:
    dead = {"oidc_issuer": "http://127.0.0.1:1", "oidc_client_id": CLIENT}
    with openid_provider() as provider:
        settings = settings_for(place[0], "redis://127.0.0.1:1", **provider.settings)
        async with running_worker(settings) as door, door.rest() as rest:
            assert (await rest.get(BEGIN)).headers["location"] == "/#sign-in-failed=unavailable"
            way_back = await rest.get(f"{CALLBACK}?state={'s' * 43}&code=x")
            assert way_back.headers["location"] == "/#sign-in-failed=unavailable"
            problem(await rest.post(TOKEN, json={"code": "x"}), 503, "unavailable")
    options = oidc_options(settings_for(ANYWHERE, "redis://x", **dead))
    assert options is not None
    gone = Provider(options)
    with pytest.raises(SignInRefused, match="unavailable: discovery: no answer"):
        await gone.check()
    await gone.close()


async def test_a_provider_that_keeps_one_waiting_is_not_waited_for(provider: OpenIdProvider) -> None:
    options = oidc_options(settings_for(ANYWHERE, "redis://x", **provider.settings))
    assert options is not None
    slow = Provider(options, answer_s=0.3)
    provider.drips = threading.Event()  # a byte now and then: each of them is in time
    try:
        with pytest.raises(SignInRefused, match="unavailable: no answer in time"):
            async with asyncio.timeout(90):
                await slow.check()
    finally:
        provider.drips.set()
        await slow.close()


async def test_strangers_stay_out_where_registration_is_closed(
    provider: OpenIdProvider, place: tuple[str, str]
) -> None:
    """As a public client, without a secret: it comes as far as this. On a hub that goes by names of its own."""
    dsn, redis_url = place
    changes = {**provider.settings, "oidc_client_secret": None, "oidc_registration": "closed", "registration": "closed"}
    changes |= {"allowed_hosts": ("127.0.0.1", "hub.example.org")}
    async with (
        running_worker(settings_for(dsn, redis_url, **changes)) as door,
        browsing(door, provider) as browser,
    ):
        assert await browser.is_refused() == "closed"
        begun = await browser.rest.get(BEGIN, headers={"Host": "hub.example.org:444"})
        sent = parse_qs(urlsplit(begun.headers["location"]).query)
        assert sent["redirect_uri"] == ["http://hub.example.org:444" + CALLBACK]
        problem(await browser.rest.get(BEGIN, headers={"Host": "evil.example.org"}), 400, "bad_request")
        answer = await browser.rest.get("/v1/auth/methods")
        assert answer.json() == {"password": True, "oidc": {"name": "Test ID"}, "registration": False}


async def test_a_hub_without_a_provider_says_so(hub: Door) -> None:
    async with hub.rest() as rest:
        assert (await rest.get("/v1/auth/methods")).json() == {"password": True, "oidc": None, "registration": True}
        problem(await rest.get(BEGIN), 404, "not_found")
        problem(await rest.get(CALLBACK), 404, "not_found")
        problem(await rest.post(TOKEN, json={"code": "x"}), 404, "not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"oidc_client_id": None},
        {"oidc_issuer": "http://accounts.example.org"},
        {"oidc_issuer": "accounts.example.org"},
        {"oidc_issuer": "https://me@accounts.example.org"},
        {"oidc_scopes": ("profile",)},
        {"oidc_admin_claim": "groups"},
        {"oidc_required_claim": "=x"},
        {"public_url": "http://hub.example.org"},
        {"public_url": "https://hub.example.org/"},
        {"public_url": "https://hub.example.org/path"},
    ],
)
def test_settings_that_can_never_work(wrong: Json) -> None:
    good = {"oidc_issuer": "https://accounts.example.org", "oidc_client_id": "hub"}
    assert oidc_options(settings_for(ANYWHERE, "redis://x", **good)) is not None
    with pytest.raises(ValueError):
        oidc_options(settings_for(ANYWHERE, "redis://x", **{**good, **wrong}))
