"""The streamed answer of an OpenAI-compatible server, put together event by event."""

import re
from dataclasses import dataclass

from autogen_core import FunctionCall
from autogen_core.models import CreateResult, RequestUsage
from autogen_core.models._types import FinishReasons

from hub.domain.ids import new_id
from hub.engine.base import Failure
from hub.engine.models.client import Thought
from hub.engine.models.errors import ModelError
from hub.engine.models.thinking import ThoughtSplitter

MAX_CHARACTERS = 400_000  # an answer that goes on and on ends here

_FINISHED: dict[str, FinishReasons] = {"stop": "stop", "length": "length"}
_SENTENCE_END = re.compile(r"[^\d\s][.!?][\"'”’)*_]*\s*$")


@dataclass(slots=True)
class _Call:
    """A tool call as far as it was streamed."""

    id: str
    name: str = ""
    arguments: str = ""


class Answer:
    """Takes the events of one stream. Raises ModelError for what is not an answer.

    With `sentence_after`, the answer is `enough` at the first end of a sentence after so many tokens.
    """

    def __init__(self, sentence_after: int | None) -> None:
        self._sentence_after = sentence_after
        self._splitter = ThoughtSplitter()
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._characters = 0
        self._finish: str | None = None
        self._usage = RequestUsage(prompt_tokens=0, completion_tokens=0)
        self.enough = False

    def take(self, event: object) -> list[str]:
        """The pieces that an event adds: text, and `Thought`s."""
        if not isinstance(event, dict):
            raise ModelError(Failure.MALFORMED_OUTPUT, "an event is not an object")
        if event.get("error"):
            raise ModelError(Failure.MODEL_UNAVAILABLE, f"the server broke off: {str(event['error'])[:500]}")
        self._count(event)
        match event.get("choices"):
            case [{"delta": dict(delta)} as choice, *_]:
                if isinstance(finish := choice.get("finish_reason"), str):
                    self._finish = finish
                return self._pieces(delta)
            case [] | None:
                return []
            case _:
                raise ModelError(Failure.MALFORMED_OUTPUT, "an event has no delta")

    def done(self) -> None:
        """The server says that this was all."""
        self._finish = self._finish or "stop"

    def rest(self) -> list[str]:
        """Pieces that were held back until the end of the stream."""
        return [] if self.enough else self._kept(self._splitter.rest())

    def result(self) -> CreateResult:
        """The answer. Raises ModelError for one that is cut off, empty, or withheld."""
        if self._finish is None and not self.enough:
            raise ModelError(Failure.MALFORMED_OUTPUT, "the stream ended within the answer")
        if self._finish == "content_filter":
            raise ModelError(Failure.MODEL_REFUSED, "the provider withheld the answer")
        text, thought = "".join(self._text), "".join(self._thoughts) or None
        finish = _FINISHED.get(self._finish or "stop", "unknown")
        if self._calls:
            calls = [FunctionCall(id=c.id, name=c.name, arguments=c.arguments or "{}") for c in self._calls.values()]
            return CreateResult(
                finish_reason="function_calls", content=calls, usage=self._usage, cached=False, thought=text or None
            )
        if not text:
            raise ModelError(Failure.MALFORMED_OUTPUT, f"the answer is empty ({self._finish})")
        return CreateResult(finish_reason=finish, content=text, usage=self._usage, cached=False, thought=thought)

    def _count(self, event: dict[str, object]) -> None:
        """Usage comes in an event of its own; llama.cpp tells it with every token, and so also of answers cut short."""
        match event:
            case {"usage": {"prompt_tokens": int(prompt), "completion_tokens": int(completion)}}:
                self._usage = RequestUsage(prompt_tokens=prompt, completion_tokens=completion)
            case {"timings": {"prompt_n": int(prompt), "cache_n": int(cached), "predicted_n": int(completion)}}:
                self._usage = RequestUsage(prompt_tokens=prompt + cached, completion_tokens=completion)
            case _:
                pass

    def _pieces(self, delta: dict[str, object]) -> list[str]:
        pieces: list[str] = []
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            pieces.append(Thought(reasoning))
        said = delta.get("content") or delta.get("refusal")
        if isinstance(said, str) and said:
            pieces += self._splitter.feed(said)
        if isinstance(calls := delta.get("tool_calls"), list):
            for call in calls:
                self._call(call)
        return self._kept(pieces)

    def _kept(self, pieces: list[str]) -> list[str]:
        kept: list[str] = []
        for piece in pieces:
            if isinstance(piece, Thought):
                self._thoughts.append(piece)
            else:
                if self._may_end_before(piece):
                    self.enough = True
                    break
                self._text.append(piece)
            self._characters += len(piece)
            kept.append(piece)
        self.enough = self.enough or self._characters > MAX_CHARACTERS
        return kept

    def _may_end_before(self, piece: str) -> bool:
        if self._sentence_after is None or len(self._text) < self._sentence_after or not piece[:1].isspace():
            return False
        return _SENTENCE_END.search("".join(self._text[-4:])) is not None

    def _call(self, delta: object) -> None:
        match delta:
            case dict() if isinstance(function := delta.get("function"), dict):
                given = delta.get("id")
                index = delta.get("index")
                if not isinstance(index, int):  # some servers send whole calls, without an index
                    index = len(self._calls) if given or not self._calls else len(self._calls) - 1
                call = self._calls.setdefault(index, _Call(id=given or new_id()))
                call.name += function.get("name") or ""
                call.arguments += function.get("arguments") or ""
                self._characters += len(call.arguments)
            case _:
                raise ModelError(Failure.MALFORMED_OUTPUT, "a tool call has no function")
