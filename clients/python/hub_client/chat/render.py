"""How entries and lanes look in a terminal: entries by rich (Markdown, colours), lanes as prompt-toolkit text."""

import io
import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime

from prompt_toolkit.formatted_text import StyleAndTextTuples
from rich.console import Console, ConsoleRenderable, Group
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from hub_client.chat.conversation import Lane
from hub_client.chat.entries import AgentSaid, Asked, Entry, Notice, Tone, ToolUsed, UserSaid
from hub_client.chat.safe import safe

# Names of the terminal's own palette, so that they fit light and dark themes alike.
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
RESULT_LINES = 8  # of a tool's result; the transcript has all of it
TAIL = 6000  # characters of an open message that can be on the screen at all
_TONES = {Tone.QUIET: "dim", Tone.WARNING: "yellow", Tone.ERROR: "bold red"}


class Palette:
    """A colour for every agent, always the same within a chat."""

    def __init__(self) -> None:
        self._colours: dict[str, str] = {}

    def reserve(self, agents: Iterable[str]) -> None:
        """Give out colours in this order."""
        for agent in agents:
            self.of(agent)

    def of(self, agent: str) -> str:
        """The agent's colour, as rich calls it."""
        return self._colours.setdefault(agent, COLOURS[len(self._colours) % len(COLOURS)])


def ansi(entries: Iterable[Entry], palette: Palette, width: int) -> str:
    """Entries as text with colours for a terminal of this width. NO_COLOR is honoured."""
    target = io.StringIO()
    console = Console(
        file=target, force_terminal=True, color_system="standard", width=max(20, width), legacy_windows=False
    )
    for entry in entries:
        console.print(_entry(entry, palette), highlight=False)
    return target.getvalue()


def table(rows: Sequence[tuple[str, str]], title: str, width: int) -> str:
    """Two columns under a heading, as text with colours."""
    target = io.StringIO()
    console = Console(
        file=target, force_terminal=True, color_system="standard", width=max(20, width), legacy_windows=False
    )
    console.print(Text(f"\n{title}", style="bold"))
    left = min(max((len(row[0]) for row in rows), default=0), max(12, width // 2))
    for name, about in rows:
        line = Text("  ")
        line.append(safe(name).ljust(left), style="cyan")
        line.append(f"  {safe(about)}")
        console.print(line, highlight=False, overflow="ellipsis", no_wrap=True)
    return target.getvalue()


def lanes(shown: Sequence[Lane], palette: Palette, width: int, height: int, tick: int) -> StyleAndTextTuples:
    """What the agents do now, in at most `height` lines; a long message shows its end."""
    text: StyleAndTextTuples = []
    if not shown:
        return text
    console = Console(width=max(20, width - 2), file=io.StringIO(), legacy_windows=False)
    for lane, room in zip(shown, _rooms(len(shown), height), strict=True):
        colour = f"class:agent fg:ansi{_ansi_name(palette.of(lane.agent))}"
        spinner = SPINNER[tick % len(SPINNER)]
        text += [
            (f"{colour} bold", f"{spinner} {safe(lane.display_name)}"),
            ("class:quiet", f"  {safe(lane.doing)}…\n"),
        ]
        body, style = (lane.text, "") if lane.text else (lane.reasoning, "class:quiet italic")
        for line in _tail(body, console, room - 1):
            text += [(colour, "  "), (style, f"{line}\n")]
    return text


def _rooms(count: int, height: int) -> list[int]:
    share = max(2, height // count)
    return list(itertools.repeat(share, count))


def _tail(body: str, console: Console, count: int) -> list[str]:
    if not body.strip() or count < 1:
        return []
    lines = Text(safe(body[-TAIL:]).strip("\n")).wrap(console, console.width, tab_size=4)
    return [line.plain for line in lines[-count:]]


def _ansi_name(colour: str) -> str:
    return colour.replace("bright_", "bright")


def _entry(entry: Entry, palette: Palette) -> ConsoleRenderable:
    match entry:
        case UserSaid():
            return _user(entry)
        case AgentSaid():
            return _agent(entry, palette)
        case ToolUsed():
            return _tool(entry, palette)
        case Asked():
            return _asked(entry, palette)
        case Notice():
            return Padding(Text(safe(entry.text), style=_TONES[entry.tone]), (0, 0, 0, 2))


def _user(entry: UserSaid) -> ConsoleRenderable:
    head = Text("\n")
    if not entry.own:
        head.append(f"{safe(entry.name)} ", style="bold underline")
    head.append("› ", style="bold")
    if entry.to:
        head.append(f"@{safe(entry.to)} ", style="dim")
    head.append(safe(entry.text), style="bold")
    return head


def _agent(entry: AgentSaid, palette: Palette) -> ConsoleRenderable:
    head = Text("\n")
    head.append(f"● {safe(entry.display_name)}", style=f"bold {palette.of(entry.agent)}")
    if entry.note:
        head.append(f"  {entry.note}", style="yellow")
    parts: list[ConsoleRenderable] = [head]
    if entry.reasoning:
        first = safe(entry.reasoning).strip().splitlines()[:3]
        parts.append(Padding(Text("\n".join(first), style="dim italic"), (0, 0, 0, 2)))
    if entry.text.strip():
        parts.append(Padding(Markdown(safe(entry.text), code_theme="ansi_dark", hyperlinks=False), (0, 0, 0, 2)))
    return Group(*parts)


def _asked(entry: Asked, palette: Palette) -> ConsoleRenderable:
    head = Text("\n")
    head.append("? ", style="bold yellow")
    head.append(safe(entry.display_name), style=f"bold {palette.of(entry.agent)}")
    what = {"approval": "needs your approval", "question": "asks", "retry": "does not know what happened"}[entry.kind]
    head.append(f" {what}", style="bold")
    head.append(f"  #{entry.number}, until {safe(_local_time(entry.expires_at))}", style="dim")
    body = Text(safe(entry.prompt))
    for name, value in entry.arguments.items():
        body.append(f"\n{safe(name)}: ", style="dim")
        body.append(safe(str(value)))
    ways = {
        "approval": f"/approve {entry.number} or /reject {entry.number} [why]",
        "question": f"/answer {entry.number} TEXT",
        "retry": f"/approve {entry.number} tries again, /reject {entry.number} gives up",
    }[entry.kind]
    tool = [Padding(Text(safe(entry.tool), style="bold"), (0, 0, 0, 2))] if entry.tool else []
    return Group(head, *tool, Padding(body, (0, 0, 0, 2)), Padding(Text(ways, style="yellow"), (0, 0, 0, 2)))


def _local_time(moment: str) -> str:
    try:
        return f"{datetime.fromisoformat(moment).astimezone():%H:%M}"
    except ValueError:
        return moment


def _tool(entry: ToolUsed, palette: Palette) -> ConsoleRenderable:
    arguments = ", ".join(f"{name}={value!r}" for name, value in entry.arguments.items())
    head = Text("  ")
    head.append("⚙ ", style="dim")
    if entry.display_name:
        head.append(safe(entry.display_name), style=palette.of(entry.agent))
        head.append(" used ")
    head.append(safe(entry.tool), style="bold")
    head.append(safe(f"({arguments})"), style="dim")
    lines = safe(entry.result).rstrip().splitlines()
    shown = lines[:RESULT_LINES]
    if len(lines) > RESULT_LINES:
        shown.append(f"… {len(lines) - RESULT_LINES} more lines")
    body = Text("\n".join(shown), style="red" if entry.is_error else "dim")
    return Group(head, Padding(body, (0, 0, 0, 4)))
