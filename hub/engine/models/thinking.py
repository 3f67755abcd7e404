"""Models that think aloud in their answer, between `<think>` and `</think>`, before what they mean to say."""

from hub.engine.models.client import Thought

OPENING = "<think>"
CLOSING = "</think>"


class ThoughtSplitter:
    """Tells thoughts from words in a stream of text. Only an answer that begins with `<think>` has thoughts."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._decided = False

    def feed(self, text: str) -> list[str]:
        """The pieces that are certain by now; what may still turn out to be a tag is held."""
        if self._decided and not self._thinking:
            return [text]
        self._held += text
        if not self._decided:
            begin = self._held.lstrip()
            if OPENING.startswith(begin[: len(OPENING)]) and len(begin) < len(OPENING):
                return []
            self._decided = True
            if not begin.startswith(OPENING):
                return self.rest()
            self._thinking, self._held = True, begin[len(OPENING) :]
        thought, closing, said = self._held.partition(CLOSING)
        if closing:
            self._thinking, self._held = False, ""
            return [Thought(thought)] * bool(thought) + [said.lstrip()] * bool(said.strip())
        certain = len(self._held) - _tail(self._held)
        thought, self._held = self._held[:certain], self._held[certain:]
        return [Thought(thought)] if thought else []

    def rest(self) -> list[str]:
        """What is still held when the stream ends."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [Thought(held) if self._thinking else held]


def _tail(text: str) -> int:
    """How many characters at the end of a text may be the beginning of the closing tag."""
    return next((n for n in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:n])), 0)
