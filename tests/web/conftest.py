"""A browser in front of a real hub."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.driver import Door
from tests.web.visitor import Visitor

FLAGS = [
    "--no-sandbox",  # Chromium refuses to run as root without it
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEADLINE_MS = 60_000  # a page of a busy machine is slow
HOW_TO = "Chromium is not installed: `apt-get install chromium` (Debian, Ubuntu), or put any `chromium` on the PATH"

Visit = Callable[..., Awaitable[Visitor]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "visit" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.web)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium; without one the tests are skipped, but in CI they fail."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(HOW_TO)
        pytest.skip(HOW_TO)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=3 * DEADLINE_MS)
        expect.set_options(timeout=DEADLINE_MS)
        yield browser
        await browser.close()


@pytest.fixture
async def visit(browser: Browser, hub: Door) -> AsyncIterator[Visit]:
    """Opens the page as somebody new, signed in. At the end no page may have logged an error."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    async def open_page(name: str, *, door: Door = hub, **options: object) -> Visitor:
        context = await browser.new_context(**({"viewport": {"width": 1200, "height": 800}} | options))  # type: ignore[arg-type]
        context.set_default_timeout(DEADLINE_MS)
        contexts.append(context)
        visitor = Visitor(await context.new_page(), door, name)
        visitors.append(visitor)
        await visitor.register()
        return visitor

    yield open_page
    for context in contexts:
        await context.close()
    for visitor in visitors:
        assert not visitor.errors, f"{visitor.name}'s page logged {visitor.errors}"
