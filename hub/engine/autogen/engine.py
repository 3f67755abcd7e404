"""AutoGen behind the seam: one turn of a team, durable, cancellable, bounded, metered."""

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient

from hub.domain.run import Usage
from hub.domain.team import AgentSpec, TeamKind
from hub.engine.allowance import OverBudget
from hub.engine.attached import FetchIn
from hub.engine.autogen.build import TeamBuilder
from hub.engine.autogen.killing import kill
from hub.engine.autogen.magentic import MORE
from hub.engine.autogen.metered import Candidate
from hub.engine.autogen.state import Opened, begin_anew, give_floor, seal, unseal
from hub.engine.autogen.telling import Inside, Telling
from hub.engine.base import Emit, Failure, Outcome, TurnRequest, TurnResult
from hub.engine.bots import Bots
from hub.engine.models.connections import Connections
from hub.engine.models.directed import Direction
from hub.engine.models.errors import ModelError
from hub.engine.models.hosted import HostedClient
from hub.engine.models.registry import HostedModel, Model, ModelDeadlines, Models, ScriptedModel, tuned
from hub.engine.models.scripted import ScriptedClient
from hub.engine.script import plan
from hub.engine.timer_wheel import TimerWheel
from hub.engine.tools.registry import Tools
from hub.engine.watch import watch

if TYPE_CHECKING:
    from hub.engine.langchain.agent import RunnableAgents

MAX_DETAIL = 4_000
_SELF_ENDING = (TeamKind.SWARM, TeamKind.GRAPH)


class AutoGenEngine:
    """Builds the team anew for every turn, from its spec and the last checkpoint, and drops it afterwards.

    AutoGen logs each message at INFO and each cancel with a traceback; what matters of it is in a turn's result, so its
    loggers are silenced here, for the process.
    """

    def __init__(
        self,
        models: Models,
        tools: Tools,
        deadlines: ModelDeadlines,
        bots: Bots | None = None,
        runnables: "RunnableAgents | None" = None,
        fetch: FetchIn | None = None,
    ) -> None:
        self.models = models
        self.tools = tools
        self._deadlines = deadlines
        self._wheel = TimerWheel()
        self._connections = Connections()
        self.bots = bots
        self.runnables = runnables
        self._fetch = fetch
        for name in ("autogen_core", "autogen_agentchat"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    async def turn(self, request: TurnRequest, emit: Emit, stop: asyncio.Event) -> TurnResult:
        if stop.is_set():
            return TurnResult(Outcome.CANCELLED, Usage())
        telling = Telling(emit, request.allowance)
        turn = _Turn(self, request, telling, CancellationToken())
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(turn.run())
            try:
                early = await watch(work, stop, request.timeout_s)
            finally:
                telling.close()
                if not work.done():
                    await kill(work, turn.token, telling)
        if early is not None:
            return TurnResult(early, telling.usage, model_calls=tuple(telling.model_calls))
        if work.cancelled():
            return TurnResult(
                Outcome.FAILED,
                telling.usage,
                failure=Failure.ENGINE_ERROR,
                detail="cancelled by the team itself",
                model_calls=tuple(telling.model_calls),
            )
        return replace(work.result(), model_calls=tuple(telling.model_calls))

    async def aclose(self) -> None:
        """Close connections to models."""
        await self._connections.aclose()

    def candidates(self, request: TurnRequest, agent: AgentSpec | None) -> list[Candidate]:
        """The models to ask for an agent's words, or for a question of the hub's own."""
        if agent is None:
            chain = self.models.chain(request.team.model)
        else:
            chain = [
                (alias, tuned(model, temperature=agent.temperature, max_tokens=agent.max_tokens))
                for alias, model in self.models.chain(agent.model or request.team.model)
            ]
        return [Candidate(alias, model, self._client(model, request, agent)) for alias, model in chain]

    def _client(self, model: Model, request: TurnRequest, agent: AgentSpec | None) -> ChatCompletionClient:
        match model:
            case ScriptedModel():
                return ScriptedClient(plan(request.prompt), request.turn, self._deadlines, self._wheel)
            case HostedModel():
                direction = fetch = None
                if agent is not None and self._fetch is not None:
                    fetch = partial(self._fetch, request.session)
                if model.speakers == "directed" and agent is not None:
                    direction = Direction(request.team, agent)
                return HostedClient(self._connections, model, self._deadlines, direction, fetch)


class _Turn:
    """One turn under way; or one inside it, that an agent has another team do, in which nothing waits for people."""

    def __init__(
        self,
        engine: AutoGenEngine,
        request: TurnRequest,
        telling: Telling,
        token: CancellationToken,
        *,
        is_inside: bool = False,
    ) -> None:
        self._engine = engine
        self._request = request
        self._model = engine.models.get(request.team.model)
        self._telling = telling
        self._is_inside = is_inside
        self.token = token
        self._stopped: str | None = None

    async def run(self) -> TurnResult:
        """Do the turn. Raises nothing but CancelledError."""
        request, telling, engine = self._request, self._telling, self._engine
        try:
            opened = unseal(request.state, request.team, request.results)
            speaker = None
            if request.goes_on and opened.asked is not None:
                speaker, telling.asking.rounds = opened.asked.agent, opened.asked.rounds
            elif request.team.kind is TeamKind.SWARM and request.turn == 0 and request.to is None:
                speaker = _last_to_speak(opened, request)
            team = TeamBuilder(
                request,
                self._model,
                lambda agent: engine.candidates(request, agent),
                engine.tools,
                telling,
                speaker,
                engine.bots,
                engine.runnables,
                inside=self._inside,
                is_inside=self._is_inside,
                is_last=request.turn + 1 >= self._turns(),
            ).build()
            telling.team = team
            if opened.team is not None:
                if request.turn == 0 and not request.goes_on:
                    begin_anew(opened.team)
                if (floor := speaker or (request.to if request.turn == 0 else None)) is not None:
                    give_floor(opened.team, floor)
                await team.load_state(opened.team)
            async for item in team.run_stream(
                task=_task(opened, request), cancellation_token=self.token, output_task_messages=False
            ):
                # All else was told at the agents, in order.
                self._stopped = item.stop_reason if isinstance(item, TaskResult) else None
            state = seal(await team.save_state(), request.team, telling.asking)
        except Exception as e:  # noqa: BLE001 - boundary: whatever breaks a turn is its outcome
            return self._failed(e)
        if calls := telling.asking.calls:
            return TurnResult(Outcome.CALLS, telling.usage, state=state, calls=calls)
        reason = self._end()
        return TurnResult(Outcome.NEXT if reason is None else Outcome.DONE, telling.usage, state=state, reason=reason)

    async def _inside(self, request: TurnRequest, telling: Inside, token: CancellationToken) -> TurnResult:
        """Do a turn that belongs to a team, or an agent, inside this one."""
        telling.begin()
        return await _Turn(self._engine, request, telling, token, is_inside=True).run()

    def _end(self) -> str | None:
        """Why the team has finished with this turn, or None when it has not."""
        request, spec = self._request, self._request.team
        if spec.stop_phrase is not None and spec.stop_phrase in self._telling.last_text:
            return "stop_phrase"
        if spec.kind in (TeamKind.GRAPH, TeamKind.MAGENTIC) and self._stopped != MORE:
            return "done"
        if request.turn + 1 >= self._turns():
            return "done"
        return None

    def _turns(self) -> int:
        """How many turns the run has, as far as that is known now."""
        request, spec = self._request, self._request.team
        addressed = request.to is not None
        if isinstance(self._model, ScriptedModel):
            script = plan(request.prompt)
            if script.turns is not None or spec.kind not in _SELF_ENDING:
                speakers = len(spec.agents) + (spec.kind is TeamKind.MAGENTIC)  # whose orchestrator answers, too
                length = script.length(speakers, addressed=addressed)
                return min(length, spec.max_turns) if self._is_inside else length
        match spec.kind:
            case TeamKind.SWARM:
                return spec.max_turns if self._telling.handed_to is not None else request.turn + 1
            case TeamKind.GRAPH:
                return spec.max_turns
            case TeamKind.ROUND_ROBIN | TeamKind.SELECTOR | TeamKind.MAGENTIC | TeamKind.SCRIPTED | TeamKind.RUNNABLE:
                return 1 if addressed else spec.max_turns
            case _:
                assert_never(spec.kind)

    def _failed(self, error: Exception) -> TurnResult:
        """AutoGen's errors are text; the real one was noted where it arose."""
        real = self._telling.fault or error
        failure = Failure.ENGINE_ERROR
        if isinstance(real, ModelError):
            failure = real.failure
        elif isinstance(real, OverBudget):
            failure = Failure.BUDGET_EXCEEDED
        detail = repr(real) if failure is Failure.ENGINE_ERROR else str(real)
        return TurnResult(Outcome.FAILED, self._telling.usage, failure=failure, detail=detail[:MAX_DETAIL])


def _last_to_speak(opened: Opened, request: TurnRequest) -> str | None:
    """Who had the floor of a swarm in what it is told and does not remember; None when no agent spoke in it."""
    told = [said.source for said in opened.said] + [message.source for message in request.inputs if message.is_agent]
    names = {agent.name for agent in request.team.agents}
    return next((source for source in reversed(told) if source in names), None)


def _task(opened: Opened, request: TurnRequest) -> list[BaseChatMessage] | None:
    """What the team is told before the turn: None when there is nothing new."""
    given = [TextMessage(source=said.source, content=said.text) for said in opened.said]
    given += [TextMessage(source=message.source, content=message.text) for message in request.inputs]
    return list[BaseChatMessage](given) or None
