"""Speaking as an agent of a team: turns are offered to this connection, spoken by a function, and streamed.

A turn lives as long as its connection: after a lost one the hub offers it again, here or to somebody else.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.protocol.commands import MAX_PIECE, AgentRegister, TurnComplete, TurnDecline, TurnDelta
from hub.protocol.events import TurnOffered, TurnWithdrawn
from hub.protocol.live import HeardAttachment, HeardData, TurnOfferedData
from hub.protocol.results import RegisterResult
from hub_client.errors import HubClientError, RequestFailed

if TYPE_CHECKING:
    from hub_client.client import Hub

MAX_UNSENT = 65_536  # characters that a function may be ahead of the hub

logger = logging.getLogger("hub_client")


class Decline(Exception):
    """Raised in a turn's function: somebody else is to take it. The text is told to the hub."""


class Turn:
    """A turn of an agent: what the hub told, and what can be done about it while it is spoken."""

    def __init__(self, event: TurnOffered, pieces: "_Pieces", download: Callable[[str, str], Awaitable[bytes]]) -> None:
        self.session = event.session or ""
        self.run = event.run or ""
        self.data: TurnOfferedData = event.data
        self._pieces = pieces
        self._download = download
        self.handoff: str | None = None

    @property
    def prompt(self) -> str:
        """The message that asked for the run."""
        return self.data.prompt

    @property
    def context(self) -> list[HeardData]:
        """What the agent has heard in this session, the newest last."""
        return self.data.context

    @property
    def instructions(self) -> str:
        """What the team's file tells the agent."""
        return self.data.instructions

    @property
    def attachments(self) -> list[HeardAttachment]:
        """What is attached to the messages in `context`, the newest last."""
        return [attachment for heard in self.context for attachment in heard.attachments or ()]

    async def fetch(self, attachment: HeardAttachment) -> bytes:
        """Its content. The scope `agents:serve` is enough for it.

        Raises `RequestFailed`: `not_found` when this user is no member of the session, which the agent of a place that
        names its user need not be.
        """
        return await self._download(self.session, attachment.id)

    def hand_over(self, agent: str) -> None:
        """Let this agent speak next, once the turn is done; one of `data.handoffs`."""
        self.handoff = agent

    def working(self) -> None:
        """Tell the hub that this turn is worked on, though there is nothing to say yet. Call it more often than every
        `data.silence_s` seconds."""
        self._pieces.sign()


Speak = Callable[[Turn], AsyncIterator[str] | Awaitable[str]]
"""Speaks a turn: an async generator of pieces, or a coroutine that returns the whole text."""


@dataclass(frozen=True, slots=True)
class _Served:
    speak: Speak
    fields: dict[str, Any]


class Agents:
    """The agents that a client speaks as. `Hub.agents` is it."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._served: dict[tuple[str, str | None, str | None], _Served] = {}
        self._turns: dict[str, asyncio.Task[None]] = {}

    async def serve(
        self, agent: str, speak: Speak, *, session: str | None = None, team: str | None = None, turns: int = 8
    ) -> RegisterResult:
        """Speak as this agent from now on, on every connection to come: in one session, in those of a team, or
        wherever the user may; so many turns at once.

        Raises `RequestFailed`: `not_found` for what the user may not speak as, `forbidden` for an API key without the
        scope `agents:serve`.
        """
        served = _Served(speak, {"agent": agent, "session": session, "team": team, "turns": turns})
        reply = await self._hub.ask(AgentRegister, repeatable=True, **served.fields)
        self._served[agent, session, team] = served
        return RegisterResult.model_validate(reply)

    # ---- for the connection

    async def register_again(self) -> None:
        """A connection has come up."""
        for served in list(self._served.values()):
            try:
                await self._hub.ask(AgentRegister, repeatable=True, **served.fields)
            except RequestFailed as e:
                logger.warning("the hub does not take %s any more: %s", served.fields["agent"], e)

    def offered(self, event: TurnOffered) -> None:
        """A turn is offered."""
        served = self._of(event)
        if served is not None:
            task = self._hub.while_connected(lambda: self._take(event, served.speak))
            if task is not None:
                self._turns[event.data.offer] = task

    def withdrawn(self, event: TurnWithdrawn) -> None:
        """An offer does not stand any more."""
        if (task := self._turns.get(event.data.offer)) is not None:
            task.cancel()

    def _of(self, event: TurnOffered) -> _Served | None:
        data = event.data
        asked = [(data.agent, event.session, None), (data.agent, None, data.team), (data.agent, None, None)]
        exact = [served for key, served in self._served.items() if key == (data.agent, event.session, data.team)]
        return next((self._served[key] for key in asked if key in self._served), exact[0] if exact else None)

    async def _take(self, event: TurnOffered, speak: Speak) -> None:
        offer = event.data.offer
        try:
            await self._speak(event, speak)
        except Decline as e:
            await self._decline(offer, str(e) or "declined")
        except RequestFailed as e:
            logger.info("the turn %s is lost: %s", offer, e)
            if e.code not in ("conflict", "not_found"):
                await self._decline(offer, str(e))
        except HubClientError as e:
            logger.info("the turn %s is lost: %s", offer, e)
        except Exception as e:
            logger.exception("the agent %s failed in its turn", event.data.agent)
            await self._decline(offer, type(e).__name__)
        finally:
            self._turns.pop(offer, None)

    async def _speak(self, event: TurnOffered, speak: Speak) -> None:
        pieces = _Pieces()
        turn = Turn(event, pieces, self._hub.rest.download)
        pieces.sign()  # the turn is begun, however long its first words take
        failure: Exception | None = None
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send(event.data.offer, pieces))
            try:
                await _words(speak(turn), pieces)
            except Exception as e:  # noqa: BLE001 - boundary: raised below, as it is and not in a group
                failure = e
                sending.cancel()
        if (failure := failure or pieces.failure) is not None:
            raise failure
        if not pieces.total and turn.handoff is None:
            raise Decline("there was nothing to say")
        await self._hub.ask(TurnComplete, repeatable=True, offer=event.data.offer, handoff=turn.handoff)

    async def _send(self, offer: str, pieces: "_Pieces") -> None:
        """What collects while one piece is under way goes out as the next one."""
        try:
            index = 0
            while (text := await pieces.take()) is not None:
                await self._send_piece(offer, index, text)
                index += 1
        except HubClientError as e:
            pieces.fail(e)

    async def _send_piece(self, offer: str, index: int, text: str) -> None:
        while True:
            try:
                await self._hub.ask(TurnDelta, offer=offer, index=index, text=text)
            except RequestFailed as e:
                if not e.retryable:
                    raise
                await asyncio.sleep(e.retry_after or 1)
            else:
                return

    async def _decline(self, offer: str, reason: str) -> None:
        try:
            await self._hub.ask(TurnDecline, repeatable=True, offer=offer, reason=reason[:200])
        except HubClientError as e:
            logger.info("the turn %s is over: %s", offer, e)


async def _words(words: AsyncIterator[str] | Awaitable[str], pieces: "_Pieces") -> None:
    """Take down what a function says, to its end."""
    if inspect.isawaitable(words):
        await pieces.put(await words)
    else:
        try:
            async for piece in words:
                await pieces.put(piece)
        finally:
            if isinstance(words, AsyncGenerator):
                await words.aclose()
    pieces.end()


class _Pieces:
    """Between a function that speaks and the connection: bounded, in order."""

    def __init__(self) -> None:
        self.total = 0
        self._text = ""
        self._sign = False
        self._ended = False
        self.failure: Exception | None = None
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def sign(self) -> None:
        """Something is to be sent, if only an empty piece."""
        self._sign = True
        self._changed.set()

    async def put(self, text: str) -> None:
        """The next words. Waits while too many are unsent; raises what the hub has said about earlier ones."""
        await self._room.wait()
        if self.failure is not None:
            raise self.failure
        self.total += len(text)
        self._text += text
        if len(self._text) >= MAX_UNSENT:
            self._room.clear()
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    def fail(self, error: Exception) -> None:
        self.failure = error
        self._room.set()

    async def take(self) -> str | None:
        """What is to be sent next; None when all is sent and nothing more will come."""
        while not (self._text or self._sign or self._ended):
            self._changed.clear()
            await self._changed.wait()
        if not self._text and not self._sign:
            return None
        text, self._text, self._sign = self._text[:MAX_PIECE], self._text[MAX_PIECE:], False
        if len(self._text) < MAX_UNSENT:
            self._room.set()
        return text
