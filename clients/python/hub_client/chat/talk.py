"""The chat in a terminal: what is typed becomes commands, what comes becomes text; it survives restarts of the hub."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import assert_never

from prompt_toolkit.input import Input
from prompt_toolkit.output import Output

from hub.protocol.events import DurableEvent, SessionData
from hub.protocol.results import TeamResult
from hub_client.chat import commands
from hub_client.chat.choice import LastSessions, choose_session, choose_team
from hub_client.chat.commands import parse
from hub_client.chat.conversation import Conversation, Entry, Notice, Tone
from hub_client.chat.face import TICKS_PER_S, ChatFace
from hub_client.chat.options import Options
from hub_client.chat.places import Places
from hub_client.chat.render import Palette, ansi, panel
from hub_client.chat.screen import Screen, Wishes
from hub_client.client import Hub, State, Status
from hub_client.errors import HubClientError, NotSignedIn, RequestFailed, Stopped
from hub_client.session import Session

LINES_WAITING = 32
TYPING_FOR_S = 4.0
WORTH_TELLING_S = 2.0  # a shorter interruption is not mentioned
TITLE_CHARS = 60


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
        self._hub = hub
        self._options = options
        self._url = url
        self._last = LastSessions(places)
        self._palette = Palette()
        self._conversation = Conversation(me=hub.user)
        self._face = ChatFace(url.partition("://")[2], self._palette, self._conversation, status=hub.status)
        places.make()
        wishes = Wishes(self._take_line, self._stop_soon, self._note_typing)
        self._screen = Screen(self._face, wishes, places.history, input=input, output=output)
        self._lines: asyncio.Queue[str] = asyncio.Queue(LINES_WAITING)
        self._tasks = asyncio.TaskGroup()
        self._following: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._teams: list[TeamResult] = []
        self._typed = asyncio.Event()
        self._lost_at: float | None = None
        self._farewell = ""

    async def run(self) -> str:
        """Chat until the user leaves. The last word, for the terminal that stays."""
        try:
            async with self._tasks:
                work = [self._work(), self._tell_typing(), self._keep_moving()]
                running = [self._tasks.create_task(part) for part in work]
                try:
                    await self._screen.run()
                finally:
                    for task in [*running, self._following]:
                        if task is not None:
                            task.cancel()
        finally:
            self._screen.leave()
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
                self._soon(self._show(Notice(f"the connection was lost for {away:.0f} s; here is what came meanwhile")))
        self._screen.redraw()

    # ---- what keys ask for

    def _take_line(self, line: str) -> bool:
        try:
            self._lines.put_nowait(line)
        except asyncio.QueueFull:
            return False
        return True

    def _stop_soon(self) -> None:
        self._soon(self._guarded(self._stop()))

    def _note_typing(self) -> None:
        self._typed.set()

    def _soon(self, work: Awaitable[None]) -> None:
        async def do() -> None:
            await work

        self._tasks.create_task(do())

    # ---- the chat's own tasks

    async def _work(self) -> None:
        try:
            await self._begin()
            while True:
                line = await self._lines.get()
                await self._guarded(self._obey(line))
        except HubClientError as e:
            self._leave(str(e))

    async def _guarded(self, work: Awaitable[None]) -> None:
        """A command that fails is told; only what ends the connection ends the chat."""
        try:
            await work
        except (NotSignedIn, Stopped) as e:
            self._leave(str(e))
        except HubClientError as e:
            await self._show(Notice(str(e), Tone.ERROR))

    async def _follow(self, session: Session, conversation: Conversation) -> None:
        entries: list[Entry] = []
        try:
            async for event in session.events():
                entries += conversation.apply(event)
                # History comes in one piece: it is written in one piece.
                if entries and not (isinstance(event, DurableEvent) and event.seq < session.joined_at):
                    shown, entries = entries, []
                    await self._show(*shown)
                if not conversation.busy:
                    self._screen.forget_hint()
                self._screen.redraw()
        except (NotSignedIn, Stopped) as e:
            self._leave(str(e))
        except HubClientError as e:
            await self._show(Notice(f"this session is over: {e}", Tone.ERROR))

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
        session = self._session
        if session is None or len(session.presence) < 2:
            return
        with contextlib.suppress(HubClientError):  # nobody misses it
            await session.set_presence("typing" if status == "typing" else "active")

    # ---- sessions

    async def _begin(self) -> None:
        self._teams = await self._hub.rest.teams()
        wanted = self._options.session or (self._last.get(self._url) if self._options.resume else None)
        try:
            await self._open(await self._hub.rest.session(wanted) if wanted else None)
        except RequestFailed as e:
            if self._options.session or e.code != "not_found":
                raise
            await self._open(None)

    async def _open(self, chosen: SessionData | None, team: str | None = None, title: str = "") -> None:
        if chosen is None:
            kind = choose_team(self._teams, team or self._options.team)
            chosen = await self._hub.create_session(kind.name, title=title or None)
        await self._close()
        known = next((t for t in self._teams if t.name == chosen.team), None)
        agents = tuple(known.agents) if known else ()
        self._palette.reserve(agent.name for agent in agents)
        conversation = Conversation(self._hub.user, agents, chosen.title)
        session = await self._hub.join(chosen.id)
        self._session, self._conversation = session, conversation
        self._face.session, self._face.conversation, self._face.team = session, conversation, chosen.team
        self._last.put(self._url, chosen.id)
        await self._show(*self._greeting(session, chosen))
        self._following = self._tasks.create_task(self._follow(session, conversation))

    def _greeting(self, session: Session, chosen: SessionData) -> list[Entry]:
        who = ", ".join(agent.display_name for agent in self._conversation.agents) or "no agents"
        lines = [
            Notice(f"{self._hub.user_name} with {chosen.team} ({who}) · /help · join in with: hub chat -s {chosen.id}")
        ]
        if session.seq:
            lines.append(Notice("the end of what was said before (/export saves all of it):"))
        return list(lines)

    async def _close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            self._following = None
        if self._session is not None:
            session, self._session = self._session, None
            await session.leave()

    def _joined(self) -> Session:
        if self._session is None:
            raise RequestFailed("not_found", "no session is open; /new opens one")
        return self._session

    # ---- commands

    async def _obey(self, line: str) -> None:
        intent = parse(line, tuple(agent.name for agent in self._conversation.agents))
        match intent:
            case commands.Say():
                await self._say(intent, line)
            case commands.Help():
                await self._panel(commands.HELP, "Commands")
                await self._panel(commands.KEYS, "Keys")
            case commands.New():
                await self._open(None, intent.team, intent.title)
            case commands.ListSessions():
                await self._list_sessions()
            case commands.Resume():
                await self._resume(intent.which)
            case commands.ListTeams():
                await self._panel([(team.name, f"{team.description} [{team.model}]") for team in self._teams], "Teams")
            case commands.Agents():
                await self._list_participants()
            case commands.Rename():
                await self._hub.rest.rename(self._joined().id, intent.title)
            case commands.Invite():
                await self._hub.rest.add_member(self._joined().id, intent.user, intent.role)
            case commands.Stop():
                await self._stop()
            case commands.Export():
                await self._export(intent.path)
            case commands.Exit():
                self._leave("")
            case commands.Misread():
                await self._show(Notice(intent.why, Tone.WARNING))
            case _:
                assert_never(intent)

    async def _say(self, intent: commands.Say, line: str) -> None:
        session = self._joined()
        self._face.sending.append(intent.text)
        self._screen.redraw()
        try:
            await session.send(intent.text, to=intent.to)
        except HubClientError:
            self._screen.put_back(line)
            raise
        finally:
            self._face.sending.remove(intent.text)
        if not self._conversation.title:
            self._conversation.title = " ".join(intent.text.split())[:TITLE_CHARS]
            await self._hub.rest.rename(session.id, self._conversation.title)

    async def _stop(self) -> None:
        await self._joined().cancel()

    async def _resume(self, which: str) -> None:
        sessions = await self._hub.rest.sessions()
        others = [session for session in sessions if self._session is None or session.id != self._session.id]
        await self._open(choose_session(sessions if which else others, which or "1"))

    async def _list_sessions(self) -> None:
        here = self._session.id if self._session else ""
        rows = [
            (str(number), f"{s.title or '(no title)'} · {s.team} · {s.status} · {s.updated_at[:16].replace('T', ' ')}"
             + (" · you are here" if s.id == here else ""))
            for number, s in enumerate(await self._hub.rest.sessions(), 1)
        ]  # fmt: skip
        await self._panel(rows, "Sessions (/resume NUMBER)")

    async def _list_participants(self) -> None:
        session = self._joined()
        await self._panel([(f"@{a.name}", a.display_name) for a in self._conversation.agents], "Agents")
        people = [
            (p.name + (" (you)" if p.user == self._hub.user else ""), p.status) for p in session.presence.values()
        ]
        await self._panel(people, "People here")

    async def _export(self, path: str) -> None:
        session = self._joined()
        target = Path(path or f"session-{session.id[:8]}.md").expanduser()
        form = {".json": "json", ".jsonl": "jsonl"}.get(target.suffix, "markdown")
        text = await self._hub.rest.export(session.id, form)
        try:
            target.write_text(text)
        except OSError as e:
            await self._show(Notice(f"cannot write {target}: {e.strerror}", Tone.ERROR))
            return
        await self._show(Notice(f"saved as {target}"))

    # ---- showing

    async def _show(self, *entries: Entry) -> None:
        await self._screen.write(ansi(entries, self._palette, self._screen.width))

    async def _panel(self, rows: list[tuple[str, str]] | tuple[tuple[str, str], ...], title: str) -> None:
        await self._screen.write(panel(rows, title, self._screen.width))

    def _leave(self, why: str) -> None:
        self._farewell = why
        self._screen.leave()
