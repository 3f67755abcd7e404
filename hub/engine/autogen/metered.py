"""Model calls of a turn: told as they stream, counted, and their real errors kept."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from io import StringIO
from typing import Any

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage

from hub.domain.ids import new_id
from hub.domain.run import ModelCall, Usage
from hub.domain.team import AgentSpec
from hub.engine.autogen.asking import harmless
from hub.engine.autogen.handoffs import settled
from hub.engine.autogen.telling import Telling
from hub.engine.base import Failure, MessageEnded, ReasoningDelta, TextDelta
from hub.engine.models.client import StreamingClient, Thought, end_with
from hub.engine.models.errors import ModelError
from hub.engine.models.registry import HostedModel, Model, Price


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be asked, by its alias."""

    alias: str
    model: Model
    client: ChatCompletionClient

    @property
    def price(self) -> Price:
        return self.model.price if isinstance(self.model, HostedModel) else Price()

    @property
    def shown_characters(self) -> int | None:
        """How much of a conversation the model is sent; None is everything."""
        return self.model.context_characters if isinstance(self.model, HostedModel) else None


class MeteredClient(StreamingClient):
    """Asks the first of several models that answers, and keeps an account of every call, also of failed and unfinished
    ones, with the real exception.

    The next one is asked only as long as no piece has come, and not about what one of them refuses to answer. A call
    that did not come to its end, or whose provider tells no usage, counts the pieces that came, and a guess at what was
    sent.
    """

    def __init__(self, chain: Sequence[Candidate], telling: Telling, agent: AgentSpec | None = None) -> None:
        info = chain[0].client.model_info
        super().__init__(calls_tools=info["function_calling"], sees=info["vision"], writes_json=info["json_output"])
        self._chain = chain
        self._telling = telling
        self._asking = agent.name if agent is not None else None

    async def create_stream(
        self, messages: Sequence[LLMMessage], *, cancellation_token: CancellationToken | None = None, **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        end_with(cancellation_token)
        for number, candidate in enumerate(self._chain, 1):
            said = False
            try:
                async with aclosing(self._call(candidate, messages, options)) as stream:
                    async for piece in stream:
                        said = True
                        yield piece
            except Exception as e:
                if said or number == len(self._chain) or not _asks_another(e):
                    self._telling.fault = self._telling.fault or e
                    raise
            else:
                return

    async def _call(
        self, candidate: Candidate, messages: Sequence[LLMMessage], options: Mapping[str, Any]
    ) -> AsyncGenerator[str | CreateResult, None]:
        allowance, price = self._telling.allowance, candidate.price
        guess = 0
        if allowance.is_bounded:
            guess = candidate.client.count_tokens(messages)
            await allowance.spend(guess, guess * price.prompt)
        pieces = 0
        result: CreateResult | None = None
        error: str | None = "given up"
        stream = candidate.client.create_stream(messages, **options)
        try:
            async with aclosing(stream):
                async for piece in stream:
                    if isinstance(piece, str):
                        pieces += 1
                        if allowance.is_bounded:
                            allowance.add(1, price.completion)
                            if allowance.is_over:
                                await allowance.check()
                    else:
                        result, error = piece, None
                    yield piece
        except ModelError as e:
            error = f"{e.failure}: {e.cause}"
            raise
        except Exception as e:
            error = type(e).__name__
            raise
        finally:
            usage = self._account(candidate, messages, pieces, result, error)
            counted, cost = guess + pieces, guess * price.prompt + pieces * price.completion
            allowance.add(usage.prompt_tokens + usage.completion_tokens - counted, usage.cost_micros - cost)

    def _account(
        self,
        candidate: Candidate,
        messages: Sequence[LLMMessage],
        pieces: int,
        result: CreateResult | None,
        error: str | None,
    ) -> Usage:
        if result is not None and (result.usage.prompt_tokens or result.usage.completion_tokens):
            prompt, completion = result.usage.prompt_tokens, result.usage.completion_tokens
        else:
            prompt, completion = candidate.client.count_tokens(messages) if pieces else 0, pieces
        usage = Usage(prompt, completion, candidate.price.micros(prompt, completion))
        finish = result.finish_reason if result is not None else None
        self._telling.model_calls.append(ModelCall(candidate.alias, self._asking, usage, finish, error))
        return usage


class SpeakingClient(MeteredClient):
    """The model of one agent: what it says is told at once, here, and not as events through AutoGen.

    This is the token path. AutoGen's own chunk events would cost ten times as much before they reached the agent, and
    a hundred times as much beyond it; it gets each answer whole, at the end.
    """

    def __init__(self, chain: Sequence[Candidate], telling: Telling, agent: AgentSpec) -> None:
        super().__init__(chain, telling, agent)
        self._agent = agent
        self._message = new_id()
        self._thoughts = StringIO()

    async def create_stream(
        self, messages: Sequence[LLMMessage], **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        stream_out, message, agent = self._telling.stream, self._message, self._agent
        said = False
        async with aclosing(super().create_stream(messages, **options)) as stream:
            async for piece in stream:
                if isinstance(piece, CreateResult):
                    if not isinstance(piece.content, str):
                        piece.content = [harmless(call) for call in settled(piece.content, self._agent)]
                    await self._end(piece, said=said)
                    yield piece
                elif isinstance(piece, Thought):
                    self._thoughts.write(piece)
                    await stream_out(ReasoningDelta(message, agent, piece))
                else:
                    said = True
                    await stream_out(TextDelta(message, agent, piece))

    async def _end(self, result: CreateResult, *, said: bool) -> None:
        """Close the message, unless the model only called tools: then what it thought belongs to its next words."""
        text = result.content if isinstance(result.content, str) else result.thought  # words beside calls are there
        if not text and not isinstance(result.content, str):
            return
        text = text or ""
        if text and not said:
            await self._telling.tell(TextDelta(self._message, self._agent, text))
        usage = Usage(result.usage.prompt_tokens, result.usage.completion_tokens)
        reasoning = self._thoughts.getvalue() or None
        self._telling.last_text = text
        await self._telling.tell(MessageEnded(self._message, self._agent, text, usage, reasoning))
        self._message, self._thoughts = new_id(), StringIO()


def _asks_another(error: Exception) -> bool:
    """What one provider refuses is not taken to the next."""
    return isinstance(error, ModelError) and error.failure is not Failure.MODEL_REFUSED
