"""A conversation as people see it in the browser."""

import asyncio
import json
from typing import Any

from playwright.async_api import expect

from tests.driver import Door
from tests.web.conftest import Visit


def words(turn: int, tokens: int) -> str:
    return " ".join(f"t{turn}.{i}" for i in range(tokens))


async def test_two_agents_answer_and_the_log_says_the_same(visit: Visit) -> None:
    ada = await visit("Ada")
    session = await ada.begin("scripted", "/script turns=2 tokens=30 rate=100")
    await ada.run_ends("2 turns")
    assert await ada.texts() == [words(0, 30), words(1, 30)]
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        transcript = (await rest.get(f"/v1/sessions/{session}/transcript")).json()["messages"]
    assert [m["text"].strip() for m in transcript][1:] == await ada.texts()
    await expect(ada.page.locator("[aria-live=polite]")).to_contain_text("2 turns")


async def test_autogen_agents_answer(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted-autogen", "/script turns=3 tokens=5")
    await ada.run_ends("3 turns")
    assert await ada.texts() == [words(0, 5), words(1, 5), words(2, 5)]


async def test_a_reload_in_the_middle_loses_and_repeats_nothing(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script turns=2 tokens=60 rate=40")
    await expect(ada.messages("Alpha")).to_contain_text("t0.10")
    await ada.page.reload()
    await expect(ada.messages("Alpha")).to_contain_text("t0.11")
    await ada.run_ends("2 turns")
    assert await ada.texts() == [words(0, 60), words(1, 60)]
    await expect(ada.page.locator("article.user")).to_have_count(1)


async def test_stop_stops_and_keeps_what_was_said(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script turns=2 tokens=1000 rate=10")
    await expect(ada.messages("Alpha").first).to_have_attribute("aria-busy", "true")
    await expect(ada.page.locator(".agent-chip", has_text="Alpha")).to_contain_text("writing")
    await expect(ada.messages("Alpha")).to_contain_text("t0.5")
    await ada.page.get_by_role("button", name="Stop").click()
    await expect(ada.page.locator(".notice", has_text="Stopped")).to_be_visible()
    await expect(ada.messages("Alpha").locator(".tag")).to_have_text("stopped here")
    assert (await ada.texts())[0].startswith(words(0, 5))
    await expect(ada.page.get_by_role("button", name="Stop")).to_be_hidden()


async def test_a_failure_is_said(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script tokens=9 fail_at=3")
    await expect(ada.page.locator(".notice.error")).to_be_visible()
    await expect(ada.messages("Alpha").locator(".tag")).to_have_text("failed here")
    await ada.page.get_by_role("button", name="Try again").click()
    await expect(ada.page.locator(".fold.branch")).to_contain_text("Earlier version")
    await expect(ada.page.locator(".notice.error")).to_have_count(1)
    await expect(ada.page.locator("article.user")).to_have_count(1)


async def test_agents_speak_at_once_and_a_turn_is_done_again(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.intercept()
    await ada.page.reload()
    await ada.is_connected()
    session = await ada.begin("scripted", "/script turns=1 tokens=2")
    await ada.run_ends("1 turn")
    last = max(frame.get("seq", 0) for frame in ada.received)

    def frame(type_: str, data: dict[str, Any], **more: Any) -> str:
        about = {"type": type_, "session": session, "run": "r", "ts": "2026-11-22T20:00:00.000Z"}
        return json.dumps({**about, "data": data, **more})

    def piece(message: str, agent: str, index: int, text: str) -> str:
        author = {"kind": "agent", "name": agent, "display_name": agent.title()}
        data = {"message": message, "turn": 0, "author": author, "index": index, "text": text}
        return frame("message.delta", data)

    def say(*frames: str) -> None:
        ada.routes[-1].send("\n".join(frames))

    say(piece("a", "alpha", 0, "one "), piece("b", "beta", 0, "uno "), piece("a", "alpha", 1, "two "))
    say(piece("b", "beta", 1, "due "), piece("a", "alpha", 3, "hole "))
    await expect(ada.page.locator("article[aria-busy=true]")).to_have_count(2)
    await expect(ada.messages("Beta")).to_contain_text("uno due")
    assert (await ada.texts())[1:] == ["one two", "uno due"]
    void = {"turn": 0, "attempt": 2, "messages": ["a"], "reason": "worker_lost"}
    say(frame("turn.superseded", void, seq=last + 1))
    await expect(ada.page.locator(".notice.warning")).to_contain_text("done again (worker lost)")
    old = ada.page.locator("article.superseded")
    await expect(old.locator(".prose")).to_have_count(0)
    await old.locator("summary").click()
    await expect(old.locator(".prose")).to_have_text("one two")


async def test_a_second_message_waits_for_its_run(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script turns=1 tokens=40 rate=40")
    await expect(ada.messages("Alpha")).to_contain_text("t0.2")
    await ada.say("/script turns=1 tokens=3")
    await expect(ada.messages()).to_have_count(2)
    await expect(ada.page.locator(".notice", has_text="1 turn")).to_have_count(2)
    assert await ada.texts() == [words(0, 40), words(0, 3)]


async def test_a_tool_call_can_be_opened(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted-tools", "/script turns=1 tokens=3 tool=counter key=visits")
    await ada.run_ends("1 turn")
    call = ada.page.locator("details.tool")
    await expect(call).to_contain_text("counter")
    await expect(call.locator(".tag")).to_have_text("done")
    await call.locator("summary").click()
    await expect(call).to_contain_text('"key": "visits"')


async def test_two_people_see_the_same_and_each_other(visit: Visit) -> None:
    ada, bob = await visit("Ada"), await visit("Bob")
    session = await ada.begin("scripted", "/script turns=1 tokens=2")
    await ada.run_ends("1 turn")
    await ada.page.locator("button.people").click()
    dialog = ada.page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("Bob")
    await dialog.get_by_role("button", name="Invite").click()
    await expect(dialog.get_by_role("status")).to_have_text("Bob is editor of this session.")
    await dialog.get_by_role("button", name="Close").click()

    await bob.open(session)
    await expect(ada.page.locator("button.people .avatar")).to_have_count(2)
    await bob.box.press_sequentially("/script turns=2 tokens=40 rate=60")
    await expect(ada.page.locator(".others")).to_have_text("Bob is typing…")
    await bob.box.press("Enter")
    await expect(ada.page.locator("article.user:not(.mine)")).to_contain_text("Bob")
    await asyncio.gather(ada.run_ends("2 turns"), bob.run_ends("2 turns"))
    assert await ada.texts() == await bob.texts() == [words(0, 2), words(0, 40), words(1, 40)]


async def test_a_viewer_reads_and_cannot_write(visit: Visit) -> None:
    ada, eve = await visit("Ada"), await visit("Eve")
    session = await ada.begin("scripted", "/script turns=1 tokens=2")
    await ada.run_ends("1 turn")
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        answer = await rest.put(f"/v1/sessions/{session}/members/Eve", json={"role": "viewer"})
        assert answer.status_code == 200
    await eve.open(session)
    await expect(eve.page.locator(".read-only")).to_contain_text("viewer")
    assert await eve.texts() == [words(0, 2)]


async def test_older_messages_come_when_one_scrolls_up(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script turns=120 tokens=2")
    await ada.run_ends("120 turns")
    await ada.page.reload()
    await ada.run_ends("120 turns")
    await expect(ada.page.locator("article.user")).to_have_count(0)
    await ada.page.locator(".scroller").evaluate("element => element.scrollTo(0, 0)")
    await expect(ada.page.locator("article.user")).to_have_count(1)
    assert await ada.texts() == [words(turn, 2) for turn in range(120)]


async def test_a_session_of_others_is_not_shown(visit: Visit, hub: Door) -> None:
    ada, eve = await visit("Ada"), await visit("Eve")
    session = await ada.begin("scripted", "/script turns=1 tokens=2")
    await ada.run_ends("1 turn")
    await eve.open(session)
    await expect(eve.page.locator(".failed-view")).to_contain_text("not a member")
    eve.errors = [error for error in eve.errors if "404" not in error]  # the browser logs the answer by itself
