"""What axe finds in the page, in light and dark: nothing; and the session list by keyboard alone."""

import os
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import Visit

AXE = Path(__file__).parents[2] / "clients/node_modules/axe-core/axe.min.js"
HOW_TO = "axe-core is not installed: `npm ci` in clients/"
RUN = """rules => axe.run({ runOnly: rules }).then(({ violations }) => violations.map(({ id, nodes }) =>
  `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`))"""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LIGHT = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
DARK = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}  # all else is the same in any colour


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(HOW_TO)
        pytest.skip(HOW_TO)
    return AXE.read_text()


async def is_fine(page: Page, axe: str, where: str) -> None:
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(axe)
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found: list[str] = await page.evaluate(RUN, DARK if scheme == "dark" else LIGHT)
        assert not found, f"{where}, {scheme}: {found}"


async def test_axe_finds_nothing(visit: Visit, axe: str) -> None:
    ada = await visit("Ada")
    page = ada.page
    await is_fine(page, axe, "a new session")
    await ada.begin(
        "scripted", "# Title\n\n**bold** [link](https://example.org/) `code`\n\n```python\nx = 1  # one\n```"
    )
    await ada.run_ends()
    await ada.begin("scripted-tools", "/script turns=1 tokens=3 tool=transfer key=gold")
    await expect(page.get_by_role("button", name="Approve")).to_be_visible()
    await is_fine(page, axe, "a session that waits for an answer")
    await page.locator(".session-list a").last.click()
    await ada.run_ends()
    await ada.say("/script turns=1 tokens=2000 rate=20")
    await expect(ada.messages().last).to_contain_text("t0.3")
    await is_fine(page, axe, "a running session")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="People here").click()
    await is_fine(page, axe, "the people of a session")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Password")).to_be_visible()
    await is_fine(page, axe, "the sign-in")


async def test_sessions_are_renamed_and_deleted_in_the_list_by_keyboard(visit: Visit, axe: str) -> None:
    ada = await visit("Ada")
    page, keyboard = ada.page, ada.page.keyboard
    await ada.begin("scripted", "the first")
    await ada.run_ends()
    kept = await ada.begin("scripted", "the second")
    await ada.run_ends()
    manage = page.get_by_role("button", name="Manage “the first”")
    await page.locator(".session-list a").last.focus()
    await keyboard.press("Tab")
    await expect(manage).to_be_focused()
    await keyboard.press("Enter")
    await expect(page.get_by_label("Title")).to_be_focused()
    await is_fine(page, axe, "managing a session")
    await keyboard.press("Escape")
    await expect(manage).to_be_focused()
    await keyboard.press("Enter")
    await expect(page.get_by_label("Title")).to_be_focused()
    await keyboard.press("Control+a")
    await keyboard.type("Another name")
    await keyboard.press("Enter")
    await expect(page.locator(".session-list .title").first).to_have_text("Another name")
    renamed = page.get_by_role("button", name="Manage “Another name”")
    await expect(renamed).to_be_focused()
    await deleting(page, renamed)
    await is_fine(page, axe, "deleting a session")
    await keyboard.press("Enter")  # what is asked first is to keep it
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(renamed).to_be_focused()
    await deleting(page, renamed)
    await keyboard.press("Shift+Tab")
    await keyboard.press("Enter")
    await expect(page.locator(".session-list .title")).to_have_text(["the second"])
    await expect(page.locator("[aria-live]").filter(has_text="The session is deleted.")).to_have_count(1)
    await expect(page.locator(".new-session")).to_be_focused()
    assert page.url.endswith(kept), "who looks at another session stays there"


async def deleting(page: Page, manage: Any) -> None:
    """Come to the question whether it shall be deleted."""
    await manage.press("Enter")
    await expect(page.get_by_label("Title")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Keep it")).to_be_focused()
