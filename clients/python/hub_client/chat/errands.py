"""What the slash commands do, and how a message is sent."""

import asyncio
import mimetypes
from pathlib import Path
from typing import assert_never

from hub.protocol.results import SearchHit
from hub_client.chat import commands, intents
from hub_client.chat.choice import TITLE_CHARS, called, choose_session
from hub_client.chat.entries import Asked, Notice, Tone
from hub_client.chat.face import ChatFace
from hub_client.chat.intents import Intent
from hub_client.chat.screen import Screen
from hub_client.chat.seat import Seat
from hub_client.client import Hub
from hub_client.errors import HubClientError, RequestFailed
from hub_client.rest import INVITE_MARK


class Errands:
    """Carries out what was typed. Every command raises `HubClientError` when the hub says no."""

    def __init__(self, hub: Hub, seat: Seat, screen: Screen, face: ChatFace) -> None:
        self._hub = hub
        self._seat = seat
        self._screen = screen
        self._face = face
        self._listed: list[str] = []  # the sessions of the last list, so that one can name them by number

    async def obey(self, intent: Intent) -> None:  # noqa: C901 — one row per intent
        """Do what the line meant."""
        match intent:
            case intents.Say():
                await self._say(intent)
            case intents.Help() | intents.ListSessions() | intents.ListTeams() | intents.Agents():
                await self._tell(intent)
            case intents.New():
                await self._seat.open_new(intent.team, intent.title)
            case intents.Open():
                await self._open(intent.which)
            case intents.Search():
                await self._search(intent.words)
            case intents.Rename():
                await self._hub.rest.rename(self._seat.joined().id, intent.title)
            case intents.Invite():
                await self._hub.rest.add_member(self._seat.joined().id, intent.user, intent.role)
            case intents.InviteByLink():
                await self._invite_by_link(intent)
            case intents.AcceptInvite():
                await self._seat.open(await self._hub.rest.accept_invite(token_of(intent.link)))
            case intents.Stop():
                await self.stop()
            case intents.Pause():
                await self._pause()
            case intents.Resume():
                await self._seat.joined().resume()
            case intents.Edit() | intents.Retry() | intents.Fork():
                await self._go_back(intent)
            case intents.Respond():
                await self._respond(intent)
            case intents.Attach():
                await self._attach(intent.path)
            case intents.Export():
                await self._export(intent.path)
            case intents.Exit():
                self._screen.leave()
            case intents.Misread():
                await self._screen.show(Notice(intent.why, Tone.WARNING))
            case _:
                assert_never(intent)

    async def stop(self) -> None:
        """Stop the agents."""
        await self._seat.joined().cancel()

    async def _say(self, intent: intents.Say) -> None:
        session = self._seat.joined()
        self._face.sending.append(intent.text)
        self._screen.redraw()
        try:
            await session.send(intent.text, to=intent.to, on_busy=intent.on_busy)
        except HubClientError:
            self._screen.put_back(f"@{intent.to} {intent.text}" if intent.to else intent.text)
            raise
        finally:
            self._face.sending.remove(intent.text)
        conversation = self._seat.conversation
        if not conversation.title:
            conversation.title = " ".join(intent.text.split())[:TITLE_CHARS]
            await self._hub.rest.rename(session.id, conversation.title)

    async def _invite_by_link(self, intent: intents.InviteByLink) -> None:
        made = await self._hub.rest.invite(self._seat.joined().id, intent.role, max_uses=intent.uses)
        who = "one person" if intent.uses == 1 else f"{intent.uses} people"
        until = made.expires_at[:16].replace("T", " ")
        link = self._hub.rest.link(made.token)
        await self._screen.show(Notice(f"lets {who} in as {made.role} until {until}: {link}"))

    async def _pause(self) -> None:
        result = await self._seat.joined().pause()
        if result.status == "pausing":
            await self._screen.show(Notice("they pause after this turn; /resume lets them go on"))

    async def _go_back(self, intent: intents.Edit | intents.Retry | intents.Fork) -> None:
        session, conversation = self._seat.joined(), self._seat.conversation
        match intent:
            case intents.Edit(text=text):
                if conversation.said is None:
                    raise RequestFailed("not_found", "you have not said anything here")
                message, before = conversation.said
                if not text:
                    self._screen.put_back(f"/edit {before}")
                else:
                    await session.edit(message, text)
            case intents.Retry():
                last = conversation.answered or (conversation.said and conversation.said[0])
                if last is None:
                    raise RequestFailed("not_found", "there is no answer yet")
                await session.regenerate(last)
            case intents.Fork(at=at):
                await self._seat.open(await session.fork(at))

    async def _respond(self, intent: intents.Respond) -> None:
        session, asked = self._seat.joined(), self._asked(intent)
        decision = None if intent.verb == "answer" else intent.verb
        await session.respond(asked.request, decision=decision, text=intent.text or None)

    def _asked(self, intent: intents.Respond) -> Asked:
        """The request that is meant. Raises `RequestFailed` when there is none, or more than one."""
        every = list(self._seat.conversation.requests.values())
        if not every:
            raise RequestFailed("not_found", "nobody asks for anything")
        meant = [asked for asked in every if intent.number in (None, asked.number)]
        if len(meant) == 1:
            return meant[0]
        numbers = ", ".join(f"#{asked.number}" for asked in every)
        raise RequestFailed("not_found", f"which one? There are {numbers}: /{intent.verb} {every[0].number}")

    async def _tell(self, intent: intents.Help | intents.ListSessions | intents.ListTeams | intents.Agents) -> None:
        match intent:
            case intents.Help():
                await self._screen.show_table(commands.HELP, "Commands")
                await self._screen.show_table(commands.KEYS, "Keys")
            case intents.ListSessions():
                await self._list_sessions()
            case intents.ListTeams():
                rows = [(team.name, f"{team.description} [{team.model}]") for team in self._seat.teams]
                await self._screen.show_table(rows, "Teams (/new NAME)")
            case intents.Agents():
                await self._list_participants()

    async def _list_sessions(self) -> None:
        here = self._seat.session.id if self._seat.session else ""
        rows = []
        sessions = await self._hub.rest.sessions()
        self._listed = [session.id for session in sessions]
        for number, session in enumerate(sessions, 1):
            when = session.updated_at[:16].replace("T", " ")
            about = f"{called(session)} · {session.team} · {session.status} · {when}"
            rows.append((str(number), about + (" · you are here" if session.id == here else "")))
        await self._screen.show_table(rows, "Sessions (/open NUMBER)")

    async def _search(self, words: str) -> None:
        hits = await self._hub.rest.search(words)
        self._listed = [hit.session for hit in hits]
        rows = [(str(number), _found(hit)) for number, hit in enumerate(hits, 1)]
        await self._screen.show_table(rows, "Found (/open NUMBER)" if rows else f"nobody said {words!r}")

    async def _list_participants(self) -> None:
        agents = [(f"@{agent.name}", agent.display_name) for agent in self._seat.conversation.agents]
        await self._screen.show_table(agents, "Agents")
        people = [
            (person.name + (" (you)" if person.user == self._hub.user else ""), str(person.status))
            for person in self._seat.joined().presence.values()
        ]
        await self._screen.show_table(people, "People here")

    async def _open(self, which: str) -> None:
        if which.isdecimal() and 1 <= int(which) <= len(self._listed):
            await self._seat.open(await self._hub.rest.session(self._listed[int(which) - 1]))
            return
        sessions = await self._hub.rest.sessions()
        here = self._seat.session.id if self._seat.session else ""
        others = [session for session in sessions if session.id != here]
        await self._seat.open(choose_session(sessions if which else others, which or "1"))

    async def _attach(self, path: str) -> None:
        session = self._seat.joined()
        try:
            name, content = await asyncio.to_thread(_read, path)
        except OSError as e:
            await self._screen.show(Notice(f"cannot read {path}: {e.strerror}", Tone.ERROR))
            return
        kind, _ = mimetypes.guess_type(name)
        made = await self._hub.rest.upload(session.id, content, name=name, media_type=kind)
        await session.send(attachments=[made.id])

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


def token_of(link: str) -> str:
    """The token of an invite, from its link or from what was copied of it."""
    return link.rpartition(INVITE_MARK)[2].strip()


def _found(hit: SearchHit) -> str:
    who = hit.author.get("display_name") or hit.author.get("name") or ""
    return f"{hit.title or '(no title)'} · event {hit.seq} · {who}: {' '.join(hit.snippet.split())}"


def _form(name: str) -> str:
    return {".json": "json", ".jsonl": "jsonl"}.get(Path(name).suffix, "markdown")


def _save(name: str, text: str) -> Path:
    target = Path(name).expanduser()
    target.write_text(text, encoding="utf-8")  # whatever the terminal is set to
    return target


def _read(path: str) -> tuple[str, bytes]:
    file = Path(path).expanduser()
    return file.name, file.read_bytes()
