"""A chat's place in a session: it opens one, follows it onto the screen, and gets up to take another."""

import asyncio
from collections.abc import Callable

from hub.protocol.events import DurableEvent
from hub.protocol.pieces import SessionData
from hub.protocol.results import TeamResult
from hub_client.chat.choice import LastSessions, choose_team
from hub_client.chat.conversation import Conversation
from hub_client.chat.entries import Entry, Notice, Tone
from hub_client.chat.face import ChatFace
from hub_client.chat.options import Options
from hub_client.chat.screen import Screen
from hub_client.client import Hub
from hub_client.errors import HubClientError, NotSignedIn, RequestFailed, Stopped
from hub_client.session import Session


class Seat:
    """The present session of a chat, and how one comes to it.

    `on_end` is called with the reason when the hub ended the connection for good.
    """

    def __init__(
        self,
        hub: Hub,
        face: ChatFace,
        screen: Screen,
        last: LastSessions,
        url: str,
        tasks: asyncio.TaskGroup,
        on_end: Callable[[str], None],
    ) -> None:
        self._hub = hub
        self._face = face
        self._screen = screen
        self._last = last
        self._url = url
        self._tasks = tasks
        self._on_end = on_end
        self._following: asyncio.Task[None] | None = None
        self._team: str | None = None
        self.session: Session | None = None
        self.teams: list[TeamResult] = []

    @property
    def conversation(self) -> Conversation:
        """What is shown."""
        return self._face.conversation

    async def take_first(self, options: Options) -> None:
        """Open what the command line asked for: a session, the last one, or a new one."""
        self.teams = await self._hub.rest.teams()
        self._team = options.team
        wanted = options.session or (self._last.get(self._url) if options.resume else None)
        if wanted is None:
            await self.open_new()
            return
        try:
            await self.open(await self._hub.rest.session(wanted))
        except RequestFailed as e:
            if options.session or e.code != "not_found":
                raise
            await self.open_new()

    async def open_new(self, team: str = "", title: str = "") -> None:
        """Make a session and sit down in it."""
        kind = choose_team(self.teams, team or self._team)
        await self.open(await self._hub.create_session(kind.name, title=title or None))

    async def open(self, chosen: SessionData) -> None:
        """Sit down in this session."""
        await self._get_up()
        agents = next((tuple(team.agents) for team in self.teams if team.name == chosen.team), ())
        self._face.palette.reserve(agent.name for agent in agents)
        conversation = Conversation(self._hub.user, agents, chosen.title, paused=chosen.status == "paused")
        session = await self._hub.join(chosen.id)
        self.session = self._face.session = session
        self._face.conversation, self._face.team = conversation, chosen.team
        self._last.put(self._url, chosen.id)
        await self._screen.show(*self._greeting(session, chosen))
        self._following = self._tasks.create_task(self._follow(session, conversation))

    def stop_following(self) -> None:
        """Nothing is shown any more; the session is still joined."""
        if self._following is not None:
            self._following.cancel()
            self._following = None

    def joined(self) -> Session:
        """The present session. Raises `RequestFailed` when there is none."""
        if self.session is None:
            raise RequestFailed("not_found", "no session is open; /new opens one")
        return self.session

    def _greeting(self, session: Session, chosen: SessionData) -> list[Entry]:
        who = ", ".join(agent.display_name for agent in self.conversation.agents) or "no agents"
        lines: list[Entry] = [
            Notice(f"{self._hub.hello.user.name} with {chosen.team}: {who}"),
            Notice(f"/help for help · join from elsewhere: hub chat -s {chosen.id}"),
        ]
        if session.replayed_from > 1:
            lines.append(Notice("… the end of what was said before (/export saves all of it):"))
        return lines

    async def _get_up(self) -> None:
        self.stop_following()
        if self.session is not None:
            session, self.session = self.session, None
            await session.leave()

    async def _follow(self, session: Session, conversation: Conversation) -> None:
        entries: list[Entry] = []
        try:
            async for event in session.events():
                was_busy = conversation.busy
                entries += conversation.apply(event)
                # History comes in one piece: it is written in one piece.
                if entries and not (isinstance(event, DurableEvent) and event.seq < session.joined_at):
                    shown, entries = entries, []
                    await self._screen.show(*shown)
                if was_busy and not conversation.busy:
                    self._screen.forget_hint()
                self._screen.redraw()
        except (NotSignedIn, Stopped) as e:
            self._on_end(str(e))
        except HubClientError as e:
            await self._screen.show(Notice(f"this session is over: {e}", Tone.ERROR))
