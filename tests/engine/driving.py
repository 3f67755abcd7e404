"""Driving an engine turn by turn, as a run does, and keeping what it tells."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from autogen_agentchat.teams import BaseGroupChat
from autogen_core.models import ChatCompletionClient

from hub.domain.ids import RunId, SessionId
from hub.domain.team import TeamSpec
from hub.engine.autogen.metered import Candidate
from hub.engine.autogen.telling import Telling
from hub.engine.base import (
    AgentStarted,
    CallResult,
    Engine,
    EngineEvent,
    Input,
    MessageEnded,
    Outcome,
    TextDelta,
    TurnRequest,
    TurnResult,
)
from hub.engine.catalog import Catalog
from hub.engine.models.registry import Model, ModelDeadlines, Models, ScriptedModel
from hub.engine.tools.builtin import Found, builtin_tools
from hub.engine.tools.registry import Tools
from hub.engine.tools.tool import Tool, ToolContext

PATIENT = ModelDeadlines(first_s=20, idle_s=20)
"""For what comes in the end, however slow the machine."""
HASTY = ModelDeadlines(first_s=3, idle_s=0.3)
"""For a model that stops in the middle: whichever of the two passes first."""
STALLING = ("stalling", "pinging")

SESSION, RUN = SessionId("session"), RunId("run")


class Counts:
    """Counters in memory; it is the store's own that the hub hands in."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    async def increment(self, key: str) -> int:
        self.values[key] = self.values.get(key, 0) + 1
        return self.values[key]


@dataclass
class Told:
    """What an engine has told, in order."""

    events: list[EngineEvent] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def emit(self, event: EngineEvent) -> None:
        self.events.append(event)
        self.more.set()

    @property
    def kinds(self) -> list[str]:
        """Kinds of events; deltas in a row count as one."""
        kinds: list[str] = []
        for event in self.events:
            kind = type(event).__name__
            if kind != "TextDelta" or kinds[-1:] != [kind]:
                kinds.append(kind)
        return kinds

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, MessageEnded)]

    @property
    def streamed(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def speakers(self) -> list[str]:
        return [event.agent.name for event in self.events if isinstance(event, AgentStarted)]


CONTEXT = ToolContext(SESSION, RUN, "team", "alpha", "bob", "call")


async def nothing_said(_session: SessionId, _query: str, _limit: int) -> Sequence[Found]:
    return []


def builtin(counts: Counts | None = None) -> list[Tool]:
    """The tools of every hub, with counters in memory."""
    return builtin_tools((counts or Counts()).increment, nothing_said)


def deadlines_for(mode: str) -> ModelDeadlines:
    """How long a fake model is waited for."""
    return HASTY if mode in STALLING else PATIENT


def catalog(
    *models: tuple[str, Model],
    counts: Counts | None = None,
    teams: Sequence[TeamSpec] | None = None,
    tools: Sequence[Tool] = (),
    deadlines: ModelDeadlines | None = None,
    tool_timeout_s: float = 5,
) -> Catalog:
    """A catalogue with the scripted model and any others; the last one is the default."""
    known: dict[str, Model] = {"scripted": ScriptedModel(), **dict(models)}
    available = [*builtin(counts), *tools]
    return Catalog(
        Models(known, default=list(known)[-1]),
        Tools(available, timeout_s=tool_timeout_s),
        teams=teams,
        deadlines=deadlines or ModelDeadlines(first_s=5, idle_s=5),
    )


def request(
    team: TeamSpec,
    prompt: str,
    *,
    turn: int = 0,
    state: str | None = None,
    inputs: Sequence[Input] | None = None,
    to: str | None = None,
    timeout_s: float = 30,
    results: Sequence[CallResult] | None = None,
) -> TurnRequest:
    """A turn; the prompt is the input of the first one. With `results` it is one that goes on after its calls."""
    if inputs is None:
        inputs = [Input("bob", prompt)] if turn == 0 and results is None else []
    return TurnRequest(
        SESSION,
        RUN,
        team,
        turn,
        state,
        tuple(inputs),
        prompt,
        to,
        timeout_s,
        results=tuple(results or ()),
        goes_on=results is not None,
    )


def engine_tasks() -> set["asyncio.Task[object]"]:
    """The tasks that may be an engine's. A hub of other tests may be there, too, and closes connections to its
    database, which no engine has."""
    return {task for task in asyncio.all_tasks() if "/sqlalchemy/" not in repr(task)}


async def one_turn(engine: Engine, asked: TurnRequest, told: Told, stop: asyncio.Event | None = None) -> TurnResult:
    """One turn, after which no task of the engine may be left."""
    before = engine_tasks()
    async with asyncio.timeout(30):
        result = await engine.turn(asked, told.emit, stop or asyncio.Event())
    seen = len(told.events)
    await asyncio.sleep(0)
    new = {task for task in engine_tasks() - before if not task.done()}
    left = {task for task in new if not task.get_name().startswith("fake")}
    assert not left, left
    assert len(told.events) == seen
    return result


def knowing(team: BaseGroupChat) -> Telling:
    """What a turn of that team tells with."""
    telling = Telling(Told().emit)
    telling.team = team
    return telling


def alone(client: ChatCompletionClient) -> list[Candidate]:
    """A client as the only one to ask."""
    return [Candidate("scripted", ScriptedModel(), client)]


async def carry_out(result: TurnResult, tools: Tools) -> list[CallResult]:
    """What a run does with the calls a turn asks for, when nobody minds."""
    results = list[CallResult]()
    for asked in result.calls:
        outcome = await tools.call(asked.name, orjson.loads(asked.arguments), CONTEXT)
        results.append(CallResult(asked.call, asked.name, outcome.text, outcome.is_error))
    return results


async def whole_run(
    engine: Engine,
    team: TeamSpec,
    prompt: str,
    *,
    state: str | None = None,
    to: str | None = None,
    tools: Tools | None = None,
) -> tuple[Told, list[TurnResult]]:
    """All turns of a run that succeeds; `tools` carries out what it asks for."""
    told, results = Told(), list[TurnResult]()
    turn, called = 0, None
    while not results or results[-1].outcome in (Outcome.NEXT, Outcome.CALLS):
        asked = request(team, prompt, turn=turn, state=state, to=to, results=called)
        result = await one_turn(engine, asked, told)
        results.append(result)
        called, state = None, result.state
        if result.outcome is Outcome.CALLS:
            assert tools is not None, result.calls
            called = await carry_out(result, tools)
        else:
            turn += 1
    assert results[-1].outcome is Outcome.DONE, results[-1]
    return told, results


async def until_streaming(told: Told, tokens: int = 1) -> None:
    """Wait until so many tokens were told."""
    async with asyncio.timeout(30):
        while sum(isinstance(event, TextDelta) for event in told.events) < tokens:
            told.more.clear()
            await told.more.wait()
