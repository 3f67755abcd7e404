"""Crews of CrewAI as agents: an adapter between a crew and the turns of a bot. It imports nothing of CrewAI, which
lives in the environment of the program that uses this (`docs/frameworks.md`)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from hub_client.agents import Turn

SIGNS = 3  # signs of life within the time that the hub lets a bot be silent
ANSWER = "Final Answer:"
THINKING = ("Thought:", "Action:")

MakeCrew = Callable[[Turn], Any]
"""Makes a `crewai.Crew` for one turn; it runs in a thread."""


def speaks(make: MakeCrew) -> Callable[[Turn], AsyncIterator[str]]:
    """A function for `Bot.agent` that lets a crew speak.

    Each turn has a crew of its own: CrewAI's objects keep what they have done. The words of its agents stream as they
    come, each under its role; what they think aloud before a `Final Answer:` is left out. Put what was said into the
    tasks yourself, out of `turn.context` and `turn.prompt`: the crew is started without inputs, so that braces in what
    people say mean nothing. When the turn is taken away the crew is cancelled; a call of a model that is under way in a
    thread runs to its end, unheard.
    """

    async def speak(turn: Turn) -> AsyncIterator[str]:
        with _signs_of_life(turn):
            crew = await asyncio.to_thread(make, turn)
            crew.stream = True
            stream = await crew.akickoff()
            async with aclosing(stream):
                role, words = None, _Words()
                async for chunk in stream:
                    if str(getattr(chunk.chunk_type, "value", chunk.chunk_type)) != "text":
                        continue
                    if chunk.agent_role != role:
                        yield "".join(words.rest()) + ("" if role is None else "\n\n") + f"{chunk.agent_role}:\n"
                        role, words = chunk.agent_role, _Words()
                    for piece in words.add(chunk.content or ""):
                        yield piece
                for piece in words.rest():
                    yield piece
                if role is None:  # a model that does not stream
                    yield str(stream.result.raw)

    return speak


class _Words:
    """What one agent of a crew says, without what it thinks first."""

    def __init__(self) -> None:
        self._held = ""
        self._shown = False

    def add(self, text: str) -> Iterator[str]:
        """What of it can be shown now."""
        if self._shown:
            yield text
            return
        self._held += text
        begun = self._held.lstrip()
        if ANSWER in begun:
            answer = begun.split(ANSWER, 1)[1].lstrip()
        elif any(word.startswith(begun[: len(word)]) for word in THINKING):
            return  # it thinks, or may be about to
        else:
            answer = begun
        self._held, self._shown = "", True
        if answer:
            yield answer

    def rest(self) -> Iterator[str]:
        """What was held back and is all there is."""
        if not self._shown and self._held.strip():
            yield self._held.strip()
        self._held, self._shown = "", True


@contextmanager
def _signs_of_life(turn: Turn) -> Iterator[None]:
    """A crew thinks for long without a word: the hub is told that it does."""
    loop = asyncio.get_running_loop()
    every = turn.data.silence_s / SIGNS
    pending: list[asyncio.TimerHandle] = []

    def beat() -> None:
        turn.working()
        pending[:] = [loop.call_later(every, beat)]

    pending.append(loop.call_later(every, beat))
    try:
        yield
    finally:
        pending[0].cancel()
