"""Programs that speak as agents while the hub breaks, and break themselves: words of their own for each offer."""

import asyncio
import random
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tests.faults.clients import ANSWER_S, Client, Frame, Lost
from tests.faults.history import History

AGENT = "alpha"
TEAMS = {
    "relayed": """
name: relayed
description: A program and a model in turn.
kind: round_robin
model: scripted
agents:
  - {name: alpha, kind: bot, accept_s: 3, silence_s: 2, timeout_s: 40}
  - {name: beta, tools: [counter, transfer]}
""",
    "covered": """
name: covered
description: A program and a model in turn; the model speaks for a program that is not there.
kind: round_robin
model: scripted
agents:
  - {name: alpha, kind: bot, accept_s: 2, silence_s: 2, timeout_s: 40, substitute: beta}
  - {name: beta, tools: [counter, transfer]}
""",
}


class Bot(Client):
    """Speaks as `alpha` wherever its user may, several turns at once. Of its turns `lapses` is the share in which it
    declines, says nothing, falls silent or loses its connection."""

    def __init__(
        self,
        history: History,
        doors: Sequence[str],
        user: str,
        tokens: Mapping[str, str],
        rng: random.Random,
        *,
        lapses: float = 0.25,
    ) -> None:
        super().__init__(history, doors, user, tokens, rng)
        self._lapses = lapses
        self._lost: dict[str, str] = {}  # offers that were taken back, and why
        self._tasks: set[asyncio.Task[None]] = set()

    def _greeted(self) -> None:
        self._begin(self._register())

    def _event(self, frame: Frame) -> None:
        data = frame["data"]
        match frame["type"]:
            case "turn.offered":
                told = {name: data[name] for name in ("offer", "turn", "attempt", "retry")}
                self.history.add("offered", c=self._name, session=frame["session"], run=frame["run"], **told)
                self._begin(self._speak(data))
            case "turn.withdrawn":
                self._lost[data["offer"]] = data["reason"]
            case _:
                super()._event(frame)

    def _gone(self, socket: Any) -> None:
        super()._gone(socket)
        for task in self._tasks:
            task.cancel()
        self._lost.clear()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._until_lost(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_lost(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Lost:
            return

    async def _register(self) -> None:
        while True:
            reply = await self.ask("agent.register", agent=AGENT)
            if reply["ok"]:
                return
            await asyncio.sleep(self.retry_s)

    async def _speak(self, offer: Frame) -> None:
        words = dict(word.split("=") for word in offer["prompt"].split()[1:])
        name, rate = offer["offer"], float(words.get("rate", 0))
        pieces = [f"t{offer['turn']}.{number}~{name} " for number in range(int(words.get("tokens", 20)))]
        lapse_at = self._rng.randrange(len(pieces)) if self._rng.random() < self._lapses else -1
        lapse = self._rng.choice((self._decline, self._fall_silent, self._break_off))
        for index, piece in enumerate(pieces):
            if index == lapse_at:
                await lapse(name, index, piece)
                return
            if await self._say("turn.delta", name, index=index, text=piece):
                return
            await asyncio.sleep(1 / rate if rate else 0)
        await self._end(name, "turn.complete", {"text": "".join(pieces)} if self._rng.random() < 0.3 else {})
        if self._rng.random() < 0.3:
            await self._end(name, "turn.complete", {})  # whoever asks again gets the same answer

    async def _decline(self, offer: str, index: int, piece: str) -> None:
        await self._end(offer, "turn.decline", {"reason": "not today"})

    async def _fall_silent(self, offer: str, index: int, piece: str) -> None:
        """Until the turn is taken away; what comes then comes too late."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while offer not in self._lost:  # noqa: ASYNC110 (bounded, and rare)
                    await asyncio.sleep(0.05)
        await self._say("turn.delta", offer, index=index, text=piece)
        await self._say("turn.complete", offer, text=piece)

    async def _break_off(self, offer: str, index: int, piece: str) -> None:
        self._drop()

    async def _end(self, offer: str, command: str, fields: dict[str, Any]) -> None:
        """To be repeated as long as its runner says nothing."""
        while True:
            code = await self._say(command, offer, **fields)
            if code != "unavailable":
                return
            await asyncio.sleep(self.retry_s)

    async def _say(self, command: str, offer: str, **fields: Any) -> str:
        """The code of a refusal, or nothing."""
        late = self._lost.get(offer, "")
        reply = await self.ask(command, offer=offer, **fields)
        code: str = "" if reply["ok"] else reply["error"]["code"]
        self.history.add("said", c=self._name, offer=offer, command=command, ok=reply["ok"], code=code, late=late)
        return code
