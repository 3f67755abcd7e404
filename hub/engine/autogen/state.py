"""The checkpoint of an AutoGen team: its own state in an envelope that tells who can read it.

AutoGen checks nothing when it loads: unknown agents are ignored, and a missing one is noticed half way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import autogen_agentchat
import orjson

from hub.domain.team import TeamKind, TeamSpec
from hub.engine.autogen.asking import Asking
from hub.engine.autogen.graph import PROGRESS
from hub.engine.base import CallResult
from hub.engine.script import Said

NAME = "autogen"
SCHEMA = 1
KEPT_MESSAGES = 400  # per agent: the state holds everything once per agent, and is written after every turn
KEPT_CHARACTERS = 400_000
KEPT_FOR_SELECTION = 20

_TOOL_RESULT = "FunctionExecutionResultMessage"
NOT_CARRIED_OUT = "This call was not carried out: the turn was stopped."

_SPOKEN = ("UserMessage", "AssistantMessage", "TextMessage", "ToolCallSummaryMessage")


@dataclass(frozen=True, slots=True)
class Asked:
    """Calls in a state that await their results: whose, and after how many rounds of calls in that turn."""

    agent: str
    rounds: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint as it is to be used: a team's state to load, or else what was said, to be told to a new team.
    `asked` is there when the state was that of a turn that goes on after calls."""

    team: Mapping[str, Any] | None
    said: tuple[Said, ...] = ()
    asked: Asked | None = None


def seal(team: Mapping[str, Any], spec: TeamSpec, asking: Asking) -> str:
    """A team's state, pruned, as JSON text."""
    agents = team["agent_states"]
    asked = None
    if asking.calls:
        asked = {
            "agent": asking.calls[0].agent.name,
            "rounds": asking.rounds,
            "calls": [call.call for call in asking.calls],
        }
    for name, state in agents.items():
        for kept in ("message_buffer", "message_thread"):
            if asking.hidden is not None and kept in state:
                state[kept] = [message for message in state[kept] if message["id"] != asking.hidden]
        if "message_thread" in state:
            _prune_manager(state, spec)
        elif name in {agent.name for agent in spec.agents}:
            if (context := state["agent_state"].get("llm_context")) is not None:  # a team has its own checkpoint
                context["messages"] = _recent(context["messages"])
            state["message_buffer"] = _recent(state["message_buffer"])
    envelope = {
        "engine": NAME,
        "version": autogen_agentchat.__version__,
        "schema": SCHEMA,
        "shape": _shape(spec),
        "team": team,
        "asked": asked,
    }
    return orjson.dumps(envelope).decode()


def unseal(text: str | None, spec: TeamSpec, results: Sequence[CallResult] = ()) -> Opened:
    """Read a checkpoint, with the results of the calls it awaits. ValueError when it is no checkpoint of an engine of
    ours.

    One that another engine or version wrote, or a team of other agents, is not loaded; what was said is kept, and what
    calls came to is told as their agent's words.
    """
    if text is None:
        return Opened(team=None)
    envelope = orjson.loads(text)
    match envelope:
        case {"engine": "autogen", "version": version, "schema": int(schema), "shape": shape, "team": dict(team)}:
            asked = envelope.get("asked")
            if (version, schema, shape) == (autogen_agentchat.__version__, SCHEMA, _shape(spec)):
                if asked is None:
                    return Opened(team=team)
                _settle(team, asked, results)
                return Opened(team=team, asked=Asked(asked["agent"], asked["rounds"]))
            told = [Said(asked["agent"], f"({result.name}: {result.text})") for result in results] if asked else ()
            return Opened(team=None, said=(*said_in(team), *told))
        case {"engine": "scripted" | "langchain", "history": list(history)}:
            return Opened(team=None, said=tuple(Said(source, words) for source, words in history))
        case _:
            raise ValueError("the state is not a checkpoint of this engine")


def give_floor(team: Mapping[str, Any], speaker: str) -> None:
    """Let this agent of a swarm speak next."""
    for state in team["agent_states"].values():
        if "current_speaker" in state:
            state["current_speaker"] = speaker


def begin_anew(team: Mapping[str, Any]) -> None:
    """Let a graph begin at its start: every run does."""
    for state in team["agent_states"].values():
        if "message_thread" in state:
            for key in PROGRESS:
                state.pop(key, None)


def _shape(spec: TeamSpec) -> str:
    """What must be equal for a state to fit; instructions and models may change between two turns."""
    edges = [f"{e.source}>{e.target}:{e.when}:{e.group}:{e.any_of_group}" for e in spec.edges]
    agents = (f"{a.name}({_shape(a.nested.team)})" if a.nested is not None else a.name for a in spec.agents)
    return ":".join([spec.kind, ",".join(sorted(agents)), *edges])


def _settle(team: Mapping[str, Any], asked: Mapping[str, Any], results: Sequence[CallResult]) -> None:
    """Put results where the placeholders are: in the last answer to calls that the agent has in its context."""
    known = {result.call: result for result in results}
    for entry in _last_results(team["agent_states"][asked["agent"]]["agent_state"]["llm_context"]["messages"]):
        if (call := entry["content"]) in asked["calls"]:
            result = known.get(call)
            entry["content"] = result.text if result is not None else NOT_CARRIED_OUT
            entry["is_error"] = result.is_error if result is not None else True


def _last_results(messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in reversed(messages):
        if message["type"] == _TOOL_RESULT:
            yield from message["content"]
            return


def _prune_manager(state: dict[str, Any], spec: TeamSpec) -> None:
    """The manager's copy of the conversation serves the selection of speakers only.

    Round robin begins with the first participant, always: the team is built with the next speaker as the first.
    """
    kept = KEPT_FOR_SELECTION if spec.kind is TeamKind.SELECTOR else 0
    thread = state["message_thread"]
    if spec.kind is TeamKind.MAGENTIC:
        state["message_thread"] = _recent(thread)
        return
    state["message_thread"] = thread[-kept:] if kept else []
    if "current_speaker" in state:  # a swarm finds it in the conversation only, when the next turn begins
        handed = [message["target"] for message in thread if message["type"] == "HandoffMessage"]
        state["current_speaker"] = handed[-1] if handed else state["current_speaker"]
    if "next_speaker_index" in state:
        state["next_speaker_index"] = 0


def _recent(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    left, first = KEPT_CHARACTERS, len(messages)
    oldest = max(0, first - KEPT_MESSAGES)
    while first > oldest and left > 0:
        first -= 1
        left -= len(str(messages[first]["content"]))
    while first < len(messages) and messages[first]["type"] == _TOOL_RESULT:
        first += 1  # providers refuse a tool's result without the call it answers
    return messages[first:]


def said_in(team: Mapping[str, Any]) -> tuple[Said, ...]:
    """The conversation as the agent that knows most of it has it."""
    views = []
    for state in team["agent_states"].values():
        if "earlier" in state:  # agents of a magentic team forget it with every plan
            views.append(tuple(Said(source, text) for source, text in state["earlier"]))
        if "llm_context" in state.get("agent_state", ()):
            messages = state["agent_state"]["llm_context"]["messages"] + state["message_buffer"]
            spoken = [m for m in messages if m["type"] in _SPOKEN and isinstance(m["content"], str)]
            views.append(tuple(Said(message["source"], message["content"]) for message in spoken))
    return max(views, key=len, default=())
