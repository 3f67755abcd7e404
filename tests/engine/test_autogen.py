"""The AutoGen engine over a model server: tools, deadlocks, limits, errors."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest

from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.autogen.agent import MAX_TOOL_ROUNDS
from hub.engine.autogen.state import NOT_CARRIED_OUT
from hub.engine.base import (
    Engine,
    Failure,
    Input,
    MessageEnded,
    Outcome,
    ReasoningDelta,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnResult,
)
from hub.engine.catalog import Catalog
from hub.engine.models.registry import HostedModel, openai_model
from hub.engine.tools import Tool, tool
from hub.engine.tools.registry import Tools
from tests.engine.driving import (
    Counts,
    Told,
    builtin,
    carry_out,
    catalog,
    deadlines_for,
    engine_tasks,
    one_turn,
    request,
    until_streaming,
    whole_run,
)
from tests.engine.fake_openai import FakeOpenAi, fake_openai

ALPHA = AgentSpec("alpha", "Alpha", instructions="You are Alpha.", tools=("clock", "counter"))
BETA = AgentSpec("beta", "Beta")


def pair(*agents: AgentSpec, max_turns: int = 2, stop_phrase: str | None = None) -> TeamSpec:
    """A round robin team on the default model."""
    return TeamSpec(
        name="pair",
        description="",
        kind=TeamKind.ROUND_ROBIN,
        model=None,
        agents=agents or (ALPHA, BETA),
        max_turns=max_turns,
        stop_phrase=stop_phrase,
    )


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


@asynccontextmanager
async def engine_on(
    fake: FakeOpenAi,
    mode: str,
    team: TeamSpec,
    *,
    tools: Sequence[Tool] = (),
    tool_timeout_s: float = 30,
) -> AsyncIterator[Engine]:
    model = HostedModel(fake.url, mode)
    made: Catalog = catalog(
        ("fake", model),
        teams=[team],
        tools=tools,
        tool_timeout_s=tool_timeout_s,
        deadlines=deadlines_for(mode),
    )
    try:
        yield made.engine(team)
    finally:
        await made.aclose()


async def turn_on(fake: FakeOpenAi, mode: str, team: TeamSpec | None = None) -> tuple[Told, TurnResult]:
    team = team or pair()
    told = Told()
    async with engine_on(fake, mode, team) as engine:
        result = await one_turn(engine, request(team, "Hi"), told)
    return told, result


async def test_agents_answer_each_other(fake: FakeOpenAi) -> None:
    team = pair()
    async with engine_on(fake, "good", team) as engine:
        told, results = await whole_run(engine, team, "Hi")
    assert told.texts == ["Hello from fake"] * 2
    assert told.streamed == "Hello from fake" * 2
    assert [(result.usage.prompt_tokens, result.usage.completion_tokens) for result in results] == [(11, 7)] * 2
    first, second = fake.requests
    assert first["messages"] == [
        {"role": "system", "content": "You are Alpha."},
        {"role": "user", "content": "bob said:\nHi"},
    ]
    assert {tool["function"]["name"] for tool in first["tools"]} == {"clock", "counter"}
    assert second["messages"] == [{"role": "user", "content": "bob said:\nHi\n\nalpha said:\nHello from fake"}]
    assert "tools" not in second


async def test_tools_are_called_and_their_results_read(fake: FakeOpenAi) -> None:
    team, counts = pair(max_turns=1), Counts()
    async with engine_on(fake, "tools", team) as engine:
        told, results = await whole_run(engine, team, "Count!", tools=_counting(counts))
    # The clock is safe and looked at within the turn; counting is left to the run.
    assert told.kinds == ["AgentStarted", "ToolStarted", "ToolEnded", "AgentStarted", "TextDelta", "MessageEnded"]
    assert [(call.name, call.arguments) for call in results[0].calls] == [("counter", '{"key":"a"}')]
    assert counts.values == {"a": 1}
    assert [message["role"] for message in fake.requests[1]["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert [message["content"] for message in fake.requests[1]["messages"][3:4]] == ["1"]
    assert [result.usage.completion_tokens for result in results] == [7, 7]


async def test_words_beside_a_tool_call_are_a_message_of_their_own(fake: FakeOpenAi) -> None:
    team = pair(max_turns=1)
    async with engine_on(fake, "both", team) as engine:
        told, _ = await whole_run(engine, team, "Count!", tools=_counting(Counts()))
    assert told.kinds == ["AgentStarted", "TextDelta", "MessageEnded"] * 2
    assert told.texts == ["Let me see. Now.", "Hello from fake"]
    messages = [event.message for event in told.events if isinstance(event, TextDelta)]
    assert len(set(messages)) == 2


async def test_reasoning_belongs_to_its_message(fake: FakeOpenAi) -> None:
    told, _ = await turn_on(fake, "reasoning")
    thoughts = [event for event in told.events if isinstance(event, ReasoningDelta)]
    (ended,) = [event for event in told.events if isinstance(event, MessageEnded)]
    assert "".join(thought.text for thought in thoughts) == ended.reasoning == "I think"
    assert {thought.message for thought in thoughts} == {ended.message}
    assert ended.text == told.streamed == "so"


@pytest.mark.parametrize("mode", ["list-arguments", "broken-arguments", "unknown-tool", "many-digits", "deep"])
async def test_odd_tool_calls_do_not_hang_the_team(fake: FakeOpenAi, mode: str) -> None:
    told, result = await turn_on(fake, mode, pair(max_turns=1))
    (started,) = [event for event in told.events if isinstance(event, ToolStarted)]
    (ended,) = [event for event in told.events if isinstance(event, ToolEnded)]
    assert ended.is_error
    assert started.call == ended.call
    assert result.outcome is Outcome.DONE
    assert told.texts == ["Hello from fake"]


async def test_a_model_that_only_calls_tools_ends_with_their_results(fake: FakeOpenAi) -> None:
    team = pair(max_turns=1)
    async with engine_on(fake, "unwilling", team) as engine:
        told, results = await whole_run(engine, team, "Count!", tools=_counting(Counts()))
    assert [result.outcome for result in results] == [*[Outcome.CALLS] * MAX_TOOL_ROUNDS, Outcome.DONE]
    assert told.texts == [told.streamed] == [str(MAX_TOOL_ROUNDS)]
    assert len(fake.requests) == MAX_TOOL_ROUNDS


async def test_a_model_that_looks_at_the_clock_for_ever_ends_with_the_time(fake: FakeOpenAi) -> None:
    told, result = await turn_on(fake, "watching", pair(max_turns=1))
    assert result.outcome is Outcome.DONE
    assert told.kinds.count("ToolStarted") == MAX_TOOL_ROUNDS
    assert told.texts == [told.streamed]


async def test_two_calls_with_one_id_are_malformed(fake: FakeOpenAi) -> None:
    _, result = await turn_on(fake, "twins", pair(max_turns=1))
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.MALFORMED_OUTPUT)


async def test_what_a_stopped_turn_had_called_is_known_to_the_next_run(fake: FakeOpenAi) -> None:
    team, told = pair(max_turns=1), Told()
    async with engine_on(fake, "tools", team) as engine:
        stopped = await one_turn(engine, request(team, "Count!"), told)
        assert stopped.outcome is Outcome.CALLS
        for results, content in (((), NOT_CARRIED_OUT), (await carry_out(stopped, _counting(Counts())), "1")):
            asked = replace(request(team, "And now?", state=stopped.state), results=tuple(results))
            await one_turn(engine, asked, told)
            sent = fake.requests[-1]["messages"]
            assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool", "user"]
            assert sent[3]["content"] == content


@pytest.mark.parametrize(
    ("mode", "failure"),
    [
        ("unpaid", Failure.MODEL_UNAVAILABLE),
        ("long", Failure.CONTEXT_TOO_LONG),
        ("prude", Failure.MODEL_REFUSED),
        ("limited", Failure.MODEL_RATE_LIMITED),
        ("malformed", Failure.MALFORMED_OUTPUT),
        ("truncated", Failure.MALFORMED_OUTPUT),
        ("stalling", Failure.MODEL_STALLED),
    ],
)
async def test_a_failure_keeps_its_name_through_autogen(fake: FakeOpenAi, mode: str, failure: Failure) -> None:
    _, result = await turn_on(fake, mode)
    assert (result.outcome, result.failure, result.state) == (Outcome.FAILED, failure, None)
    assert "Traceback" not in (result.detail or "")


async def test_an_unfinished_call_counts_what_it_has_streamed_and_a_guess_at_what_was_sent(fake: FakeOpenAi) -> None:
    _, result = await turn_on(fake, "malformed")
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (4, 1)
    (call,) = result.model_calls
    assert (call.finish, call.error) == (None, "malformed_output: malformed")


async def test_a_stop_closes_the_connection_to_the_model(fake: FakeOpenAi) -> None:
    team, told, stop = pair(), Told(), asyncio.Event()
    async with engine_on(fake, "endless", team) as engine, asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(engine.turn(request(team, "Hi"), told.emit, stop))
        await until_streaming(told)
        stop.set()
        assert (await turn).outcome is Outcome.CANCELLED
        async with asyncio.timeout(30):
            await fake.left.wait()
    assert fake.closed == 1


async def test_who_stood_at_a_call_goes_on_and_no_model_is_asked_who_is_next(fake: FakeOpenAi) -> None:
    agents = tuple(AgentSpec(name, name.title(), tools=("counter",)) for name in ("alpha", "beta", "gamma"))
    team = replace(pair(*agents), kind=TeamKind.SELECTOR)
    async with engine_on(fake, "tools", team) as engine:
        first = await one_turn(engine, request(team, "Count!", to="alpha"), Told())
        spoken = replace(request(team, "Count!", state=first.state, to="alpha", results=()), goes_on=True)
        state = (await one_turn(engine, spoken, told := Told())).state
        assert told.speakers == ["alpha"]
        inputs = [Input("bob", "Again!")]
        stopped = await one_turn(engine, request(team, "Again!", turn=1, state=state, inputs=inputs), told := Told())
        assert (stopped.outcome, told.speakers) == (Outcome.CALLS, ["beta"])
        before = len(fake.requests)
        results = await carry_out(stopped, _counting(Counts()))
        again = request(team, "Again!", turn=1, state=stopped.state, results=results)
        assert (await one_turn(engine, again, told := Told())).outcome is not Outcome.FAILED
        assert told.speakers == ["beta"]
        assert len(fake.requests) == before + 1


def _counting(counts: Counts) -> Tools:
    return Tools(builtin(counts)).only(["counter"])


class Waiting:
    """A tool that never ends, and shrugs off `stubborn` cancellations."""

    def __init__(self, stubborn: int) -> None:
        self._stubborn = stubborn
        self.called = asyncio.Event()

    @property
    def tool(self) -> Tool:
        return tool("safe", name="waiting")(self._wait)

    async def _wait(self, key: str = "") -> None:
        """Waits."""
        self.called.set()
        for shrug in range(self._stubborn + 1):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if shrug == self._stubborn:
                    raise


@pytest.mark.parametrize("stubborn", [0, 2])
@pytest.mark.parametrize("how", ["stop", "timeout", "cancel"])
async def test_a_tool_that_hangs_does_not_hang_the_turn(stubborn: int, how: str) -> None:
    agent = AgentSpec("alpha", "Alpha", tools=("waiting",))
    team, waiting = pair(agent), Waiting(stubborn)
    engine = catalog(teams=[team], tools=[waiting.tool], tool_timeout_s=60).engine(team)
    stop, before, loop = asyncio.Event(), engine_tasks(), asyncio.get_running_loop()
    asked = request(team, "/script tool=waiting", timeout_s=0.3 if how == "timeout" else 30)
    turn = asyncio.create_task(engine.turn(asked, Told().emit, stop))
    await waiting.called.wait()
    began = loop.time()
    if how == "stop":
        stop.set()
    if how == "cancel":
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
    else:
        assert (await turn).outcome is (Outcome.CANCELLED if how == "stop" else Outcome.TIMEOUT)
    assert loop.time() - began < 15, "its time, or the tool's, is 30 s and more"
    assert engine_tasks() == before


async def test_a_tool_that_takes_too_long_is_an_answer_to_the_model() -> None:
    agent = AgentSpec("alpha", "Alpha", tools=("waiting",))
    team = pair(agent)
    engine = catalog(teams=[team], tools=[Waiting(0).tool], tool_timeout_s=0.05).engine(team)
    told, _ = await whole_run(engine, team, "/script turns=1 tokens=1 tool=waiting")
    (ended,) = [event for event in told.events if isinstance(event, ToolEnded)]
    assert ended.result == "waiting did not finish in 0.05 s"
    assert told.texts == ["t0.0 "]


async def test_nothing_is_told_after_the_end() -> None:
    """A tool that is killed last would otherwise let its agent speak on."""
    agent = AgentSpec("alpha", "Alpha", tools=("waiting",))
    team, told, waiting, stop = pair(agent), Told(), Waiting(1), asyncio.Event()
    engine = catalog(teams=[team], tools=[waiting.tool], tool_timeout_s=60).engine(team)
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(engine.turn(request(team, "/script tool=waiting"), told.emit, stop))
        await waiting.called.wait()
        stop.set()
    assert turn.result().outcome is Outcome.CANCELLED
    assert told.kinds == ["AgentStarted", "ToolStarted"]


async def test_a_stop_phrase_ends_the_run(fake: FakeOpenAi) -> None:
    team = pair(max_turns=9, stop_phrase="from fake")
    _, result = await turn_on(fake, "good", team)
    assert (result.outcome, result.reason) == (Outcome.DONE, "stop_phrase")


async def test_a_run_on_a_model_ends_after_its_turns(fake: FakeOpenAi) -> None:
    team = pair(max_turns=3)
    async with engine_on(fake, "good", team) as engine:
        told, results = await whole_run(engine, team, "Hi")
        alone, _ = await whole_run(engine, team, "Hi", to="beta", state=results[-1].state)
    assert told.speakers == ["alpha", "beta", "alpha"]
    assert alone.speakers == ["beta"]


async def test_a_long_conversation_is_shown_in_part_and_kept_whole(fake: FakeOpenAi) -> None:
    team = pair(ALPHA)
    model = HostedModel(fake.url, "good", context_characters=60)
    made = catalog(("fake", model), teams=[team])
    state = None
    for number in range(6):
        asked = request(team, f"Question number {number}", state=state)
        state = (await one_turn(made.engine(team), asked, Told())).state
    await made.aclose()
    shown = [message["content"] for message in fake.requests[-1]["messages"][1:]]
    assert shown == ["Hello from fake", "bob said:\nQuestion number 5"] or shown == [
        "bob said:\nQuestion number 4",
        "Hello from fake",
        "bob said:\nQuestion number 5",
    ]
    kept = orjson.loads(state or "")["team"]["agent_states"]["alpha"]["agent_state"]["llm_context"]["messages"]
    assert len(kept) == 12


async def test_a_server_address_decides_about_certificates() -> None:
    team = pair()
    made = catalog(("openai", openai_model("https://127.0.0.1:1/v1", "key", "m")), teams=[team])
    result = await one_turn(made.engine(team), request(team, "Hi", timeout_s=10), Told())
    assert result.failure is Failure.MODEL_UNAVAILABLE
    await made.aclose()


@pytest.mark.parametrize("kind", [TeamKind.ROUND_ROBIN, TeamKind.SELECTOR])
async def test_who_is_told_a_conversation_again_asks_the_model_what_who_remembers_it_asks(
    fake: FakeOpenAi, kind: TeamKind
) -> None:
    team = replace(pair(max_turns=3), kind=kind)
    mode = "good" if kind is TeamKind.ROUND_ROBIN else "selector"
    async with engine_on(fake, mode, team) as engine:
        told, results = await whole_run(engine, team, "Hi")
        said = [Input("bob", "Hi"), *(Input(who, text, True) for who, text in _spoken(told)), Input("bob", "Go on")]
        begun = len(fake.requests)
        remembering, _ = await whole_run(engine, team, "Go on", state=results[-1].state)
        remembered, begun = fake.requests[begun:], len(fake.requests)
        again = Told()
        first = await one_turn(engine, request(team, "Go on", inputs=said), again)
        state = first.state
        for turn in (1, 2):
            state = (await one_turn(engine, request(team, "Go on", turn=turn, state=state), again)).state
        assert [r["messages"] for r in fake.requests[begun:]] == [r["messages"] for r in remembered]
        assert again.speakers == remembering.speakers


def _spoken(told: Told) -> list[tuple[str, str]]:
    return [(event.agent.name, event.text) for event in told.events if isinstance(event, MessageEnded)]
