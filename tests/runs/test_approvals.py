"""Who has to approve a call, and of what: rules on arguments, several people, other people, and everything that goes
astray."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.driver import Door, Person
from tests.runs.conftest import bank_settings
from tests.runs.conversation import finish
from tests.runs.test_inputs import answer, asked, refused, status_of, types
from tests.runs.test_sending import room_for

Frame = dict[str, Any]


def script(tool: str, key: str) -> str:
    return f"/script turns=1 tokens=1 tool={tool} key={key}"


@asynccontextmanager
async def room(bank: Door, team: str = "bank", **roles: str) -> AsyncIterator[tuple[str, dict[str, Person]]]:
    """A session of ada's with others in it, who all follow it."""
    async with AsyncExitStack() as stack:
        people = {name: await stack.enter_async_context(await bank.person()) for name in ("ada", *roles)}
        session = await room_for(people["ada"], team)
        for name, role in roles.items():
            await share(bank, people["ada"], session, people[name], role)
            await people[name].ask("session.join", session=session, after_seq=0)
        yield session, people


async def share(bank: Door, owner: Person, session: str, other: Person, role: str) -> None:
    async with bank.rest(owner.token) as rest:
        put = await rest.put(f"/v1/sessions/{session}/members/{other.hello['user']['id']}", json={"role": role})
        assert put.status_code in (200, 201), put.text


def who(person: Person) -> Frame:
    return {"id": person.hello["user"]["id"], "name": person.hello["user"]["name"]}


async def open_requests(bank: Door, person: Person, session: str) -> list[Frame]:
    async with bank.rest(person.token) as rest:
        items: list[Frame] = (await rest.get(f"/v1/sessions/{session}/inputs")).json()["items"]
        return items


# ---- rules on arguments


async def test_a_rule_on_the_arguments_decides_whether_somebody_is_asked(bank: Door) -> None:
    async with room(bank) as (session, people):
        ada = people["ada"]
        sent = await ada.say(session, script("pay", "little"))
        frames = await finish(ada, sent["run"])
        assert types(frames, "input.requested", "tool.called") == ["tool.called"]
        sent, request = await asked(ada, session, script("pay", "large"))
        assert (request["data"]["kind"], request["data"]["tool"]) == ("approval", "pay")
        assert "approvers" not in request["data"]
        await answer(ada, request, decision="approve")
        frames = await finish(ada, sent["run"])
        assert types(frames, "tool.called", "tool.returned") == ["tool.called", "tool.returned"]


async def test_a_team_wants_more_approved_than_its_tools(bank: Door) -> None:
    """A safe tool waits for a person when a rule of the team's holds, and a call by the stricter one of both rules."""
    async with room(bank, "vault", bob="approver", eve="approver") as (session, people):
        ada, bob, eve = (people[name] for name in ("ada", "bob", "eve"))
        sent = await ada.say(session, script("echo", "sand"))
        assert types(await finish(ada, sent["run"]), "input.requested", "tool.returned") == ["tool.returned"]
        sent, request = await asked(ada, session, script("echo", "gold"))
        assert (request["data"]["kind"], request["data"]["tool"]) == ("approval", "echo")
        await answer(ada, request, decision="reject")
        assert types(await finish(ada, sent["run"]), "tool.called") == []
        sent, request = await asked(ada, session, script("pay", "little"))
        assert (request["data"]["approvers"], request["data"]["not_by"]) == (2, who(ada)["id"])
        assert await refused(ada, request, decision="approve") == "forbidden"
        await answer(bob, request, decision="approve")
        await answer(eve, request, decision="approve")
        (returned,) = [f["data"] for f in await finish(ada, sent["run"]) if f["type"] == "tool.returned"]
        assert "paid little in call" in returned["result"]
        sent, request = await asked(ada, session, script("launch", "now"))  # where the tool's is the stricter one
        assert (request["data"]["approvers"], request["data"]["not_by"]) == (2, who(ada)["id"])
        await answer(bob, request, decision="reject")
        await finish(ada, sent["run"])


async def test_whoever_is_asked_sees_all_that_is_asked(bank: Door) -> None:
    async with room(bank) as (session, people):
        hidden = "large\u202e\u200b\U000e0041é"
        sent, request = await asked(people["ada"], session, script("pay", hidden))
        assert request["data"]["arguments"] == {"key": hidden}
        assert request["data"]["prompt"].endswith('pay with {"key":"large\\u202e\\u200b\\udb40\\udc41é"}.')
        await answer(people["ada"], request, decision="reject")
        await finish(people["ada"], sent["run"])


@pytest.mark.parametrize("changed", ["little", "larger"])
async def test_arguments_that_have_changed_are_not_used(bank: Door, bank_store: Store, changed: str) -> None:
    """Also when the new ones would need nobody's approval: it is for other ones that it was given."""
    async with room(bank) as (session, people):
        ada = people["ada"]
        sent, request = await asked(ada, session, script("pay", "large"))
        async with bank_store.transaction() as db:
            changing = "UPDATE tool_calls SET arguments = $1 WHERE session_id = $2"
            await db.connection.execute(changing, f'{{"key":"{changed}"}}', session)
        await answer(ada, request, decision="approve")
        frames = await finish(ada, sent["run"])
        (returned,) = [f["data"] for f in frames if f["type"] == "tool.returned"]
        assert returned["is_error"]
        assert returned["result"].startswith("This call was not made")


async def test_a_yes_to_a_call_that_was_lost_is_no_approval_of_its_arguments(bank: Door, bank_store: Store) -> None:
    """It was begun when it needed nobody; by the rules of today its arguments do."""
    async with room(bank) as (session, people):
        ada = people["ada"]
        sent, request = await asked(ada, session, script("pay", "large"))
        async with bank_store.transaction() as db:
            await db.connection.execute("UPDATE input_requests SET kind = 'retry' WHERE session_id = $1", session)
        await answer(ada, request, decision="approve")
        frames = await finish(ada, sent["run"])
        (returned,) = [f["data"] for f in frames if f["type"] == "tool.returned"]
        assert returned["is_error"]
        assert returned["result"].startswith("This call was not made")


async def test_a_tool_that_the_agent_may_not_have_is_not_called_whatever_was_approved(
    bank: Door, bank_store: Store
) -> None:
    async with room(bank) as (session, people):
        ada = people["ada"]
        sent, request = await asked(ada, session, script("pay", "large"))
        async with bank_store.transaction() as db:
            await db.connection.execute("UPDATE tool_calls SET tool = 'counter' WHERE session_id = $1", session)
        await answer(ada, request, decision="approve")
        frames = await finish(ada, sent["run"])
        (returned,) = [f["data"] for f in frames if f["type"] == "tool.returned"]
        assert (returned["is_error"], returned["result"]) == (True, "there is no tool 'counter'")


async def test_an_answer_can_be_bound_to_the_arguments(bank: Door) -> None:
    async with room(bank) as (session, people):
        ada = people["ada"]
        sent, request = await asked(ada, session, script("pay", "large"))
        assert await refused(ada, request, decision="approve", arguments_sha256="0" * 64) == "conflict"
        assert await refused(ada, request, decision="approve", arguments_sha256="0") == "bad_request"
        async with bank.rest(ada.token) as rest:
            url = f"/v1/sessions/{session}/inputs/{request['data']['request']}"
            wrong = await rest.post(url, json={"decision": "approve", "arguments_sha256": "f" * 64})
            assert (wrong.status_code, wrong.json()["details"]) == (409, {"reason": "changed"})
        await answer(ada, request, decision="approve", arguments_sha256=request["data"]["arguments_sha256"])
        assert (await finish(ada, sent["run"]))[-1]["data"]["status"] == "completed"


# ---- several people


async def test_a_call_is_made_when_enough_others_have_approved(bank: Door) -> None:
    async with room(bank, bob="approver", eve="editor", dan="viewer") as (session, people):
        ada, bob, eve, dan = (people[name] for name in ("ada", "bob", "eve", "dan"))
        sent, request = await asked(ada, session, script("launch", "it"))
        assert (request["data"]["approvers"], request["data"]["not_by"]) == (2, who(ada)["id"])
        assert await refused(ada, request, decision="approve") == "forbidden"  # it is ada who has asked for it
        assert await refused(dan, request, decision="approve") == "forbidden"
        first = await answer(bob, request, decision="approve", text="fine with me")
        approved = await ada.expect("input.approved")
        assert approved["seq"] == first
        assert approved["data"] == {
            "request": request["data"]["request"],
            "text": "fine with me",
            "by": who(bob),
            "approvals": 1,
            "approvers": 2,
        }
        assert await answer(bob, request, decision="approve") == first  # the same person counts once
        assert await status_of(bank, ada, session) == "waiting"
        (item,) = await open_requests(bank, ada, session)
        assert (item["approvers"], item["approved_by"], item["not_by"]) == (2, [who(bob)], who(ada)["id"])
        second = await answer(eve, request, decision="approve")
        resolved = await ada.expect("input.resolved")
        assert (resolved["seq"], resolved["data"]["decision"], resolved["data"]["by"]) == (second, "approve", who(eve))
        assert resolved["data"]["approved_by"] == [who(bob), who(eve)]
        frames = await finish(ada, sent["run"])
        assert [f["data"]["result"] for f in frames if f["type"] == "tool.returned"] == ["launched it"]
        # Whoever repeats what they said gets the same answer; whoever changes it is too late.
        assert await answer(bob, request, decision="approve") == first
        assert await answer(eve, request, decision="approve") == second
        assert await refused(bob, request, decision="reject") == "conflict"


@pytest.mark.parametrize("rejecting", ["ada", "bob", "eve"])
async def test_one_no_is_enough(bank: Door, rejecting: str) -> None:
    """Also of who has asked for it, and of who has approved before."""
    async with room(bank, bob="approver", eve="approver") as (session, people):
        sent, request = await asked(people["ada"], session, script("launch", "it"))
        await answer(people["bob"], request, decision="approve")
        await answer(people[rejecting], request, decision="reject")
        resolved = await people["ada"].expect("input.resolved")
        assert (resolved["data"]["decision"], resolved["data"]["by"]) == ("reject", who(people[rejecting]))
        frames = await finish(people["ada"], sent["run"])
        assert types(frames, "tool.called") == []
        assert await refused(people["eve"], request, decision="approve") == "conflict"


@pytest.mark.parametrize("how", ["demoted", "removed"])
async def test_only_yeses_of_who_might_still_give_them_count(bank: Door, how: str) -> None:
    async with room(bank, bob="approver", eve="approver", dan="approver") as (session, people):
        ada, bob, eve, dan = (people[name] for name in ("ada", "bob", "eve", "dan"))
        sent, request = await asked(ada, session, script("launch", "it"))
        await answer(bob, request, decision="approve")
        if how == "demoted":
            await share(bank, ada, session, bob, "viewer")
        else:
            async with bank.rest(ada.token) as rest:
                gone = await rest.delete(f"/v1/sessions/{session}/members/{who(bob)['id']}")
                assert gone.status_code == 204
        await answer(eve, request, decision="approve")
        assert (await ada.expect("input.approved", by=who(eve)))["data"]["approvals"] == 1
        await answer(dan, request, decision="approve")
        resolved = await ada.expect("input.resolved")
        assert resolved["data"]["approved_by"] == [who(eve), who(dan)]
        await finish(ada, sent["run"])


async def test_yeses_at_the_same_time_are_counted_one_by_one(bank: Door) -> None:
    async with room(bank, bob="approver", eve="approver", dan="approver") as (session, people):
        sent, request = await asked(people["ada"], session, script("launch", "it"))
        others = [people[name] for name in ("bob", "eve", "dan")]
        seqs = await asyncio.gather(*(answer(person, request, decision="approve") for person in others))
        frames = await finish(people["ada"], sent["run"])
        assert types(frames, "input.approved", "input.resolved") == ["input.approved", "input.resolved"]
        told = [f["seq"] for f in frames if f["type"] in ("input.approved", "input.resolved")]
        assert sorted(set(seqs)) == told  # who came third agrees with what was decided
        assert types(frames, "tool.called") == ["tool.called"]


async def test_yeses_outlive_every_worker_and_do_not_stop_the_clock(
    dsn: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    more = bank_settings(tmp_path_factory)
    settings = settings_for(dsn, redis_url, **more)
    async with running_worker(settings, "test:1:a") as first, room(first, bob="approver", eve="approver") as before:
        session, people = before
        sent, request = await asked(people["ada"], session, script("launch", "it"))
        yes = await answer(people["bob"], request, decision="approve")
    async with (
        running_worker(settings, "test:2:b") as second,
        await second.enter(people["ada"].token) as ada,
        await second.enter(people["bob"].token) as bob,
        await second.enter(people["eve"].token) as eve,
    ):
        await ada.ask("session.join", session=session, after_seq=yes)
        assert await answer(bob, request, decision="approve") == yes
        await answer(eve, request, decision="approve")
        frames = await finish(ada, sent["run"])
        assert types(frames, "input.resolved", "tool.called") == ["input.resolved", "tool.called"]
    hasty = settings_for(dsn, redis_url, input_expires_s=0.2, **more)
    async with running_worker(hasty, "test:3:c") as third, room(third, bob="approver") as after:
        session, people = after
        sent, request = await asked(people["ada"], session, script("launch", "it"))
        late = types(await finish(people["ada"], sent["run"]), "input.resolved", "tool.called")
        assert late == ["input.resolved"]
        assert await refused(people["bob"], request, decision="approve") == "conflict"
