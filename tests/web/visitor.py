"""Somebody in front of the page: what they see and do, in the words of the page."""

import asyncio
import json
from typing import Any

from playwright.async_api import ConsoleMessage, Error, Locator, Page, WebSocket, WebSocketRoute, expect

from tests.driver import PASSWORD, Door

NOTE = """(selector) => {
  window.noted = [];
  const note = () => window.noted.push(document.querySelector(selector)?.outerHTML ?? "");
  new MutationObserver(note).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""

NOTED = "words => window.noted.some((html) => html.includes(words))"


class Visitor:
    """One browser page. `errors` is what the page logged, `received` the frames it got, as objects."""

    def __init__(self, page: Page, door: Door, name: str) -> None:
        self.page = page
        self.door = door
        self.name = name
        self.errors: list[str] = []
        self.received: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.routes: list[WebSocketRoute] = []
        page.on("console", self._log)
        page.on("pageerror", self._failed)
        page.on("websocket", self._watch)

    async def register(self) -> None:
        """Make an account on the page and wait until it is connected."""
        await self.page.goto(self.door.url)
        await self.page.get_by_role("button", name="Register").click()
        await self.page.get_by_label("Name").fill(self.name)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Create account").click()
        await self.is_connected()

    async def is_connected(self) -> None:
        await expect(self.page.locator(".link-state")).to_have_text("connected")

    async def begin(self, team: str, text: str) -> str:
        """Start a session with a team; gives its id."""
        await self.page.locator(".new-session").click()
        await self.page.locator(".team-card", has=self.page.locator(f"input[value='{team}']")).click()
        await self.page.get_by_label("What is it about?").fill(text)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url("**/#/s/*")
        return self.page.url.rsplit("/", 1)[1]

    async def say(self, text: str) -> None:
        await self.box.fill(text)
        await self.box.press("Enter")

    async def open(self, session: str) -> None:
        await self.page.goto(f"{self.door.url}/#/s/{session}")

    @property
    def box(self) -> Locator:
        return self.page.locator("#composer")

    @property
    def banner(self) -> Locator:
        return self.page.locator(".banner")

    def messages(self, agent: str | None = None) -> Locator:
        """What agents have written, one of them or all."""
        every = self.page.locator("article.message.agent")
        return every.filter(has=self.page.locator(".name", has_text=agent)) if agent else every

    async def texts(self) -> list[str]:
        """The text of each agent's message, in the order of the page."""
        # `textContent`: the browser does not lay out what is far from the screen, and has no `innerText` of it.
        return [" ".join(text.split()) for text in await self.messages().locator(".prose").all_text_contents()]

    async def run_ends(self, notice: str = "turns ·") -> None:
        await expect(self.page.locator(".notice", has_text=notice).last).to_be_visible()

    async def notes(self, selector: str) -> None:
        """Note from now on whatever this element, or its absence, becomes: what is shown for a moment may be gone when
        one looks (`noted`)."""
        await self.page.evaluate(NOTE, selector)

    async def noted(self, words: str) -> None:
        """Wait until the element has shown these words, or had them as a label."""
        async with asyncio.timeout(60):
            while not await self.page.evaluate(NOTED, words):  # noqa: ASYNC110 - it happens in the browser
                await asyncio.sleep(0.05)

    async def intercept(self) -> None:
        """Stand in the middle of every socket from now on, so that a test can cut it (`routes`)."""

        def through(route: WebSocketRoute) -> None:
            route.connect_to_server()
            self.routes.append(route)

        await self.page.route_web_socket("**/v1/ws*", through)

    def _log(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _failed(self, error: Error) -> None:
        self.errors.append(str(error))

    def _watch(self, socket: WebSocket) -> None:
        def received(raw: bytes | str) -> None:
            text = raw if isinstance(raw, str) else raw.decode()
            self.received.extend(json.loads(line) for line in text.split("\n"))

        def sent(raw: bytes | str) -> None:
            self.sent.append(json.loads(raw))

        socket.on("framereceived", received)
        socket.on("framesent", sent)
