"""A program that speaks as agents of teams, in a few lines.

bot = Bot("http://127.0.0.1:8000", api_key="hub_…")

@bot.agent("probe")
async def probe(turn):
    yield "I see "
    yield "nothing."

bot.run()
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from hub_client.agents import Speak
from hub_client.client import Hub, connect

SpeakT = TypeVar("SpeakT", bound=Speak)


@dataclass(frozen=True, slots=True)
class _Agent:
    name: str
    speak: Speak
    options: dict[str, Any]


class Bot:
    """Agents and the functions that speak for them. It signs in as `hub_client.connect` does, with the same arguments;
    an API key needs the scope `agents:serve` and no other."""

    def __init__(self, url: str, **sign_in: Any) -> None:
        self._hub = partial(connect, url, **sign_in)
        self._agents: list[_Agent] = []

    def agent(
        self, name: str, *, session: str | None = None, team: str | None = None, turns: int = 8
    ) -> Callable[[SpeakT], SpeakT]:
        """Let a function speak for the agent `name` (`hub_client.agents.Agents.serve`): an async generator of pieces,
        or a coroutine that returns the text. It is given the `Turn`; raise `Decline` to leave it to somebody else."""

        def remember(speak: SpeakT) -> SpeakT:
            self._agents.append(_Agent(name, speak, {"session": session, "team": team, "turns": turns}))
            return speak

        return remember

    async def serve(self, ready: Callable[[Hub], None] | None = None) -> None:
        """Take turns until cancelled, coming back after every lost connection. `ready` is called once all agents are
        registered. Raises `RequestFailed` when the hub does not take one of them, and what ends the connection for
        good."""
        async with self._hub() as hub:
            for agent in self._agents:
                await hub.agents.serve(agent.name, agent.speak, **agent.options)
            if ready is not None:
                ready(hub)
            await hub.wait_ended()

    def run(self) -> None:
        """`serve` until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            asyncio.run(self.serve())
