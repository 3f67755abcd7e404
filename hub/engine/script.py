"""What the scripted teams say: the words of a `/script …` message, or the message itself repeated.

The same plan drives the scripted engine and the scripted model, so that both say the same
(docs/protocol.md, section 7).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hub.domain.team import ASKING
from hub.engine.base import Failure
from hub.engine.models.errors import ModelError

COMMAND = "/script"
MAX_TURNS = 10_000
MAX_TOKENS = 1_000_000
TOKENS_PER_PASS = 32  # an unpaced script lets other tasks of the event loop run after so many tokens
SHOWN_CHARACTERS = 20

_ARGUMENT = {"ask_person": "question", "calculator": "expression", "search_transcript": "query"}
_WORDS = re.compile(r"^\s+|\S+\s*")


@dataclass(frozen=True, slots=True)
class Said:
    """A message in an agent's context."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Script:
    """What a run of a scripted team does.

    `turns` is None when every agent speaks once. `rate` is in tokens per second, 0 is as fast as can be. `stall_at` and
    `fail_at` are tokens of turn 0 after which the model says nothing more or fails; -1 is never. `seed` changes
    nothing that is said; it makes messages differ that ask for the same. `words` are said instead of numbered tokens.
    """

    turns: int | None = 2
    tokens: int = 20
    rate: float = 0.0
    stall_at: int = -1
    fail_at: int = -1
    tool: str = ""
    key: str = ""
    seed: int = 0
    history: bool = False
    words: tuple[str, ...] | None = field(default=None, repr=False)

    def length(self, agents: int, *, addressed: bool) -> int:
        """The number of turns of the run; only the agent spoken to repeats what it is told."""
        if self.turns is not None:
            return self.turns
        return 1 if addressed else agents

    def calls_tool(self, turn: int) -> bool:
        return turn == 0 and bool(self.tool)

    @property
    def arguments(self) -> dict[str, str]:
        """What the tool is called with."""
        default = "task" if self.tool.startswith(ASKING) else "key"
        return {_ARGUMENT.get(self.tool, default): self.key}

    def pieces(self, turn: int, context: Sequence[Said]) -> Iterator[str]:
        """The tokens of one turn; joined they are its text."""
        if self.words is not None:
            return iter(self.words)
        if self.history and turn == 0:
            shown = [f"\n{said.source}:{said.text[:SHOWN_CHARACTERS]}" for said in context]
            return iter((str(len(context)), *shown))
        return map(f"t{turn}.{{}} ".format, range(self.tokens))  # not a generator: one frame less for each token

    def steps(
        self, turn: int, context: Sequence[Said], clock: Callable[[], float], *, idle_s: float
    ) -> Iterator[tuple[float | None, str]]:
        """The tokens of one turn, and until when by this clock each is to be waited for: an absolute schedule, so that
        a late one does not delay those after it. None: no longer at all. Where the script stalls the last one is empty.

        Raises ModelError: where the script fails, and after it has stalled for `idle_s` seconds.
        """
        start, rate = clock(), self.rate
        stall_at, fail_at = (self.stall_at, self.fail_at) if turn == 0 else (-1, -1)
        for number, piece in enumerate(self.pieces(turn, context)):
            if rate > 0:
                yield start + number / rate, piece
            else:
                yield start if number % TOKENS_PER_PASS == 0 else None, piece
            if number == stall_at:
                yield clock() + idle_s, ""
                raise ModelError(Failure.MODEL_STALLED, f"the script stalls after token {number}")
            if number == fail_at:
                raise ModelError(Failure.MODEL_UNAVAILABLE, f"the script fails after token {number}")


def plan(prompt: str) -> Script:
    """What a message asks for. A script that cannot be read is answered, in one turn, with what is wrong with it."""
    command, *words = prompt.split()[:64] or [""]
    if command != COMMAND:
        return _repeating(prompt, turns=None)
    try:
        return _parse(words)
    except ValueError as e:
        return _repeating(f"This script cannot be read: {e}", turns=1)


def _repeating(text: str, turns: int | None) -> Script:
    return Script(turns=turns, words=tuple(_WORDS.findall(text)))


def _parse(words: Sequence[str]) -> Script:
    given: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        given[name] = value
    script = Script(
        turns=_whole(given.pop("turns", "2"), "turns", 1, MAX_TURNS),
        tokens=_whole(given.pop("tokens", "20"), "tokens", 0, MAX_TOKENS),
        rate=_rate(given.pop("rate", "0")),
        stall_at=_whole(given.pop("stall_at", "-1"), "stall_at", -1, MAX_TOKENS),
        fail_at=_whole(given.pop("fail_at", "-1"), "fail_at", -1, MAX_TOKENS),
        tool=given.pop("tool", ""),
        key=given.pop("key", ""),
        seed=_whole(given.pop("seed", "0"), "seed", -(2**63), 2**63),
        history=given.pop("history", None) is not None,
    )
    if given:
        raise ValueError(f"unknown word {next(iter(given))!r}")
    return script


def _whole(text: str, name: str, least: int, most: int) -> int:
    number = int(text) if re.fullmatch(r"-?\d{1,20}", text) else None
    if number is None or not least <= number <= most:
        raise ValueError(f"{name} is a whole number from {least} to {most}, not {text!r}")
    return number


def _rate(text: str) -> float:
    if not re.fullmatch(r"\d{1,7}(\.\d{1,6})?", text):
        raise ValueError(f"rate is a number of tokens per second, not {text!r}")
    return float(text)
