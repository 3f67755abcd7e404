"""LangChain behind the seam: a turn is a runnable called once, or a graph run to its end."""

import asyncio
from functools import partial
from typing import Any

from langchain_core.messages import BaseMessage

from hub.domain.run import Usage
from hub.engine.allowance import OverBudget
from hub.engine.attached import FetchIn
from hub.engine.base import AgentStarted, Emit, EngineEvent, Failure, Outcome, TurnRequest, TurnResult
from hub.engine.langchain.messages import MESSAGES, heard, history_of, seal, shown, unseal
from hub.engine.langchain.registry import Runnables
from hub.engine.langchain.speech import Speech
from hub.engine.langchain.tools import as_langchain
from hub.engine.models.errors import ModelError
from hub.engine.tools.registry import Tools
from hub.engine.watch import end, watch

MAX_DETAIL = 4_000


class LangChainEngine:
    """Speaks with what an operator's code has made. Everything between two turns is in the state."""

    def __init__(self, runnables: Runnables, tools: Tools, fetch: FetchIn | None = None) -> None:
        self._runnables = runnables
        self._tools = tools
        self._fetch = fetch

    async def turn(self, request: TurnRequest, emit: Emit, stop: asyncio.Event) -> TurnResult:
        if stop.is_set():
            return TurnResult(Outcome.CANCELLED, Usage())
        turn = _Turn(request, emit, self._tools, self._fetch)
        work = asyncio.get_running_loop().create_task(turn.run(self._runnables), name="runnable")
        try:
            early = await watch(work, stop, request.timeout_s)
        finally:
            turn.over = True
            await end(work)
        calls = tuple(turn.speech.model_calls)
        if early is not None:
            return TurnResult(early, turn.speech.usage, model_calls=calls)
        if work.cancelled():
            return TurnResult(
                Outcome.FAILED,
                turn.speech.usage,
                failure=Failure.ENGINE_ERROR,
                detail="cancelled by the runnable itself",
                model_calls=calls,
            )
        return work.result()


class _Turn:
    """One turn under way."""

    def __init__(self, request: TurnRequest, emit: Emit, tools: Tools, fetch: FetchIn | None) -> None:
        self._request = request
        self._fetch = fetch
        self._emit = emit
        self._fault: Exception | None = None
        self._one_by_one = asyncio.Lock()
        self.over = False
        team = request.team
        self._own = tools.only({tool: None for agent in team.agents for tool in agent.tools})
        first = [agent for agent in team.agents if agent.name == request.to]
        agents = [*first, *(agent for agent in team.agents if agent.name != request.to)]
        self.speech = Speech(team.runnable or "", request, agents, self._own, self._tell)
        self._first = agents[0]

    async def run(self, runnables: Runnables) -> TurnResult:
        """Do the turn. Raises nothing but CancelledError."""
        request, speech = self._request, self.speech
        try:
            values, messages = unseal(request.state)
            name = request.team.runnable or ""
            made = runnables.get(name, as_langchain(self._own))
            told, plain = [*messages, *heard(request.inputs)], dict[str, BaseMessage]()
            if self._fetch is not None:
                told, plain = await shown(told, partial(self._fetch, request.session), sees=runnables.sees(name))
            known = await speech.run(made, values, told)
            known[MESSAGES] = [plain.get(str(message.id), message) for message in known.get(MESSAGES, ())]
            state = seal(known, history_of(known[MESSAGES]))
        except Exception as e:  # noqa: BLE001 - boundary: whatever breaks a turn is its outcome
            reached = request.allowance.reached  # whatever became of it on its way through the runnable
            real = self._fault or (OverBudget(reached) if reached is not None else e)
            return TurnResult(
                Outcome.FAILED,
                speech.usage,
                failure=failure_of(real),
                detail=f"{type(real).__name__}: {real}"[:MAX_DETAIL],
                model_calls=tuple(speech.model_calls),
            )
        if not speech.texts:
            await self._tell(AgentStarted(self._first))
        return TurnResult(Outcome.DONE, speech.usage, state=state, reason="done", model_calls=tuple(speech.model_calls))

    async def _tell(self, event: EngineEvent) -> None:
        async with self._one_by_one:
            if self.over:
                raise asyncio.CancelledError
            try:
                await self._emit(event)
            except Exception as e:
                self._fault = e
                raise


_FAILURES = {
    "RateLimitError": Failure.MODEL_RATE_LIMITED,
    "AuthenticationError": Failure.MODEL_REFUSED,
    "PermissionDeniedError": Failure.MODEL_REFUSED,
    "BadRequestError": Failure.MODEL_REFUSED,
    "APITimeoutError": Failure.MODEL_STALLED,
    "APIConnectionError": Failure.MODEL_UNAVAILABLE,
    "InternalServerError": Failure.MODEL_UNAVAILABLE,
    "ConnectError": Failure.MODEL_UNAVAILABLE,
    "ContextOverflowError": Failure.CONTEXT_TOO_LONG,
    "OutputParserException": Failure.MALFORMED_OUTPUT,
}
"""By the names that the providers' clients give their errors: none of these is a dependency of ours."""


def failure_of(error: BaseException) -> Failure:
    """What a client may be told of an error."""
    if isinstance(error, ModelError):
        return error.failure
    if isinstance(error, OverBudget):
        return Failure.BUDGET_EXCEEDED
    names: list[Any] = [kind.__name__ for kind in type(error).__mro__]
    return next((_FAILURES[name] for name in names if name in _FAILURES), Failure.ENGINE_ERROR)
