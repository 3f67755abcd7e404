"""The scripted engine: agents without a framework or a model, for tests, load and outside checks."""

import asyncio
from dataclasses import dataclass

import orjson

from hub.domain.ids import new_id
from hub.domain.run import Usage
from hub.domain.team import AgentSpec
from hub.engine.allowance import OverBudget
from hub.engine.base import (
    AgentStarted,
    AskedCall,
    Emit,
    Failure,
    MessageEnded,
    Outcome,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnRequest,
    TurnResult,
)
from hub.engine.models.errors import ModelError
from hub.engine.models.registry import ModelDeadlines
from hub.engine.script import Said, Script, plan
from hub.engine.timer_wheel import TimerWheel
from hub.engine.tools.registry import Tools, canonical
from hub.engine.tools.tool import ToolKind
from hub.engine.watch import watch

NAME = "scripted"
KEPT_MESSAGES = 400  # of a session's history in the state


class ScriptedEngine:
    """Says what the message that asked for the run says; remembers the conversation like any other engine."""

    def __init__(self, tools: Tools, deadlines: ModelDeadlines) -> None:
        self._tools = tools
        self._deadlines = deadlines
        self._wheel = TimerWheel()

    async def turn(self, request: TurnRequest, emit: Emit, stop: asyncio.Event) -> TurnResult:
        if stop.is_set():
            return TurnResult(Outcome.CANCELLED, Usage())
        speech = _Speech()
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(self._speak(request, emit, speech))
            early = await watch(work, stop, request.timeout_s)
            work.cancel()
        if early is not None:
            return TurnResult(early, speech.usage)
        return work.result()

    async def _speak(self, request: TurnRequest, emit: Emit, speech: "_Speech") -> TurnResult:
        script = plan(request.prompt)
        agents = request.team.agents
        first = next((i for i, agent in enumerate(agents) if agent.name == request.to), 0)
        agent = agents[(first + request.turn) % len(agents)]
        try:
            history = _history(request)
            await emit(AgentStarted(agent))
            if script.calls_tool(request.turn) and not request.goes_on:
                await request.allowance.call_tools(1)
                if self._tools.only(agent.tools).kind(script.tool, script.arguments) in (None, ToolKind.SAFE):
                    await self._call(script, agent, request, emit)
                else:
                    asked = AskedCall(new_id(), agent, script.tool, canonical(script.arguments))
                    return TurnResult(Outcome.CALLS, speech.usage, state=_state(history), calls=(asked,))
            text = await self._stream(script, request, agent, history, emit, speech)
        except OverBudget as e:
            return TurnResult(Outcome.FAILED, speech.usage, failure=Failure.BUDGET_EXCEEDED, detail=str(e))
        except ModelError as e:
            return TurnResult(Outcome.FAILED, speech.usage, failure=e.failure, detail=str(e))
        except Exception as e:  # noqa: BLE001 - boundary: whatever breaks a turn is its outcome
            return TurnResult(Outcome.FAILED, speech.usage, failure=Failure.ENGINE_ERROR, detail=repr(e))
        history.append(Said(agent.name, text))
        last = request.turn + 1 >= script.length(len(agents), addressed=request.to is not None)
        return TurnResult(Outcome.DONE if last else Outcome.NEXT, speech.usage, state=_state(history))

    async def _stream(
        self, script: Script, request: TurnRequest, agent: AgentSpec, history: list[Said], emit: Emit, speech: "_Speech"
    ) -> str:
        message, allowance = new_id(), request.allowance
        heard = sum(len(said.text.split()) for said in history)
        await allowance.spend(heard, 0)
        speech.prompt_tokens = heard
        loop, wheel, bounded = asyncio.get_running_loop(), self._wheel, allowance.is_bounded
        for moment, piece in script.steps(request.turn, history, loop.time, idle_s=self._deadlines.idle_s):
            if moment is not None:
                await wheel.until(moment, loop)
            if piece:
                speech.tokens += 1
                if bounded:
                    allowance.add(1, 0)
                    if allowance.is_over:
                        await allowance.check()
                await emit(TextDelta(message, agent, piece))
        text = "".join(script.pieces(request.turn, history))
        await emit(MessageEnded(message, agent, text, speech.usage))
        return text

    async def _call(self, script: Script, agent: AgentSpec, request: TurnRequest, emit: Emit) -> None:
        call = new_id()
        await emit(ToolStarted(call, agent, script.tool, canonical(script.arguments)))
        tools = self._tools.only(agent.tools)
        outcome = await tools.call(script.tool, script.arguments, request.context(agent, call))
        await emit(ToolEnded(call, agent, script.tool, outcome.text, outcome.is_error))


@dataclass(slots=True)
class _Speech:
    """What was said so far; it counts when the turn ends early, too."""

    prompt_tokens: int = 0
    tokens: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.tokens)


def _history(request: TurnRequest) -> list[Said]:
    """The conversation up to this turn. ValueError when the state is not one of this engine's."""
    known: list[Said] = []
    if request.state is not None:
        state = orjson.loads(request.state)
        if state.get("engine") != NAME:
            raise ValueError(f"the state was written by another engine: {state.get('engine')!r}")
        known = [Said(source, text) for source, text in state["history"]]
    return known + [Said(given.source, given.text) for given in request.inputs]


def _state(history: list[Said]) -> str:
    kept = [(said.source, said.text) for said in history[-KEPT_MESSAGES:]]
    return orjson.dumps({"engine": NAME, "history": kept}).decode()
