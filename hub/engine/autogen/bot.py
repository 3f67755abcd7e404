"""The words of a bot: what a program says over the wire."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import assert_never

from autogen_core.models import AssistantMessage, CreateResult, LLMMessage, UserMessage

from hub.domain.team import AgentSpec
from hub.engine.autogen.metered import Candidate
from hub.engine.autogen.seat import SeatClient
from hub.engine.autogen.telling import Telling
from hub.engine.base import Failure, TurnRequest
from hub.engine.bots import Bots, BotTurn, Ended, Spoken, Void
from hub.engine.models.errors import ModelError
from hub.protocol.live import HeardData


class BotClient(SeatClient):
    """Has the turn spoken by a bot."""

    def __init__(
        self,
        bots: Bots | None,
        request: TurnRequest,
        agent: AgentSpec,
        telling: Telling,
        models_for: Callable[[AgentSpec], Sequence[Candidate]],
    ) -> None:
        super().__init__(request, agent, telling, models_for)
        self._bots = bots

    async def _spoken(self, messages: Sequence[LLMMessage]) -> AsyncGenerator[CreateResult, None]:
        if self._bots is None:
            raise ModelError(Failure.BOT_UNAVAILABLE, "this hub has no bots")
        names = {agent.name for agent in self._request.team.agents}
        context = await self._bots.context(self._request.session, list(_heard(messages, names)))
        turn = BotTurn(self._request, self._agent, context, self._agent.handoffs)
        async with aclosing(self._bots.speak(turn)) as heard:
            async for item in heard:
                match item:
                    case Spoken(text=text):
                        await self._piece(text)
                    case Void():
                        await self._begin_anew(self._agent)
                    case Ended(text=text, handoff=handoff):
                        yield await self._end(text, handoff)
                    case _:
                        assert_never(item)


def _heard(messages: Sequence[LLMMessage], agents: set[str]) -> Iterator[HeardData]:
    """What people and agents have said."""
    for message in messages:
        match message:
            case UserMessage(source=source, content=str(text)) | AssistantMessage(source=source, content=str(text)):
                yield HeardData(kind="agent" if source in agents else "user", name=source, text=text)
            case AssistantMessage(source=source, thought=str(text)) if text:  # what it said when it handed over
                yield HeardData(kind="agent", name=source, text=text)
            case _:
                continue
