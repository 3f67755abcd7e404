"""The chat in a terminal: its tasks, its keys and its end. It survives restarts of the hub."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine

from prompt_toolkit.input import Input
from prompt_toolkit.output import Output

from hub_client.chat.choice import LastSessions
from hub_client.chat.commands import parse
from hub_client.chat.conversation import Conversation
from hub_client.chat.entries import Notice, Tone
from hub_client.chat.errands import Errands
from hub_client.chat.face import TICKS_PER_S, ChatFace
from hub_client.chat.options import Options
from hub_client.chat.places import Places
from hub_client.chat.render import Palette
from hub_client.chat.screen import Screen, Wishes
from hub_client.chat.seat import Seat
from hub_client.client import Hub
from hub_client.errors import HubClientError, NotSignedIn, Stopped
from hub_client.link import State, Status

LINES_WAITING = 32
TYPING_FOR_S = 4.0
WORTH_TELLING_S = 2.0  # a shorter interruption is not mentioned


class Talk:
    """One chat. `run` returns when the user leaves; the agents go on."""

    def __init__(
        self,
        hub: Hub,
        options: Options,
        url: str,
        places: Places,
        *,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        places.make()
        self._options = options
        self._tasks = asyncio.TaskGroup()
        self._lines: asyncio.Queue[str] = asyncio.Queue(LINES_WAITING)
        self._typed = asyncio.Event()
        self._lost_at: float | None = None
        self._farewell = ""
        self._face = ChatFace(url.partition("://")[2], Palette(), Conversation(me=hub.user), status=hub.status)
        wishes = Wishes(self._take_line, self._stop_soon, self._typed.set)
        self._screen = Screen(self._face, wishes, places.history, input=input, output=output)
        self._seat = Seat(hub, self._face, self._screen, LastSessions(places), url, self._tasks, self._leave)
        self._errands = Errands(hub, self._seat, self._screen, self._face)

    async def run(self) -> str:
        """Chat until the user leaves. The last word, for the terminal that stays: empty when all is well."""
        async with self._tasks:
            parts = (self._work(), self._tell_typing(), self._keep_moving())
            running = [self._tasks.create_task(part) for part in parts]
            try:
                await self._screen.run()
            finally:
                self._seat.stop_following()
                for task in running:
                    task.cancel()
        return self._farewell

    def noticed(self, status: Status) -> None:
        """The connection's state changed."""
        self._face.status = status
        self._face.retry_at = time.monotonic() + (status.retry_in_s or 0.0)
        if status.state is State.WAITING and self._lost_at is None:
            self._lost_at = time.monotonic()
        elif status.state is State.ONLINE and self._lost_at is not None:
            away, self._lost_at = time.monotonic() - self._lost_at, None
            if away > WORTH_TELLING_S:
                self._soon(self._screen.show(Notice(f"the connection was away for {away:.0f} s; here it goes on")))
        self._screen.redraw()

    # ---- what keys ask for

    def _take_line(self, line: str) -> bool:
        try:
            self._lines.put_nowait(line)
        except asyncio.QueueFull:
            return False
        return True

    def _stop_soon(self) -> None:
        self._soon(self._guarded(self._errands.stop()))

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.create_task(work)

    def _leave(self, why: str) -> None:
        self._farewell = why
        self._screen.leave()

    # ---- the chat's own tasks

    async def _work(self) -> None:
        try:
            await self._seat.take_first(self._options)
        except HubClientError as e:
            self._leave(str(e))
            return
        while True:
            line = await self._lines.get()
            agents = tuple(agent.name for agent in self._seat.conversation.agents)
            await self._guarded(self._errands.obey(parse(line, agents)))

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        """A command that fails is told; only what ends the connection ends the chat."""
        try:
            await work
        except (NotSignedIn, Stopped) as e:
            self._leave(str(e))
        except HubClientError as e:
            await self._screen.show(Notice(str(e), Tone.ERROR))

    async def _keep_moving(self) -> None:
        while True:
            await asyncio.sleep(1 / TICKS_PER_S)
            if self._face.moving:
                self._screen.redraw()

    async def _tell_typing(self) -> None:
        while True:
            await self._typed.wait()
            await self._tell("typing")
            with contextlib.suppress(TimeoutError):
                while True:
                    self._typed.clear()
                    async with asyncio.timeout(TYPING_FOR_S):
                        await self._typed.wait()
            await self._tell("active")

    async def _tell(self, status: str) -> None:
        session = self._seat.session
        if session is None or len(session.presence) < 2:
            return
        with contextlib.suppress(HubClientError):  # nobody misses it
            await session.set_presence("typing" if status == "typing" else "active")
