"""What a line typed into the chat means: a message, or one of the slash commands."""

import difflib
from dataclasses import replace
from typing import Literal

from hub.domain.session import OnBusy
from hub_client.chat.intents import (
    AcceptInvite,
    Agents,
    Attach,
    Edit,
    Exit,
    Export,
    Fork,
    Help,
    Intent,
    Invite,
    InviteByLink,
    ListSessions,
    ListTeams,
    Misread,
    New,
    Open,
    Pause,
    Rename,
    Respond,
    Resume,
    Retry,
    Say,
    Search,
    Stop,
)

PASSED_ON = ("/script",)  # words of the scripted teams: messages, although they begin with a slash


HELP: tuple[tuple[str, str], ...] = (
    ("@agent TEXT", "say it to one agent"),
    ("/steer TEXT", "say it to agents at work: they hear it before their next turn"),
    ("/interrupt TEXT", "stop the agents and have them answer this instead"),
    ("/stop", "stop the agents (Ctrl-C does the same)"),
    ("/pause", "let the agents stop after this turn; /resume lets them go on"),
    ("/approve [N] [note]", "say yes to what an agent asks"),
    ("/reject [N] [why]", "say no to it"),
    ("/answer [N] TEXT", "answer an agent's question"),
    ("/edit [TEXT]", "change your last message and have it answered anew"),
    ("/retry", "have the agents answer again"),
    ("/fork [SEQ]", "go on in a new session with what was said (up to event SEQ)"),
    ("/new [team] [title]", "open a new session"),
    ("/sessions", "your sessions"),
    ("/open [which]", "go to a session: a number of the last list, an id, or a part of its title"),
    ("/search WORDS", "look for words in everything that was said"),
    ("/teams", "the teams there are"),
    ("/agents", "this session's agents and who is here"),
    ("/title TEXT", "name this session"),
    ("/invite NAME [role]", "let somebody in: editor, approver, viewer or owner"),
    ("/link [role] [people]", "make a link that lets in whoever has it: one person, or so many"),
    ("/join LINK", "go where somebody's link leads"),
    ("/attach FILE", "send a picture, a PDF or a text"),
    ("/export [file]", "save the transcript: .md, .json or .jsonl"),
    ("/help", "this"),
    ("/exit", "leave (Ctrl-D does the same); the agents go on"),
)
KEYS: tuple[tuple[str, str], ...] = (
    ("Enter", "send"),
    ("Alt-Enter, Ctrl-J", "new line"),
    ("Up, Ctrl-R", "earlier lines, search in them"),
    ("Ctrl-C", "stop the agents; otherwise clear the line; twice: leave"),
)
NAMES = (*(usage.split()[0][1:] for usage, _ in HELP if usage.startswith("/")), "resume")
_ALIASES = {
    "quit": "exit",
    "q": "exit",
    "h": "help",
    "?": "help",
    "cancel": "stop",
    "who": "agents",
    "regenerate": "retry",
    "deny": "reject",
    "yes": "approve",
    "no": "reject",
    "find": "search",
    "continue": "resume",
}


def parse(line: str, agents: tuple[str, ...] = ()) -> Intent:
    """What the line means. `agents` are the names that may be addressed with @."""
    text = line.strip()
    if text.startswith("//"):
        return Say(text[1:])
    if text.startswith("/") and not text.startswith(PASSED_ON):
        return _command(text, agents)
    if text.startswith("@"):
        return _addressed(text, agents)
    return Say(text) if text else Misread("")


def _addressed(text: str, agents: tuple[str, ...]) -> Intent:
    name, _, rest = text[1:].partition(" ")
    known = {agent.casefold(): agent for agent in agents}
    agent = known.get(name.rstrip(",:").casefold())
    if agent is None:
        return Say(text)
    return Say(rest.strip(), agent) if rest.strip() else Misread(f"what shall {agent} be told?")


def _command(text: str, agents: tuple[str, ...]) -> Intent:  # noqa: C901 — one row per command
    word, _, rest = text[1:].partition(" ")
    rest = rest.strip()
    name = _ALIASES.get(word.casefold(), word.casefold())
    match name:
        case "help":
            return Help()
        case "new":
            team, _, title = rest.partition(" ")
            return New(team, title.strip())
        case "sessions":
            return ListSessions()
        case "open":
            return Open(rest)
        case "resume":
            return Open(rest) if rest else Resume()
        case "search":
            return Search(rest) if rest else Misread("/search needs words to look for")
        case "teams":
            return ListTeams()
        case "agents":
            return Agents()
        case "title":
            return Rename(rest) if rest else Misread("/title needs a text")
        case "invite":
            user, _, role = rest.partition(" ")
            return Invite(user, role.strip() or "editor") if user else Misread("/invite needs a name; see /link")
        case "link":
            return _link(rest)
        case "join":
            return AcceptInvite(rest) if rest else Misread("/join needs a link")
        case "stop":
            return Stop()
        case "pause":
            return Pause()
        case "steer":
            return _said(rest, agents, OnBusy.STEER)
        case "interrupt":
            return _said(rest, agents, OnBusy.INTERRUPT)
        case "edit":
            return Edit(rest)
        case "retry":
            return Retry()
        case "fork":
            return _fork(rest)
        case "approve" | "reject" | "answer" as verb:
            return _response(verb, rest)
        case "attach":
            return Attach(rest) if rest else Misread("/attach needs a file")
        case "export":
            return Export(rest)
        case "exit":
            return Exit()
        case _:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"Did you mean /{near[0]}?" if near else "/help lists what there is."
            return Misread(f"There is no /{word}. {hint} (//{word} sends it as a message.)")


def _said(text: str, agents: tuple[str, ...], on_busy: OnBusy) -> Intent:
    if not text:
        return Misread(f"/{on_busy} needs a text")
    said = _addressed(text, agents) if text.startswith("@") else Say(text)
    return replace(said, on_busy=on_busy) if isinstance(said, Say) else said


def _link(rest: str) -> Intent:
    words = rest.split()
    people = words.pop() if words and words[-1].isdecimal() else "1"
    if len(words) > 1 or len(people) > 4:
        return Misread("/link takes a role and for how many people it is: /link viewer 5")
    return InviteByLink(words[0] if words else "editor", int(people))


def _fork(at: str) -> Intent:
    if at and not at.isdecimal():
        return Misread("/fork takes the number of an event, as /search shows it")
    return Fork(int(at) if at else None)


def _response(verb: Literal["approve", "reject", "answer"], rest: str) -> Intent:
    first, _, more = rest.partition(" ")
    number = first.removeprefix("#")
    numbered = number.isdecimal() and len(number) < 4  # more is part of an answer
    text = more.strip() if numbered else rest
    if verb == "answer" and not text:
        # "/answer 4" may well be the answer.
        return Respond(verb, None, rest) if rest else Misread("/answer needs a text")
    return Respond(verb, int(number) if numbered else None, text)
