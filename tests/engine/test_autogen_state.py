"""Checkpoints of AutoGen teams, and what of AutoGen's insides we rely on."""

import asyncio
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core import CancellationToken, SingleThreadedAgentRuntime

from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.autogen import state as checkpoint
from hub.engine.autogen.asking import Asking
from hub.engine.autogen.build import TeamBuilder
from hub.engine.autogen.killing import kill
from hub.engine.autogen.telling import Inside, Telling
from hub.engine.base import EngineEvent
from hub.engine.models.registry import ModelDeadlines, ScriptedModel
from hub.engine.models.scripted import ScriptedClient
from hub.engine.script import Said, plan
from hub.engine.tools.registry import Tools
from tests.engine.driving import Told, alone, catalog, knowing, one_turn, request, whole_run

ALPHA, BETA, GAMMA = (AgentSpec(name, name.title()) for name in ("alpha", "beta", "gamma"))
TEAM = TeamSpec("pair", "", TeamKind.ROUND_ROBIN, "scripted", (ALPHA, BETA), max_turns=1000)


def _team(prompt: str, telling: Telling | None = None) -> RoundRobinGroupChat:
    asked = request(TEAM, prompt)
    client = ScriptedClient(plan(prompt), 0, ModelDeadlines())
    made = TeamBuilder(
        asked, ScriptedModel(), lambda _: alone(client), Tools([]), telling or Telling(Told().emit)
    ).build()
    assert isinstance(made, RoundRobinGroupChat)
    return made


async def _saved() -> dict[str, Any]:
    team = _team("/script turns=1 tokens=1")
    await team.run(task="hi")
    return dict(await team.save_state())


async def test_what_we_rely_on_in_a_saved_state() -> None:
    agents = (await _saved())["agent_states"]
    assert [message["type"] for message in agents["alpha"]["agent_state"]["llm_context"]["messages"]] == [
        "UserMessage",
        "AssistantMessage",
    ]
    assert [message["type"] for message in agents["beta"]["message_buffer"]] == ["TextMessage", "TextMessage"]
    (manager,) = [state for state in agents.values() if "message_thread" in state]
    assert manager["next_speaker_index"] == 1
    assert len(manager["message_thread"]) == 2


async def test_what_we_rely_on_when_we_kill() -> None:
    told = Told()
    team = _team("/script tokens=100000 rate=10", Telling(told.emit))
    run = asyncio.create_task(_drain(team))
    async with asyncio.timeout(30):
        while len(told.events) < 3:
            told.more.clear()
            await told.more.wait()
    runtime = team._runtime
    assert isinstance(runtime, SingleThreadedAgentRuntime)
    assert runtime._background_tasks
    assert runtime._run_context is not None
    loop = runtime._run_context._run_task
    assert not loop.done()
    token = CancellationToken()
    linked = asyncio.get_running_loop().create_future()
    token.link_future(linked)
    await kill(run, token, knowing(team))
    assert linked.cancelled()
    assert run.done()
    assert loop.done()
    assert not runtime._background_tasks


async def test_what_we_rely_on_when_we_leave_out_spans() -> None:
    """The runtime asks its `_tracer_helper` for blocks and for nothing else, and `_try_serialize` for what it logs.
    Should this fail, `untraced` is to be looked at again: it saves a fifth of what a turn costs."""
    team, asked = _team("/script turns=1 tokens=1"), list[str]()

    class Counted:
        def trace_block(self, operation: str, *_: Any, **__: Any) -> AbstractContextManager[None]:
            asked.append(operation)
            return nullcontext()

    runtime = team._runtime
    assert isinstance(runtime, SingleThreadedAgentRuntime)
    assert type(runtime._tracer_helper).__name__ == "_Untraced"
    runtime._tracer_helper = Counted()  # type: ignore[assignment]
    assert (await team.run(task="hi")).messages[-1].source == "alpha"
    assert {"create", "send", "process", "publish", "ack"} <= set(asked)
    assert "_try_serialize" in vars(SingleThreadedAgentRuntime)
    assert runtime._try_serialize(1) == ""


async def test_who_shrugs_off_all_of_it_is_left_behind() -> None:
    """Nothing of it is waited for for ever, and AutoGen's loop does not go on."""
    told, released = Told(), asyncio.Event()

    async def emit(event: EngineEvent) -> None:
        await told.emit(event)
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    telling = Telling(emit)
    team = _team("/script tokens=3", telling)
    telling.team = team
    run = asyncio.create_task(_drain(team))
    async with asyncio.timeout(30):
        await told.more.wait()
    assert isinstance(team._runtime, SingleThreadedAgentRuntime)
    assert team._runtime._run_context is not None
    loop = team._runtime._run_context._run_task
    async with asyncio.timeout(30):
        await kill(run, CancellationToken(), telling)
    assert loop.done()
    released.set()
    await asyncio.wait([run], timeout=10)
    assert run.done()


async def test_what_runs_inside_a_turn_is_ended_with_it() -> None:
    told = Told()
    telling = Telling(told.emit)
    inside = Inside(Inside(telling, is_shown=True), is_shown=True)
    inside.team = team = _team("/script tokens=100000 rate=10", inside)
    run, call = asyncio.create_task(_drain(team)), asyncio.create_task(asyncio.Event().wait())
    inside.calls.add(call)
    async with asyncio.timeout(30):
        while len(told.events) < 3:
            told.more.clear()
            await told.more.wait()
    await kill(run, CancellationToken(), telling)
    assert run.done()
    assert call.cancelled()
    assert isinstance(team._runtime, SingleThreadedAgentRuntime)
    assert not team._runtime._background_tasks


async def _drain(team: RoundRobinGroupChat) -> None:
    async for _ in team.run_stream(task="hi"):
        pass


async def test_a_checkpoint_fits_its_team_only() -> None:
    text = checkpoint.seal(await _saved(), TEAM, Asking())
    assert checkpoint.unseal(text, TEAM).team is not None
    assert checkpoint.unseal(text, replace(TEAM, agents=(BETA, ALPHA), stop_phrase="x")).team is not None
    said = (Said("user", "hi"), Said("alpha", "t0.0 "))
    for other in (replace(TEAM, agents=(ALPHA, GAMMA)), replace(TEAM, kind=TeamKind.SELECTOR)):
        assert checkpoint.unseal(text, other) == checkpoint.Opened(team=None, said=said)
    older = orjson.loads(text) | {"version": "0.7.4"}
    assert checkpoint.unseal(orjson.dumps(older).decode(), TEAM).said == said
    assert checkpoint.unseal(None, TEAM) == checkpoint.Opened(team=None)
    scripted = '{"engine":"scripted","history":[["bob","hi"]]}'
    assert checkpoint.unseal(scripted, TEAM).said == (Said("bob", "hi"),)


async def test_a_team_that_has_changed_keeps_the_conversation() -> None:
    made = catalog(teams=[TEAM])
    _, results = await whole_run(made.engine(TEAM), TEAM, "/script turns=2 tokens=1")
    changed = replace(TEAM, agents=(ALPHA, GAMMA))
    told = Told()
    await one_turn(made.engine(changed), request(changed, "/script history", state=results[-1].state), told)
    assert told.texts == ["4\nbob:/script turns=2 toke\nalpha:t0.0 \nbeta:t1.0 \nbob:/script history"]


async def test_a_checkpoint_does_not_grow_without_end() -> None:
    made = catalog(teams=[TEAM])
    state, sizes = None, list[int]()
    for turn in range(30):
        result = await one_turn(made.engine(TEAM), request(TEAM, "x" * 30_000, turn=0, state=state, to="alpha"), Told())
        state = result.state
        sizes.append(len(state or ""))
        assert turn >= 0
    limit = checkpoint.KEPT_CHARACTERS + 100_000
    assert sizes[-1] < 2 * limit
    assert sizes[-1] == pytest.approx(sizes[-2], rel=0.1)


async def test_pruning_leaves_no_result_without_its_call() -> None:
    saved = await _saved()
    context = saved["agent_states"]["alpha"]["agent_state"]["llm_context"]
    call = {"type": "AssistantMessage", "source": "alpha", "content": [{"id": "1", "name": "n", "arguments": "{}"}]}
    answer = {"type": "FunctionExecutionResultMessage", "content": [{"content": "r", "call_id": "1"}]}
    said = {"type": "AssistantMessage", "source": "alpha", "content": "said"}
    context["messages"] = [call, answer, said] * (checkpoint.KEPT_MESSAGES // 3 + 1)
    pruned = orjson.loads(checkpoint.seal(saved, TEAM, Asking()))["team"]["agent_states"]
    kept = pruned["alpha"]["agent_state"]["llm_context"]
    assert kept["messages"][0]["content"] == "said"
    assert checkpoint.KEPT_MESSAGES - 3 < len(kept["messages"]) <= checkpoint.KEPT_MESSAGES
