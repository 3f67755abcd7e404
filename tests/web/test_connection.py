"""What the page does when the connection, the credential or the hub goes away."""

import asyncio

from playwright.async_api import Route, expect

from tests.conftest import running_worker, settings_for
from tests.web.conftest import Visit
from tests.web.test_conversation import words
from tests.web.visitor import NOTED


async def test_a_lost_connection_is_said_and_made_good(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.intercept()
    await ada.page.reload()
    await ada.is_connected()
    await ada.begin("scripted", "/script turns=1 tokens=120 rate=40")
    await expect(ada.messages("Alpha")).to_contain_text("t0.5")
    await ada.page.context.set_offline(True)
    await ada.routes[-1].close(code=4001)
    await expect(ada.banner).to_contain_text("You are offline")
    await ada.say("/script turns=1 tokens=3")
    await expect(ada.page.locator(".pending")).to_contain_text("Sent when the hub is there again")
    await ada.notes(".banner")
    await ada.page.context.set_offline(False)
    await ada.noted("Connected again")
    await expect(ada.page.locator(".notice", has_text="1 turn")).to_have_count(2)
    assert await ada.texts() == [words(0, 120), words(0, 3)]
    await expect(ada.page.locator("article.user")).to_have_count(2)
    await expect(ada.banner).to_be_hidden()
    ada.errors = [error for error in ada.errors if "ERR_INTERNET_DISCONNECTED" not in error]


async def test_a_first_connection_that_takes_long_is_no_return(visit: Visit) -> None:
    ada = await visit("Ada")
    may_go = asyncio.Event()

    async def hold(route: Route) -> None:
        await may_go.wait()
        await route.continue_()

    await ada.page.route("**/v1/auth/tickets", hold)
    await ada.page.reload()
    await expect(ada.banner).to_contain_text("Connecting…")
    await ada.notes(".banner")
    may_go.set()
    await ada.is_connected()
    await expect(ada.banner).to_be_hidden()
    assert not await ada.page.evaluate(NOTED, "Connected again")


async def test_a_page_whose_style_sheet_did_not_come_is_loaded_again(visit: Visit) -> None:
    ada = await visit("Ada")

    async def busy(route: Route) -> None:
        await route.fulfill(status=503, content_type="application/problem+json", body="{}")

    await ada.page.route("**/assets/*.css", busy, times=1)
    await ada.page.reload()
    await ada.is_connected()
    await expect(ada.page.locator(".workspace")).to_have_css("display", "grid")
    assert await ada.page.evaluate("sessionStorage.getItem('agent-hub.loads')") is None
    ada.errors = [error for error in ada.errors if "503" not in error and "MIME" not in error]


async def test_a_message_without_an_answer_is_said_once(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.intercept()
    await ada.page.reload()
    await ada.is_connected()
    await ada.begin("scripted", "/script turns=1 tokens=1")
    await ada.run_ends("1 turn")
    route = ada.routes[-1]
    route.on_message(lambda _: None)  # swallows what the page says from now on
    await ada.say("/script turns=1 tokens=4")
    await route.close(code=4000)
    await expect(ada.page.locator(".notice", has_text="1 turn")).to_have_count(2)
    assert await ada.texts() == [words(0, 1), words(0, 4)]
    await expect(ada.page.locator("article.user")).to_have_count(2)


async def test_an_access_that_was_revoked_is_not_tried_again(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.intercept()
    await ada.page.reload()
    await ada.is_connected()
    await ada.routes[-1].close(code=4503)
    await expect(ada.banner).to_contain_text("Your access was revoked.")
    await ada.page.get_by_role("button", name="Sign in again").click()
    await expect(ada.page.get_by_label("Password")).to_be_visible()
    assert len(ada.routes) == 1


async def test_an_expiring_token_is_renewed_without_a_word(visit: Visit, dsn: str, redis_url: str) -> None:
    async with running_worker(settings_for(dsn, redis_url, access_token_s=10), "test:2:b") as door:
        ada = await visit("Ada", door=door)
        await ada.begin("scripted", "/script turns=1 tokens=120 rate=10.5")  # longer than the token lives
        await expect(ada.page.locator(".notice", has_text="1 turn")).to_be_visible()
        assert await ada.texts() == [words(0, 120)]
        assert any(frame["type"] == "auth" for frame in ada.sent)
        assert sum(frame["type"] == "hello" for frame in ada.received) == 1
        await ada.page.close()


async def test_signing_out_ends_it_everywhere(visit: Visit) -> None:
    ada = await visit("Ada")
    other = await ada.page.context.new_page()
    await other.goto(ada.door.url)
    await expect(other.locator(".link-state")).to_have_text("connected")
    await ada.page.get_by_role("button", name="Sign out").click()
    await expect(ada.page.get_by_label("Password")).to_be_visible()
    await expect(other.get_by_label("Password")).to_be_visible()
    await ada.page.reload()
    await expect(ada.page.get_by_label("Password")).to_be_visible()


async def test_a_wrong_password_is_said(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.page.get_by_role("button", name="Sign out").click()
    await ada.page.get_by_label("Name").fill("Ada")
    await ada.page.get_by_label("Password").fill("not the password")
    await ada.page.locator("button[type=submit]").click()
    await expect(ada.page.get_by_role("alert")).to_be_visible()
    ada.errors = [error for error in ada.errors if "40" not in error]  # the browser logs the answer by itself


async def test_who_is_taken_out_of_a_session_is_told(visit: Visit) -> None:
    ada, bob = await visit("Ada"), await visit("Bob")
    session = await ada.begin("scripted", "/script turns=1 tokens=2")
    await ada.run_ends("1 turn")
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        await rest.put(f"/v1/sessions/{session}/members/Bob", json={"role": "editor"})
        await bob.open(session)
        await bob.run_ends("1 turn")
        await expect(bob.box).to_be_visible()
        async with bob.door.rest(await bob.door.sign_in("Bob")) as his:
            bobs_id = (await his.get("/v1/me")).json()["id"]
        gone = await rest.delete(f"/v1/sessions/{session}/members/{bobs_id}")
        assert gone.is_success, gone.text
    await expect(bob.page.locator(".failed-view")).to_contain_text("not a member")
    await expect(bob.page.locator(".session-list a")).to_have_count(0)
    await bob.page.get_by_role("link", name="Start a new session").click()
    await expect(bob.page.get_by_label("What is it about?")).to_be_visible()
