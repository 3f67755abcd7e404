"""Agents that have others do something within their turn: teams that speak as one agent, and agents that are asked as
tools are called."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, HandoffMessage, TextMessage
from autogen_core import CancellationToken
from autogen_core.models import LLMMessage, SystemMessage, UserMessage

from hub.domain.budget import BudgetScope
from hub.domain.ids import new_id
from hub.domain.run import Usage
from hub.domain.team import ASKING, AgentSpec, Nested, TeamKind, TeamSpec
from hub.engine.autogen.killing import kill
from hub.engine.autogen.metered import SpeakingClient
from hub.engine.autogen.telling import Inside, Telling
from hub.engine.base import AgentStarted, Input, MessageEnded, Outcome, TextDelta, TurnRequest, TurnResult
from hub.engine.tools.outcome import ToolError
from hub.engine.tools.tool import Arguments, Tool, ToolContext, ToolKind

RunInside = Callable[[TurnRequest, Inside, CancellationToken], Awaitable[TurnResult]]
"""Does one turn inside the present one. Raises nothing but CancelledError."""

TRANSCRIPT_CHARACTERS = 60_000

_ASKED = "You were asked for something, and your team has worked on it. This is what was said:"
_ANSWER = "Answer now what you were asked for. Speak for yourself, and do not mention your team or its discussion."
_TASK = "What it is to do, with everything it must know: it knows nothing else."


class TeamAgent(BaseChatAgent):
    """A team that speaks as one agent: all its turns are within one turn of this agent."""

    def __init__(
        self, spec: AgentSpec, request: TurnRequest, telling: Telling, inside: RunInside | None, client: SpeakingClient
    ) -> None:
        super().__init__(spec.name, spec.description or spec.display_name)
        assert spec.nested is not None
        self._spec = spec
        self._nested: Nested = spec.nested
        self._request = request
        self._telling = telling
        self._inside = inside
        self._client = client
        self._state: str | None = None

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        return (TextMessage, HandoffMessage)  # the latter for a swarm, which refuses to begin with others

    async def on_messages(self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken) -> Response:
        async for item in self.on_messages_stream(messages, cancellation_token):
            if isinstance(item, Response):
                return item
        raise AssertionError("an agent's turn ends with its response")

    async def on_messages_stream(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | Response, None]:
        await self._telling.tell(AgentStarted(self._spec))
        heard = [Input(message.source, message.to_model_text()) for message in messages]
        said = await self._run(heard, cancellation_token)
        if self._nested.answers:
            text = await self._answer(heard, said, cancellation_token)
        else:
            text = said[-1].text if said else ""
            if not self._nested.is_shown:
                await self._say(text)
        self._telling.last_text = text
        yield Response(chat_message=TextMessage(source=self.name, content=text))

    async def on_reset(self, cancellation_token: CancellationToken) -> None:  # noqa: ARG002 - AutoGen gives it
        self._state = None

    async def save_state(self) -> Mapping[str, Any]:
        return {"type": "TeamAgentState", "team": self._state}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        self._state = state["team"]

    async def _run(self, heard: Sequence[Input], token: CancellationToken) -> list[Input]:
        """A run of the team, whose state then knows it. Gives what its agents have said."""
        assert self._inside is not None
        team = self._nested.team
        if team.model is None:
            team = replace(team, model=self._request.team.model)
        limits = [limit for limit in team.budgets if limit.scope is BudgetScope.RUN]
        telling = Inside(self._telling, is_shown=self._nested.is_shown, limits=limits)
        for turn in count():
            asked = replace(
                self._request,
                team=team,
                turn=turn,
                state=self._state,
                inputs=tuple(heard) if turn == 0 else (),
                to=None,
                results=(),
                goes_on=False,
                allowance=telling.allowance,
            )
            result = await self._inside(asked, telling, token)
            if result.state is None:
                self._telling.fault = telling.fault or RuntimeError(result.detail)
                raise self._telling.fault
            self._state = result.state
            if result.outcome is Outcome.DONE or (team.max_messages and len(telling.said) >= team.max_messages):
                break
        return telling.said

    async def _answer(self, heard: Sequence[Input], said: Sequence[Input], token: CancellationToken) -> str:
        told = "\n\n".join(f"{one.source} said:\n{one.text}" for one in (*heard, *said))
        asked: list[LLMMessage] = [
            UserMessage(content=f"{_ASKED}\n\n{told[-TRANSCRIPT_CHARACTERS:]}\n\n{_ANSWER}", source="user")
        ]
        if self._spec.instructions:
            asked.insert(0, SystemMessage(content=self._spec.instructions))
        answer = await self._client.create(asked, cancellation_token=token)
        return str(answer.content)

    async def _say(self, text: str) -> None:
        message = new_id()
        await self._telling.tell(TextDelta(message, self._spec, text))
        await self._telling.tell(MessageEnded(message, self._spec, text, Usage()))


def asking_tools(agent: AgentSpec, request: TurnRequest, telling: Telling, inside: RunInside | None) -> Iterator[Tool]:
    """The tools by which an agent asks its helpers. A call is one turn of a helper, which knows nothing but the task;
    others see of it that it was called, what came of it, and the tools that the helper called itself."""
    for helper in agent.helpers:
        assert inside is not None
        yield Tool(
            name=f"{ASKING}{helper.name}",
            description=f"Ask {helper.display_name}: {helper.description or helper.display_name}",
            parameters={
                "type": "object",
                "properties": {"task": {"type": "string", "description": _TASK}},
                "required": ["task"],
            },
            kind=ToolKind.SAFE,
            run=_Asked(agent, helper, request, telling, inside).answer,
            timeout_s=request.timeout_s,
        )


class _Asked:
    """One agent asking another."""

    def __init__(
        self, agent: AgentSpec, helper: AgentSpec, request: TurnRequest, telling: Telling, inside: RunInside
    ) -> None:
        self._agent = agent
        self._helper = helper
        self._request = request
        self._telling = telling
        self._inside = inside

    async def answer(self, arguments: Arguments, _context: ToolContext) -> str:
        """What the helper says. Raises ToolError when it says nothing."""
        task = arguments.get("task")
        if not isinstance(task, str) or not task.strip():
            raise ToolError("invalid arguments: task: this is to be a text")
        team = TeamSpec(
            self._request.team.name, "", TeamKind.ROUND_ROBIN, self._request.team.model, (self._helper,), max_turns=1
        )
        asked = replace(
            self._request,
            team=team,
            turn=0,
            state=None,
            inputs=(Input(self._agent.name, task),),
            prompt=task,
            to=None,
            results=(),
            goes_on=False,
            allowance=self._telling.allowance,
        )
        telling, token = Inside(self._telling, is_shown=False), CancellationToken()
        # Of its own: cancelling AutoGen's run waits for its end.
        work = asyncio.create_task(self._turn(asked, telling, token))  # noqa: TID251 - ended below
        telling.calls.add(work)
        work.add_done_callback(telling.calls.discard)
        try:
            await asyncio.wait({work})
        finally:
            if not work.done():
                await kill(work, token, telling)
        result = work.result()
        if result.outcome is not Outcome.DONE:
            raise ToolError(f"{self._helper.name} did not answer: {result.failure}")
        return telling.last_text

    async def _turn(self, asked: TurnRequest, telling: Inside, token: CancellationToken) -> TurnResult:
        return await self._inside(asked, telling, token)
