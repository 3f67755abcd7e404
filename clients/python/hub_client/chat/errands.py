"""What the slash commands do, and how a message is sent."""

from pathlib import Path
from typing import assert_never

from hub_client.chat import commands
from hub_client.chat.choice import choose_session
from hub_client.chat.commands import Intent
from hub_client.chat.conversation import Notice, Tone
from hub_client.chat.face import ChatFace
from hub_client.chat.screen import Screen
from hub_client.chat.seat import Seat
from hub_client.client import Hub
from hub_client.errors import HubClientError

TITLE_CHARS = 60


class Errands:
    """Carries out what was typed. Every command raises `HubClientError` when the hub says no."""

    def __init__(self, hub: Hub, seat: Seat, screen: Screen, face: ChatFace) -> None:
        self._hub = hub
        self._seat = seat
        self._screen = screen
        self._face = face

    async def obey(self, intent: Intent) -> None:
        """Do what the line meant."""
        match intent:
            case commands.Say():
                await self._say(intent)
            case commands.Help() | commands.ListSessions() | commands.ListTeams() | commands.Agents():
                await self._tell(intent)
            case commands.New():
                await self._seat.open_new(intent.team, intent.title)
            case commands.Resume():
                await self._resume(intent.which)
            case commands.Rename():
                await self._hub.rest.rename(self._seat.joined().id, intent.title)
            case commands.Invite():
                await self._hub.rest.add_member(self._seat.joined().id, intent.user, intent.role)
            case commands.Stop():
                await self.stop()
            case commands.Export():
                await self._export(intent.path)
            case commands.Exit():
                self._screen.leave()
            case commands.Misread():
                await self._screen.show(Notice(intent.why, Tone.WARNING))
            case _:
                assert_never(intent)

    async def stop(self) -> None:
        """Stop the agents."""
        await self._seat.joined().cancel()

    async def _say(self, intent: commands.Say) -> None:
        session = self._seat.joined()
        self._face.sending.append(intent.text)
        self._screen.redraw()
        try:
            await session.send(intent.text, to=intent.to)
        except HubClientError:
            self._screen.put_back(f"@{intent.to} {intent.text}" if intent.to else intent.text)
            raise
        finally:
            self._face.sending.remove(intent.text)
        conversation = self._seat.conversation
        if not conversation.title:
            conversation.title = " ".join(intent.text.split())[:TITLE_CHARS]
            await self._hub.rest.rename(session.id, conversation.title)

    async def _tell(self, intent: commands.Help | commands.ListSessions | commands.ListTeams | commands.Agents) -> None:
        match intent:
            case commands.Help():
                await self._screen.show_table(commands.HELP, "Commands")
                await self._screen.show_table(commands.KEYS, "Keys")
            case commands.ListSessions():
                await self._list_sessions()
            case commands.ListTeams():
                rows = [(team.name, f"{team.description} [{team.model}]") for team in self._seat.teams]
                await self._screen.show_table(rows, "Teams (/new NAME)")
            case commands.Agents():
                await self._list_participants()

    async def _list_sessions(self) -> None:
        here = self._seat.session.id if self._seat.session else ""
        rows = []
        for number, session in enumerate(await self._hub.rest.sessions(), 1):
            when = session.updated_at[:16].replace("T", " ")
            about = f"{session.title or '(no title)'} · {session.team} · {session.status} · {when}"
            rows.append((str(number), about + (" · you are here" if session.id == here else "")))
        await self._screen.show_table(rows, "Sessions (/resume NUMBER)")

    async def _list_participants(self) -> None:
        agents = [(f"@{agent.name}", agent.display_name) for agent in self._seat.conversation.agents]
        await self._screen.show_table(agents, "Agents")
        people = [
            (person.name + (" (you)" if person.user == self._hub.user else ""), str(person.status))
            for person in self._seat.joined().presence.values()
        ]
        await self._screen.show_table(people, "People here")

    async def _resume(self, which: str) -> None:
        sessions = await self._hub.rest.sessions()
        here = self._seat.session.id if self._seat.session else ""
        others = [session for session in sessions if session.id != here]
        await self._seat.open(choose_session(sessions if which else others, which or "1"))

    async def _export(self, path: str) -> None:
        session = self._seat.joined()
        name = path or f"session-{session.id[-12:]}.md"
        text = await self._hub.rest.export(session.id, _form(name))
        try:
            target = _save(name, text)
        except OSError as e:
            await self._screen.show(Notice(f"cannot write {name}: {e.strerror}", Tone.ERROR))
        else:
            await self._screen.show(Notice(f"saved as {target}"))


def _form(name: str) -> str:
    return {".json": "json", ".jsonl": "jsonl"}.get(Path(name).suffix, "markdown")


def _save(name: str, text: str) -> Path:
    target = Path(name).expanduser()
    target.write_text(text)
    return target
