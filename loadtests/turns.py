"""What a turn costs beyond the model: processor time of an engine's turn, less that of the bare model client.

    python -m loadtests.turns

For each kind of team, turns of many lengths are done in this process, on the scripted model, each by an engine that
knows the checkpoint only, as in a hub; a line through them gives a part for each turn and one for each token. Kinds
whose turns are several model calls are measured per call of an agent. Ends with 1 when the promise breaks: 3 ms for a
turn of one agent, and 20 µs for a token.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import time

from hub.domain.ids import RunId, SessionId
from hub.domain.team import AgentSpec, Edge, Nested, TeamKind, TeamSpec
from hub.engine.autogen.engine import AutoGenEngine
from hub.engine.base import EngineEvent, Input, Outcome, TurnRequest
from hub.engine.models.registry import ModelDeadlines, Models, ScriptedModel
from hub.engine.models.scripted import ScriptedClient
from hub.engine.script import plan
from hub.engine.tools.registry import Tools

PROMISE_MS = 3.0
PROMISE_US = 20.0
LENGTHS = (0, 200, 1_000, 4_000)
DEADLINES = ModelDeadlines()

_TWO = (AgentSpec("alpha", "Alpha"), AgentSpec("beta", "Beta"))
_INNER = TeamSpec("desk", "", TeamKind.ROUND_ROBIN, None, (AgentSpec("first", "First"),), max_turns=1)
TEAMS = {
    "round_robin": TeamSpec("t", "", TeamKind.ROUND_ROBIN, None, _TWO),
    "selector": TeamSpec("t", "", TeamKind.SELECTOR, None, _TWO),
    "swarm": TeamSpec("t", "", TeamKind.SWARM, None, _TWO),
    "graph": TeamSpec("t", "", TeamKind.GRAPH, None, _TWO, edges=(Edge("alpha", "beta"),)),
    "magentic": TeamSpec("t", "", TeamKind.MAGENTIC, None, _TWO),
    "nested": TeamSpec("t", "", TeamKind.ROUND_ROBIN, None, (AgentSpec("desk", "Desk", nested=Nested(_INNER)),)),
}
SINGLE = ("round_robin", "selector", "swarm", "graph", "magentic")  # one model call a turn


async def emit(_: EngineEvent) -> None:
    """What a run does with events is not the engine's."""


async def turns(team: TeamSpec, tokens: int, times: int) -> float:
    """Processor seconds of a turn, the median."""
    engine = AutoGenEngine(Models({"scripted": ScriptedModel()}, default="scripted"), Tools(), DEADLINES)
    state, took = None, list[float]()
    prompt = f"/script turns=9999 tokens={tokens}"
    for number in range(times):
        request = TurnRequest(
            SessionId("s"),
            RunId("r"),
            team,
            0,  # each turn is the first of a run: it has a message, and none is the last
            state,
            (Input("bob", prompt),),
            prompt,
            None,
            60.0,
        )
        began = time.process_time()
        result = await engine.turn(request, emit, asyncio.Event())
        took.append(time.process_time() - began)
        if result.outcome is not Outcome.NEXT:
            raise RuntimeError(f"turn {number} of a team of kind {team.kind} ended with {result}")
        state = result.state if number % 10 else None  # a conversation of ten messages at most
    await engine.aclose()
    return statistics.median(took)


async def bare(tokens: int, times: int) -> float:
    """Processor seconds of the model client alone, the median."""
    took = list[float]()
    for _ in range(times):
        client = ScriptedClient(plan(f"/script turns=9999 tokens={tokens}"), 0, DEADLINES)
        began = time.process_time()
        async for _ in client.create_stream([]):
            pass
        took.append(time.process_time() - began)
    return statistics.median(took)


def line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """The line through points, as what it has at 0 and its slope."""
    slope, offset = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    return offset, slope


async def measure(times: int) -> int:
    """Print a line for each kind; 1 when a promise breaks."""
    broken = False
    for kind, team in TEAMS.items():
        points = list[tuple[int, float]]()
        await turns(team, 10, 5)
        for tokens in LENGTHS:
            gc.collect()
            points.append((tokens, await turns(team, tokens, times) - await bare(tokens, times)))
        per_turn, per_token = line(points)
        fails = kind in SINGLE and (per_turn * 1e3 > PROMISE_MS or per_token * 1e6 > PROMISE_US)
        broken = broken or fails
        shown = f"{kind:12} {per_turn * 1e3:5.2f} ms a turn, {per_token * 1e6:5.1f} µs a token"
        print(shown + (f"  BROKEN: {PROMISE_MS:g} ms and {PROMISE_US:g} µs are promised" if fails else ""))
    return int(broken)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.turns", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--times", type=int, default=30, help="turns of each length")
    return asyncio.run(measure(parser.parse_args().times))


if __name__ == "__main__":
    sys.exit(main())
