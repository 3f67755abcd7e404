"""Taking part while a team is at work: answering what it asks, steering, pausing, waiting, reading further up."""

from playwright.async_api import expect

from tests.web.conftest import Visit
from tests.web.test_conversation import words


async def test_what_the_team_asks_is_answered_by_those_who_may(visit: Visit) -> None:
    ada, eve = await visit("Ada"), await visit("Eve")
    session = await ada.begin("scripted-tools", "/script turns=1 tokens=3 tool=transfer key=bea")
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        await rest.put(f"/v1/sessions/{session}/members/Eve", json={"role": "viewer"})
    await eve.open(session)
    asked, watched = ada.page.locator(".request"), eve.page.locator(".request")
    await expect(watched).to_contain_text("somebody else has to answer")
    await expect(watched.get_by_role("button")).to_have_count(0)
    await expect(asked).to_contain_text("transfer")
    await expect(asked.locator("pre")).to_contain_text('"key": "bea"')
    await expect(asked).to_contain_text(" left")
    await expect(ada.page.get_by_role("img", name="waits for an answer")).to_be_visible()
    await asked.get_by_label("A note to the team").fill("fine with me")
    await asked.get_by_role("button", name="Approve").click()
    for card in (asked, watched):
        await expect(card).to_contain_text("Approved by Ada")
        await expect(card.locator("blockquote")).to_have_text("fine with me")
    await ada.run_ends("1 turn")
    await expect(ada.page.locator("details.tool .tag")).to_have_text("done")
    await eve.page.reload()
    await expect(watched).to_contain_text("Approved by Ada")
    assert await eve.texts() == [words(0, 3)]


async def test_a_rejection_says_so(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted-tools", "/script turns=1 tokens=3 tool=transfer key=bea\u202eeve")
    asked = ada.page.locator(".request")
    await expect(asked.locator("pre")).to_contain_text("bea\\u202eeve")  # what turns the direction of text is seen
    await asked.get_by_role("button", name="Reject").click()
    await expect(ada.page.locator(".request")).to_contain_text("Rejected by Ada")
    await ada.run_ends("1 turn")


async def test_a_message_is_edited_and_an_answer_made_again(visit: Visit) -> None:
    ada, bob = await visit("Ada"), await visit("Bob")
    session = await ada.begin("scripted", "first words")
    await ada.run_ends()
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        await rest.put(f"/v1/sessions/{session}/members/Bob", json={"role": "editor"})
    await bob.open(session)
    theirs = bob.page.locator("article.user")
    await theirs.hover()
    await expect(theirs.get_by_role("button", name="Edit")).to_have_count(0)
    mine = ada.page.locator("article.user")
    await mine.hover()
    await mine.get_by_role("button", name="Edit and send again").click()
    await ada.page.get_by_label("Edit your message").fill("better words")
    await ada.page.keyboard.press("Escape")
    await expect(mine.locator(".bubble")).to_have_text("first words")
    await mine.get_by_role("button", name="Edit and send again").click()
    await ada.page.get_by_label("Edit your message").fill("better words")
    await ada.page.keyboard.press("Enter")
    for one in (ada, bob):
        await expect(one.page.locator(".fold.branch summary")).to_have_text("Earlier version · 3 messages")
        await expect(one.messages("Beta")).to_contain_text("better words")
        await expect(one.page.locator("article.user .bubble")).to_have_text("better words")
    await ada.run_ends()
    answer = ada.messages("Beta")
    await answer.hover()
    await answer.get_by_role("button", name="Answer again").click()
    branches = ada.page.locator(".fold.branch")
    await expect(branches).to_have_count(2)
    await expect(branches.last.locator("summary")).to_have_text("Earlier version · 2 messages")
    await ada.run_ends()
    await expect(ada.messages()).to_have_count(2)
    await branches.first.locator("summary").click()
    await expect(branches.first).to_contain_text("first words")
    await ada.page.reload()
    await expect(branches).to_have_count(2)
    await expect(ada.messages("Beta")).to_contain_text("better words")


async def test_a_run_is_paused_goes_on_and_is_steered(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script turns=3 tokens=100 rate=25")  # time to click while a turn runs
    await expect(ada.messages("Alpha")).to_contain_text("t0.2")
    await ada.page.get_by_role("button", name="Pause").click()
    await expect(ada.page.locator(".paused")).to_contain_text("The team is paused.")
    await expect(ada.page.get_by_role("img", name="paused")).to_be_visible()
    await expect(ada.messages()).to_have_count(1)
    await ada.page.reload()
    await ada.page.locator(".paused").get_by_role("button", name="Resume").click()
    await expect(ada.messages("Beta")).to_contain_text("t1.2")
    await ada.page.get_by_label("What a message does").select_option("steer")
    await ada.say("shorter, please")
    await expect(ada.page.locator("article.user").last).to_contain_text("heard before the next turn")
    await expect(ada.page.locator("article.user").last).to_contain_text("taken in at turn 3")
    await ada.run_ends("3 turns")
    await expect(ada.page.locator(".paused")).to_have_count(0)


async def test_a_message_that_waits_can_be_taken_back_and_one_can_interrupt(visit: Visit) -> None:
    ada = await visit("Ada")
    await ada.begin("scripted", "/script turns=1 tokens=900 rate=20")
    await expect(ada.messages("Alpha")).to_contain_text("t0.2")
    await ada.say("later")
    waiting = ada.page.locator("article.user", has_text="later")
    await expect(waiting).to_contain_text("waits its turn")
    await waiting.get_by_role("button", name="Withdraw").click()
    await expect(waiting).not_to_contain_text("waits its turn")
    await ada.page.get_by_label("What a message does").select_option("interrupt")
    await ada.say("/script turns=1 tokens=2")
    await expect(ada.messages("Alpha").first.locator(".tag")).to_have_text("stopped here")
    await ada.run_ends("1 turn")
    assert (await ada.texts())[-1] == words(0, 2)


async def test_reading_further_up_is_not_disturbed(visit: Visit) -> None:
    ada = await visit("Ada", viewport={"width": 900, "height": 500})
    session = await ada.begin("scripted", "/script turns=30 tokens=60")
    await ada.run_ends("30 turns")
    scroller = ada.page.locator(".scroller")
    gap = "element => element.scrollHeight - element.scrollTop - element.clientHeight"
    assert await scroller.evaluate(gap) < 80
    await scroller.hover()
    await ada.page.mouse.wheel(0, -2000)
    await expect(ada.page.get_by_role("button", name="To the end")).to_be_visible()
    place = await scroller.evaluate("element => element.scrollTop")
    async with ada.door.rest(await ada.door.sign_in("Ada")) as rest:
        said = await rest.post(f"/v1/sessions/{session}/messages", json={"text": "/script turns=4 tokens=60 rate=120"})
        assert said.status_code == 201, said.text
    to_end = ada.page.locator(".to-end")
    await expect(to_end).to_contain_text("new")
    await expect(ada.page.locator(".notice", has_text="4 turns")).to_have_count(1)
    assert await scroller.evaluate(gap) > 1000
    assert abs(await scroller.evaluate("element => element.scrollTop") - place) < 500
    await to_end.click()
    await expect(to_end).to_have_count(0)
    assert await scroller.evaluate(gap) < 80


async def test_a_session_is_forked_from_a_message(visit: Visit) -> None:
    ada = await visit("Ada")
    session = await ada.begin("scripted", "/script turns=2 tokens=2")
    await ada.run_ends("2 turns")
    await ada.messages("Alpha").hover()
    await ada.messages("Alpha").get_by_role("button", name="Fork a new session from here").click()
    await ada.page.wait_for_url(lambda url: "#/s/" in url and session not in url)
    await expect(ada.page.locator(".notice", has_text="A fork")).to_be_visible()
    await expect(ada.messages()).to_have_count(1)
    assert await ada.texts() == [words(0, 2)]
    await ada.say("/script turns=1 tokens=3")
    await ada.run_ends("1 turn")
    assert await ada.texts() == [words(0, 2), words(0, 3)]
    await expect(ada.page.locator(".session-list a")).to_have_count(2)


async def test_words_are_found_in_messages_and_lead_there(visit: Visit) -> None:
    ada = await visit("Ada", viewport={"width": 1000, "height": 500})
    session = await ada.begin("scripted", "an aardvark in the attic")
    await ada.run_ends()
    await ada.say("/script turns=110 tokens=2")
    await ada.run_ends("110 turns")
    await ada.begin("scripted", "another talk")
    await ada.run_ends()
    await ada.page.keyboard.press("Control+k")
    await ada.page.keyboard.type("aardvark")
    hits = ada.page.locator(".hits a")
    await expect(hits).to_have_count(3)
    await expect(hits.last.locator("mark")).to_have_text("aardvark")
    await ada.page.reload()  # only the end of that session is loaded when it is opened
    await ada.page.locator("#session-filter").fill("aardvark")
    await hits.last.click()
    await ada.page.wait_for_url(f"**/#/s/{session}/*")
    found = ada.page.locator("article.user", has_text="aardvark")
    await expect(found).to_be_in_viewport()
    await expect(found).to_be_focused()
    await ada.page.locator("#session-filter").fill("zebra")
    await expect(ada.page.locator(".hits")).to_contain_text("No message says that.")
    await ada.page.locator("#session-filter").press("Escape")
    await expect(ada.page.locator(".hits")).to_have_count(0)


async def test_a_link_lets_one_person_in(visit: Visit) -> None:
    ada, bob = await visit("Ada"), await visit("Bob")
    session = await ada.begin("scripted", "hello there")
    await ada.run_ends()
    await ada.page.get_by_role("button", name="People here").click()
    dialog = ada.page.get_by_role("dialog")
    await dialog.get_by_label("Role", exact=True).select_option("viewer")
    await dialog.get_by_role("button", name="Make a link").click()
    note = dialog.get_by_role("status")
    await expect(note).to_contain_text("as viewer")
    link = (await note.inner_text()).split()[-1]
    await bob.page.goto(link)
    await expect(bob.page.locator("article.user .bubble")).to_have_text("hello there")
    assert bob.page.url.endswith(session), "the token is not in the address any more"
    await bob.page.goto(ada.door.url + "/#invite=inv_unknown")
    await expect(bob.page.get_by_role("alert")).to_contain_text("This link does not lead anywhere any more.")
    bob.errors = [error for error in bob.errors if "404" not in error]  # the browser logs the answer by itself
