"""The words of a person who has a place in the team.

Their turn is asked for by a call that the run carries out as a question: it waits in a row, for days if need be, and
the answer is what they say.
"""

from collections.abc import AsyncGenerator, Sequence

from autogen_core import FunctionCall
from autogen_core.models import CreateResult, FunctionExecutionResultMessage, LLMMessage

from hub.domain.ids import new_id
from hub.domain.team import TAKE_TURN
from hub.engine.autogen.seat import SeatClient, result
from hub.engine.base import Failure
from hub.engine.models.errors import ModelError
from hub.engine.tools.registry import canonical


class PersonClient(SeatClient):
    """Asks for the turn; when the turn goes on, says what was answered."""

    async def _spoken(self, messages: Sequence[LLMMessage]) -> AsyncGenerator[CreateResult, None]:
        last = messages[-1] if messages else None
        if not isinstance(last, FunctionExecutionResultMessage):
            yield result([FunctionCall(id=new_id(), name=TAKE_TURN, arguments=canonical(self._arguments()))])
            return
        answer = last.content[-1]
        if answer.is_error:
            raise ModelError(Failure.PERSON_UNAVAILABLE, f"nobody has spoken the turn of {self._agent.name}")
        yield await self._end(answer.content)

    def _arguments(self) -> dict[str, object]:
        assert self._agent.seat is not None
        prompt = self._agent.instructions or f"It is the turn of {self._agent.display_name}."
        user = self._agent.seat.user
        return {"prompt": prompt} if user is None else {"prompt": prompt, "user": user}
