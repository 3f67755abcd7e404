"""The page itself: safe, operable by keyboard, at home in dark and narrow places."""

from datetime import UTC, datetime, timedelta

from playwright.async_api import expect

from tests.driver import PASSWORD, Door
from tests.web.conftest import Visit

HOSTILE = (
    "**bold** <img src=x onerror=window.broken=1> <script>window.broken=1</script> "
    "[bad](javascript:window.broken=1) ![pixel](https://example.org/pixel.png) [good](https://example.org/)"
)


async def test_what_agents_write_cannot_run_load_or_lead_astray(visit: Visit) -> None:
    ada = await visit("Ada")
    requests: list[str] = []
    ada.page.on("request", lambda request: requests.append(request.url))
    await ada.begin("scripted", HOSTILE)
    await ada.run_ends()
    prose = ada.messages().first.locator(".prose")
    await expect(prose.locator("strong")).to_have_text("bold")
    await expect(prose).to_contain_text("<script>window.broken=1</script>")
    assert await prose.locator("img, script, [onerror]").count() == 0
    links = [await link.get_attribute("href") for link in await prose.locator("a").all()]
    assert links == ["https://example.org/pixel.png", "https://example.org/"]
    assert await prose.locator("a").last.get_attribute("rel") == "noopener noreferrer nofollow"
    assert await ada.page.evaluate("window.broken") is None
    assert all(url.startswith((ada.door.url, "ws://")) for url in requests)


async def test_a_text_that_nests_without_end_is_shown_as_it_was_written(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", ">" * 30_000)
    await ada.run_ends()
    await expect(ada.messages().first.locator(".prose")).to_contain_text(">>>>>>>>")
    await expect(ada.box).to_be_visible()


async def test_code_is_highlighted_and_can_be_copied(visit: Visit) -> None:
    ada = await visit("Ada", permissions=["clipboard-read", "clipboard-write"])
    await ada.begin("scripted", "```python\nasync def one() -> int:\n    return 1\n```")
    await ada.run_ends()
    code = ada.messages().first.locator(".code")
    await expect(code.locator(".hljs-keyword").first).to_be_visible()
    await ada.notes(".code")
    await code.get_by_role("button", name="Copy code").click()
    await ada.noted("Copied")
    assert "return 1" in await ada.page.evaluate("navigator.clipboard.readText()")


async def test_everything_by_keyboard(visit: Visit) -> None:
    ada = await visit("Ada")
    keyboard = ada.page.keyboard
    await ada.begin("scripted", "/script turns=1 tokens=1000 rate=20")
    await expect(ada.messages()).to_contain_text("t0.3")
    await keyboard.press("Escape")
    await expect(ada.page.locator(".notice", has_text="Stopped")).to_be_visible()
    await ada.box.press_sequentially("one")
    await keyboard.press("Shift+Enter")
    await ada.box.press_sequentially("two")
    await keyboard.press("Enter")
    await expect(ada.page.locator("article.user").last).to_contain_text("one\ntwo", use_inner_text=True)
    await expect(ada.box).to_have_value("")
    await keyboard.press("ArrowUp")
    await expect(ada.box).to_have_value("one\ntwo")
    await keyboard.press("Control+k")
    await expect(ada.page.locator("#session-filter")).to_be_focused()
    await keyboard.type("nothing like it")
    await expect(ada.page.locator(".session-list > .nothing")).to_have_text("No session is called that.")
    await keyboard.press("Alt+n")
    await expect(ada.page.get_by_role("heading", name="Start a session")).to_be_visible()


async def test_a_session_can_be_renamed_saved_and_deleted(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script turns=1 tokens=2")
    await ada.run_ends("1 turn")
    await ada.page.get_by_role("button", name="More").click()
    await ada.page.get_by_role("button", name="Rename").click()
    await ada.page.get_by_label("Title").fill("A quiet talk")
    await ada.page.keyboard.press("Enter")
    await expect(ada.page.get_by_role("heading", name="A quiet talk")).to_be_visible()
    await expect(ada.page.locator(".session-list .title")).to_have_text("A quiet talk")
    await ada.page.get_by_role("button", name="More").click()
    async with ada.page.expect_download() as download:
        await ada.page.get_by_role("button", name="Save as Markdown").click()
    saved = await download.value
    assert saved.suggested_filename == "A-quiet-talk.md"
    assert "t0.0 t0.1" in (await saved.path()).read_text()
    await ada.page.get_by_role("button", name="More").click()
    await ada.page.get_by_role("button", name="Delete").click()
    await ada.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(ada.page.locator(".session-list")).to_have_text("No sessions yet.")
    await ada.page.get_by_role("button", name="Why is the sky blue?").click()
    await expect(ada.box).to_have_value("Why is the sky blue?")
    await expect(ada.box).to_be_focused()
    await expect(ada.page.locator(".ideas")).to_have_count(0)


async def test_dark_is_dark_and_can_be_chosen(visit: Visit) -> None:
    ada = await visit("Ada", color_scheme="dark")
    lightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert await ada.page.evaluate(lightness) < 60
    await ada.page.get_by_role("button", name="Colours").click()
    assert await ada.page.evaluate(lightness) > 200
    await ada.page.reload()
    assert await ada.page.evaluate(lightness) > 200


async def test_a_narrow_screen_has_a_drawer_and_no_sideways_scrolling(visit: Visit) -> None:
    ada = await visit("Ada", viewport={"width": 360, "height": 640})
    await ada.page.get_by_label("What is it about?").fill("wide " + "x" * 200)
    await ada.page.keyboard.press("Enter")
    await ada.run_ends()
    assert await ada.page.evaluate("document.documentElement.scrollWidth") <= 360
    await expect(ada.page.locator(".sidebar")).to_be_hidden()
    await ada.page.get_by_role("button", name="Sessions").click()
    await expect(ada.page.locator(".sidebar")).to_be_visible()
    await ada.page.locator(".session-list a").click()
    await expect(ada.page.locator(".sidebar")).to_be_hidden()


async def test_the_page_is_served_with_a_strict_policy(hub: Door) -> None:
    async with hub.rest() as rest:
        page = await rest.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in page.text
    assert " style=" not in page.text


async def test_who_comes_back_to_the_page_sees_what_is_new(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.page.clock.install()
    await ada.page.reload()
    await ada.is_connected()
    await ada.page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))  # no timer looks any more
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        made = await rest.post("/v1/sessions", json={"team": "scripted", "title": "From elsewhere"})
    assert made.status_code == 201
    await ada.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(ada.page.locator(".session-list")).to_contain_text("From elsewhere")


async def test_what_is_pasted_is_never_cut_off(visit: Visit) -> None:
    ada = await visit("Ada")
    send = ada.page.get_by_role("button", name="Send", exact=True)
    await ada.begin("scripted", "/script turns=1 tokens=1")
    await ada.run_ends("1 turn")
    await ada.box.fill("x" * 32_001)
    await expect(ada.page.locator(".too-long")).to_contain_text("32,001 of 32,000 characters")
    await expect(send).to_be_disabled()
    await ada.page.get_by_role("button", name="Attach it as a file").click()
    await expect(ada.page.locator(".attaching li.ready")).to_contain_text("message.txt32 kB")
    await expect(ada.box).to_have_value("")
    await expect(send).to_be_enabled()


async def test_what_one_begins_to_write_waits_for_the_one_who_wrote_it(visit: Visit) -> None:
    ada = await visit("Ada")
    page = ada.page
    session = await ada.begin("scripted-tools", "/script turns=1 tokens=1")
    await ada.run_ends("1 turn")
    await page.locator(".new-session").click()
    await expect(page.locator("input[value='scripted-tools']")).to_be_checked()  # the team one chose last
    await page.get_by_label("What is it about?").fill("a long thought")
    await ada.open(session)
    await ada.box.fill("for the team")
    await page.reload()
    await expect(ada.box).to_have_value("for the team")
    await page.locator(".new-session").click()
    await expect(page.get_by_label("What is it about?")).to_have_value("a long thought")
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        await ada.door.register("Bob")
        assert (await rest.put(f"/v1/sessions/{session}/members/Bob", json={"role": "editor"})).is_success
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_label("Name").fill("Bob")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.locator("button.primary").click()
    await ada.is_connected()
    await expect(page.get_by_label("What is it about?")).to_have_value("")
    await ada.open(session)
    await expect(ada.box).to_have_value("")


async def test_enter_is_a_new_line_where_there_is_no_shift(visit: Visit) -> None:
    ada = await visit("Ada", viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    text = ada.page.get_by_label("What is it about?")
    await text.fill("one")
    await text.press("End")
    await text.press("Enter")
    await text.press_sequentially("two")
    await expect(text).to_have_value("one\ntwo")
    size = "element => parseFloat(getComputedStyle(element).fontSize)"
    assert await ada.page.locator("#session-filter").evaluate(size) >= 16  # else iOS enlarges the page
    await ada.page.get_by_role("button", name="Start").tap()
    await expect(ada.page.locator("article.user .bubble")).to_have_text("one\ntwo")
