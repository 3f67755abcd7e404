"""What a line typed into the chat means: a message, or one of the slash commands."""

import difflib
from dataclasses import dataclass

PASSED_ON = ("/script",)  # words of the scripted teams: messages, although they begin with a slash


@dataclass(frozen=True, slots=True)
class Say:
    """Send this; `to` is the agent named with @ in front."""

    text: str
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class New:
    team: str
    title: str


@dataclass(frozen=True, slots=True)
class ListSessions:
    pass


@dataclass(frozen=True, slots=True)
class Resume:
    """`which` is a number of the list, an id or its beginning, or a part of the title; empty: the last session."""

    which: str


@dataclass(frozen=True, slots=True)
class ListTeams:
    pass


@dataclass(frozen=True, slots=True)
class Agents:
    pass


@dataclass(frozen=True, slots=True)
class Rename:
    title: str


@dataclass(frozen=True, slots=True)
class Invite:
    user: str
    role: str


@dataclass(frozen=True, slots=True)
class Stop:
    pass


@dataclass(frozen=True, slots=True)
class Export:
    path: str


@dataclass(frozen=True, slots=True)
class Exit:
    pass


@dataclass(frozen=True, slots=True)
class Misread:
    """A line that means nothing; `why` says what to do."""

    why: str


Intent = (
    Say | Help | New | ListSessions | Resume | ListTeams | Agents | Rename | Invite | Stop | Export | Exit | Misread
)

HELP: tuple[tuple[str, str], ...] = (
    ("/new [team] [title]", "open a new session"),
    ("/sessions", "your sessions"),
    ("/resume [which]", "go on with a session: a number of /sessions, an id, or a part of its title"),
    ("/teams", "the teams there are"),
    ("/agents", "this session's agents and who is here"),
    ("/title TEXT", "name this session"),
    ("/invite NAME [role]", "let somebody in, as editor, viewer …"),
    ("/stop", "stop the agents (Ctrl-C does the same)"),
    ("/export [file]", "save the transcript: .md, .json or .jsonl"),
    ("/help", "this"),
    ("/exit", "leave (Ctrl-D does the same); the agents go on"),
    ("@agent TEXT", "say it to one agent"),
)
KEYS: tuple[tuple[str, str], ...] = (
    ("Enter", "send"),
    ("Alt-Enter, Ctrl-J", "new line"),
    ("Up, Ctrl-R", "earlier lines, search in them"),
    ("Ctrl-C", "stop the agents; otherwise clear the line; twice: leave"),
)
NAMES = ("new", "sessions", "resume", "teams", "agents", "title", "invite", "stop", "export", "help", "exit")
_ALIASES = {"quit": "exit", "q": "exit", "h": "help", "?": "help", "cancel": "stop", "who": "agents"}


def parse(line: str, agents: tuple[str, ...] = ()) -> Intent:
    """What the line means. `agents` are the names that may be addressed with @."""
    text = line.strip()
    if text.startswith("//"):
        return Say(text[1:])
    if text.startswith("/") and not text.startswith(PASSED_ON):
        return _command(text)
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


def _command(text: str) -> Intent:
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
        case "resume":
            return Resume(rest)
        case "teams":
            return ListTeams()
        case "agents":
            return Agents()
        case "title":
            return Rename(rest) if rest else Misread("/title needs a text")
        case "invite":
            user, _, role = rest.partition(" ")
            return Invite(user, role.strip() or "editor") if user else Misread("/invite needs a name")
        case "stop":
            return Stop()
        case "export":
            return Export(rest)
        case "exit":
            return Exit()
        case _:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"Did you mean /{near[0]}?" if near else "/help lists what there is."
            return Misread(f"There is no /{word}. {hint} (//{word} sends it as a message.)")
