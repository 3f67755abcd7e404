"""Signing in with an OpenID provider, on the page, in a browser: cookies, redirects and the address are its own."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import Door
from tests.provider import OpenIdProvider, openid_provider
from tests.web.visitor import Visitor

pytestmark = pytest.mark.web


class Place:
    """A hub and its provider; every page is of somebody who was never here."""

    def __init__(self, browser: Browser, door: Door, provider: OpenIdProvider) -> None:
        self.door, self.provider = door, provider
        self._browser = browser
        self.contexts: list[BrowserContext] = []

    async def page(self) -> Page:
        self.contexts.append(await self._browser.new_context())
        return await self.contexts[-1].new_page()


@pytest.fixture(scope="module")
async def place(browser: Browser, cluster: Cluster, valkey_server: str) -> AsyncIterator[Place]:
    dsn = await cluster.clone()
    with openid_provider() as provider:
        changes = provider.settings | {"registration": "closed", "oidc_registration": "open"}
        async with running_worker(settings_for(dsn, valkey_server, **changes)) as door:
            place = Place(browser, door, provider)
            yield place
            for context in place.contexts:
                await context.close()
    await cluster.drop(dsn)


async def test_by_a_button_and_back_to_where_one_was(place: Place) -> None:
    place.provider.reset()
    place.provider.person = {"sub": "grace", "preferred_username": "Grace"}
    page = await place.page()
    grace = Visitor(page, place.door, "Grace")
    addresses: list[str] = []
    page.on("framenavigated", lambda frame: addresses.append(frame.url))
    await page.goto(f"{place.door.url}/#/s/00000000-0000-7000-8000-000000000000")
    await page.get_by_role("link", name="Sign in with Test ID").click()
    await grace.is_connected()
    assert page.url == f"{place.door.url}/#/s/00000000-0000-7000-8000-000000000000"
    assert not await page.context.cookies()
    # Tokens were in no address, and the code is in none any more.
    token = await page.evaluate("JSON.parse(localStorage['agent-hub.account']).refresh_token")
    assert len(addresses) >= 2
    assert not any(token in address for address in addresses)
    await page.reload()
    await grace.is_connected()
    # Whoever is signed in stays who they are, wherever they are sent.
    place.provider.person = {"sub": "mallory", "preferred_username": "Mallory"}
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{place.door.url}/v1/auth/oidc")
    await grace.is_connected()
    assert any(url.startswith(place.provider.url) for url in asked)
    assert f"{place.door.url}/v1/auth/oidc/token" not in asked
    assert await page.evaluate("JSON.parse(localStorage['agent-hub.account']).user.name") == "Grace"


async def test_why_it_did_not_work_is_said_in_our_words(place: Place) -> None:
    place.provider.reset()
    place.provider.refuses = "access_denied"
    page = await place.page()
    await page.goto(place.door.url)
    await expect(page.get_by_role("link", name="Sign in with Test ID")).to_be_visible()
    await expect(page.get_by_role("button", name="Register")).to_have_count(0)  # strangers may not
    await page.get_by_role("link", name="Sign in with Test ID").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("You have not signed in")
    assert page.url == f"{place.door.url}/"
    await page.goto("about:blank")
    await page.goto(f"{place.door.url}/#sign-in-failed=send-your-password-to-me")
    await expect(alert).to_have_text("Signing in did not work. Please try again.")
    # A code that somebody else has got is good for nothing here.
    await page.goto("about:blank")
    await page.goto(f"{place.door.url}/#sign-in={'x' * 43}")
    await expect(alert).to_contain_text("sign in again")
