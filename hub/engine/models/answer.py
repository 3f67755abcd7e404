"""The streamed answer of a model, put together event by event."""

import re
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from io import StringIO

from autogen_core import FunctionCall
from autogen_core.models import CreateResult, RequestUsage
from autogen_core.models._types import FinishReasons

from hub.engine.base import Failure
from hub.engine.models.client import Thought
from hub.engine.models.errors import ModelError
from hub.engine.models.thinking import ThoughtSplitter

MAX_CHARACTERS = 400_000  # an answer that goes on and on ends here
MAX_ERROR_CHARACTERS = 500

STOP, LENGTH, WITHHELD = "stop", "length", "content_filter"

_FINISHED: dict[str, FinishReasons] = {STOP: "stop", LENGTH: "length"}
_SENTENCE_END = re.compile(r"[^\d\s][.!?][\"'”’)*_]*\s*$")


@dataclass(slots=True)
class StreamedCall:
    """A tool call as far as it was streamed."""

    id: str
    name: str = ""
    arguments: str = ""


class Answer(ABC):
    """Takes the events of one stream, as a provider's own subclass reads them.

    With `sentence_after`, the answer is `enough` at the first end of a sentence after so many tokens.
    """

    def __init__(self, sentence_after: int | None) -> None:
        self._sentence_after = sentence_after
        self._splitter = ThoughtSplitter()
        self._text = StringIO()
        self._thoughts = StringIO()
        self._tokens = 0
        self._last = deque[str](maxlen=4)
        self._calls: dict[int, StreamedCall] = {}
        self._characters = 0
        self._finish: str | None = None
        self._usage = RequestUsage(prompt_tokens=0, completion_tokens=0)
        self.enough = False

    @abstractmethod
    def take(self, event: dict[str, object]) -> list[str]:
        """The pieces that an event adds: text, and `Thought`s. Raises ModelError for what is not an answer."""

    @property
    def size(self) -> int:
        """How many characters have come, of calls, too, which are not shown as they grow."""
        return self._characters

    def done(self) -> None:
        """The server says that this was all."""
        self._finish = self._finish or STOP

    def rest(self) -> list[str]:
        """Pieces that were held back until the end of the stream."""
        return [] if self.enough else self._kept(self._splitter.rest())

    def result(self) -> CreateResult:
        """The answer. Raises ModelError for one that is cut off, empty, or withheld."""
        if self._finish is None and not self.enough:
            raise ModelError(Failure.MALFORMED_OUTPUT, "the stream ended within the answer", "cut off")
        if self._finish == WITHHELD:
            raise ModelError(Failure.MODEL_REFUSED, "the provider withheld the answer", "withheld")
        text, thought = self._text.getvalue(), self._thoughts.getvalue() or None
        finish = _FINISHED.get(self._finish or STOP, "unknown")
        if self._calls:
            calls = [FunctionCall(id=c.id, name=c.name, arguments=c.arguments or "{}") for c in self._calls.values()]
            return CreateResult(
                finish_reason="function_calls", content=calls, usage=self._usage, cached=False, thought=text or None
            )
        if not text:
            raise ModelError(Failure.MALFORMED_OUTPUT, f"the answer is empty ({self._finish})", "empty")
        return CreateResult(finish_reason=finish, content=text, usage=self._usage, cached=False, thought=thought)

    def _used(self, prompt: int, completion: int) -> None:
        self._usage = RequestUsage(prompt_tokens=prompt, completion_tokens=completion)

    def _say(self, text: str) -> list[str]:
        return self._kept(self._splitter.feed(text)) if text else []

    def _think(self, text: str) -> list[str]:
        return self._kept([Thought(text)]) if text else []

    def _count(self, characters: int) -> None:
        """Bounds what is not shown, too."""
        self._characters += characters
        self.enough = self.enough or self._characters > MAX_CHARACTERS

    def _kept(self, pieces: list[str]) -> list[str]:
        kept: list[str] = []
        for piece in pieces:
            if isinstance(piece, Thought):
                self._thoughts.write(piece)
            else:
                if self._may_end_before(piece):
                    self.enough = True
                    break
                self._text.write(piece)
                self._tokens += 1
                self._last.append(piece)
            self._characters += len(piece)
            kept.append(piece)
        self.enough = self.enough or self._characters > MAX_CHARACTERS
        return kept

    def _may_end_before(self, piece: str) -> bool:
        if self._sentence_after is None or self._tokens < self._sentence_after or not piece[:1].isspace():
            return False
        return _SENTENCE_END.search("".join(self._last)) is not None


def broke_off(error: object) -> ModelError:
    """What it means that a server reports an error within a stream."""
    words = f"the server broke off: {str(error)[:MAX_ERROR_CHARACTERS]}"
    return ModelError(Failure.MODEL_UNAVAILABLE, words, "error in the stream", again=True)


def malformed(what: str) -> ModelError:
    """An answer that is none."""
    return ModelError(Failure.MALFORMED_OUTPUT, what, "malformed")
