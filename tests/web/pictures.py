"""The pictures of README.md, made anew of the page as it is: `python3 dev.py pictures`, in a minute.

A real hub with two workers, a model that says what is written here, two people in Chromium, and `kill -9`."""

import asyncio
import io
import os
import shutil
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from hub_client import connect
from tests.conftest import short_dir
from tests.driver import PASSWORD, Door
from tests.engine.fake_openai import USAGE, FakeOpenAi, Json, delta, finish
from tests.engine.fake_openai import serving as answering
from tests.process.serving import ROOT, Serving, serving
from tests.web.conftest import DEADLINE_MS, FLAGS, HOW_TO
from tests.web.visitor import Visitor

IMAGES = ROOT / "docs" / "images"
QUESTION = "Checkout has become slow since this morning. What happened, and what do we do?"
TEAMS = {
    "incident": """\
name: incident
description: An analyst measures, an engineer repairs, a reviewer looks again.
kind: round_robin
agents:
  - {name: analyst, instructions: You are the analyst.}
  - {name: engineer, instructions: You are the engineer.}
  - {name: reviewer, instructions: You are the reviewer.}
limits: {max_turns: 3}
""",
    "bank": """\
name: bank
description: Pays what it is told to, once somebody has agreed.
kind: round_robin
model: scripted
agents:
  - {name: teller, tools: [transfer]}
limits: {max_turns: 1}
""",
}
SAID = {
    "analyst": """\
The slowdown begins at **09:42** and touches only `POST /checkout`. Everything else is flat.

| Endpoint | p50 before | p50 now | p99 now |
|---|--:|--:|--:|
| `POST /checkout` | 84 ms | 171 ms | 1,240 ms |
| `GET /cart` | 22 ms | 23 ms | 61 ms |
| `GET /products` | 18 ms | 18 ms | 49 ms |

Release **2026.11.4** went out at 09:38. That is the only change in the window.
""",
    "engineer": """\
It is an N+1 query. The release loads tax rates per line of the cart:

```python
for line in cart.lines:
    line.tax = await rates.for_country(line.country)  # one round trip each
```

One query for all countries brings it back to a single round trip:

```python
countries = {line.country for line in cart.lines}
known = await rates.for_countries(countries)
for line in cart.lines:
    line.tax = known[line.country]
```

I would roll back now and ship this tomorrow.
""",
    "reviewer": "I agree: roll back first. The fix is right; add a test that counts the queries of a cart of 50 lines.",
}
ELSE = "Done; the details are in the transcript."
PIECES_A_SECOND = 25

EARLIER = (
    ("duo", "Plan the week in Lisbon", "Plan a week in Lisbon."),
    ("duo", "Review of the onboarding mail", "Review the onboarding mail."),
    ("bank", "Pay the rent", "/script turns=1 tool=transfer key=rent"),
)

WIDTH, HEIGHT, GAP, STRIP = 493, 540, 14, 36  # of a page in the animation, between two, and of the terminal below
EVERY_S = 0.16
STRIP_PAGE = """\
<body style="margin:0;height:36px;background:#111214;color:#e7b95c;font:13px/36px ui-monospace,'Liberation Mono',\
monospace;white-space:pre;padding-left:12px">{}</body>"""


class Colleagues(FakeOpenAi):
    """Each agent says its part, word by word, as fast as one reads."""

    async def _stream(self, body: Json, mode: str, writer: asyncio.StreamWriter) -> None:
        told = str(body["messages"][0]["content"])
        text = next((said for name, said in SAID.items() if f"the {name}" in told), ELSE)
        words = text.replace(" ", " \0").replace("\n", "\n\0").split("\0")
        last: list[Json | str] = [finish(), {"choices": [], "usage": USAGE}, "[DONE]"]
        for data in [*map(delta, words), *last]:
            line = self.frame(data)
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            await writer.drain()
            await asyncio.sleep(1 / PIECES_A_SECOND)
        writer.write(b"0\r\n\r\n")


async def earlier(url: str) -> None:
    """What the list of sessions shows beside the one that matters."""
    async with connect(url, name="Ada", password=PASSWORD) as hub:
        for team, title, text in EARLIER:
            session = await hub.join((await hub.create_session(team, title=title)).id, after_seq=0)
            await session.send(text)
            async for event in session.events():
                if event.type in ("run.finished", "input.requested"):
                    break


async def visitor(browser: Browser, hub: Serving, name: str, **options: object) -> Visitor:
    context = await browser.new_context(locale="en-GB", **options)  # type: ignore[arg-type]
    context.set_default_timeout(DEADLINE_MS)
    came = Visitor(await context.new_page(), Door(hub.url), name)
    await came.register()
    return came


async def conversation(browser: Browser, hub: Serving) -> Visitor:
    """The first picture: an answer that is being written. Gives whose page it is."""
    ada = await visitor(browser, hub, "Ada", viewport={"width": 1200, "height": 806}, device_scale_factor=1.6)
    await earlier(hub.url)
    await ada.page.reload()
    await ada.is_connected()
    await ada.begin("incident", QUESTION)
    await expect(ada.messages("Engineer")).to_contain_text("for_countries(countries)")
    await ada.page.screenshot(path=IMAGES / "conversation.png")
    await ada.run_ends()
    return ada


async def takeover(browser: Browser, hub: Serving, ada: Visitor) -> None:
    """The second one: two people watch, and the worker that runs the team is killed."""
    size: ViewportSize = {"width": WIDTH, "height": HEIGHT}
    bob = await visitor(browser, hub, "Bob", viewport=size, color_scheme="dark")
    ada.received.clear()
    session = await ada.begin("incident", QUESTION)
    await ada.page.set_viewport_size(size)
    tokens = [await ada.door.sign_in(who.name) for who in (ada, bob)]
    async with ada.door.rest(tokens[0]) as rest, bob.door.rest(tokens[1]) as his:
        bobs_id = (await his.get("/v1/me")).json()["id"]
        invited = await rest.put(f"/v1/sessions/{session}/members/{bobs_id}", json={"role": "viewer"})
        assert invited.is_success, invited.text
    await bob.open(session)
    terminal = await (await browser.new_context(viewport={"width": 2 * WIDTH + GAP, "height": STRIP})).new_page()
    await terminal.set_content(STRIP_PAGE.format("$"))
    strip = await terminal.screenshot()
    await expect(ada.messages("Analyst")).to_contain_text("flat")

    frames: list[tuple[float, Image.Image]] = []
    killed, ended = False, 0.0
    while not ended or time.monotonic() < ended + 1:
        began = time.monotonic()
        frames.append((began, beside(*await asyncio.gather(shot(ada.page), shot(bob.page)), strip)))
        texts = await ada.texts()
        if not killed and "round trip each" in texts[-1]:
            node = next(frame["data"]["node"] for frame in ada.received if frame["type"] == "run.started")
            pid = int(node.rsplit(":", 2)[1])
            os.kill(pid, signal.SIGKILL)
            killed = True
            told = f"$ kill -9 {pid}      # the worker that was writing; half a second later another goes on"
            await terminal.set_content(STRIP_PAGE.format(told))
            strip = await terminal.screenshot()
        if not ended and "counts the queries" in texts[-1]:
            ended = time.monotonic()
        await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))
    moments = [moment for moment, _ in frames]
    lasting = [round(1000 * (after - before)) for before, after in pairwise(moments)]
    first, *others = [image for _, image in frames]
    first.save(
        IMAGES / "takeover.webp", save_all=True, append_images=others, duration=[*lasting, 2000], loop=0,
        quality=70, method=6,
    )  # fmt: skip


async def shot(page: Page) -> bytes:
    return await page.screenshot(scale="css")


def beside(left: bytes, right: bytes, below: bytes) -> Image.Image:
    whole = Image.new("RGB", (2 * WIDTH + GAP, HEIGHT + STRIP), "#111214")
    for picture, place in ((left, (0, 0)), (right, (WIDTH + GAP, 0)), (below, (0, HEIGHT))):
        whole.paste(Image.open(io.BytesIO(picture)), place)
    return whole


async def main() -> int:
    """0 when both pictures are there."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        print(HOW_TO, file=sys.stderr)
        return 1
    folder = short_dir()
    teams = folder / "teams"
    teams.mkdir()
    for name, text in TEAMS.items():
        (teams / f"{name}.yaml").write_text(text)
    model = Colleagues()
    try:
        async with answering(model), async_playwright() as playwright:
            expect.set_options(timeout=DEADLINE_MS)
            variables = {
                "HUB_DEFAULT_MODEL": "openai",
                "HUB_OPENAI_BASE_URL": f"{model.url}/v1",
                "HUB_OPENAI_API_KEY": "none",
                "HUB_OPENAI_MODEL": "frontier",
                "HUB_TEAMS_DIR": str(teams),
            }
            with serving(folder / "data", "--workers", "2", **variables) as hub:
                browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
                await takeover(browser, hub, await conversation(browser, hub))
                await browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for picture in (IMAGES / "conversation.png", IMAGES / "takeover.webp"):
        print(f"{picture.relative_to(Path.cwd())}: {picture.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
