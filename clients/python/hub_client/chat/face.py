"""What the chat shows around the input line: agents at work, the connection, who is here, hints."""

import time
from dataclasses import dataclass, field

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.utils import get_cwidth

from hub_client.chat import commands
from hub_client.chat.conversation import Conversation
from hub_client.chat.render import SPINNER, Palette, lanes
from hub_client.chat.safe import safe
from hub_client.link import State, Status
from hub_client.session import Session

TICKS_PER_S = 10
LEAST_TITLE = 12  # columns: less of a title says nothing


@dataclass(slots=True)
class ChatFace:
    """Draws one chat; the chat sets the fields. Every redraw asks: nothing here may be slow.

    `sending` are messages on their way; `retry_at` is when the connection is tried again, on the monotonic clock.
    """

    host: str
    palette: Palette
    conversation: Conversation
    session: Session | None = None
    team: str = ""
    status: Status = field(default_factory=lambda: Status(State.CONNECTING))
    retry_at: float = 0.0
    sending: list[str] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        """Whether there is something that Ctrl-C stops."""
        return self.conversation.busy

    @property
    def moving(self) -> bool:
        """Whether the picture changes by itself."""
        return self.busy or bool(self.sending) or self.status.state is not State.ONLINE

    def above(self, width: int, height: int) -> StyleAndTextTuples:
        """The lines above the input, each ended by a newline, about `height` at most."""
        tick = int(time.monotonic() * TICKS_PER_S)
        text = lanes(list(self.conversation.lanes.values()), self.palette, width, height - len(self.sending) - 2, tick)
        if self.conversation.paused:
            text.append(("class:warning", "‖ paused: /resume lets the agents go on\n"))
        elif self.conversation.requests:
            text.append(("class:warning", f"? {self._asks()}\n"))
        elif self.busy and not text:
            text.append(("class:quiet", f"{SPINNER[tick % len(SPINNER)]} waiting for the agents …\n"))
        for waiting in self.sending:
            first = safe(waiting).strip().splitlines()[0]
            text.append(("class:quiet", f"› {_cut(first, width - 16)}  sending …\n"))
        return [("", "\n"), *text, ("", "\n")] if text else [("", "\n")]

    def below(self, width: int) -> StyleAndTextTuples:
        """The status line, without a newline."""
        used = self.conversation.prompt_tokens + self.conversation.completion_tokens
        right = (f"{used:,} tokens · " if used else "") + ("Ctrl-C stops" if self.busy else "/help")
        connection = self._connection()
        room = width - sum(get_cwidth(part[1]) for part in connection) - get_cwidth(right) - 2
        about = self._about(room)
        gap = " " * (room + 2 - get_cwidth(about))
        return [*connection, ("class:quiet", about + gap + right)] if room > 0 else connection

    def hints(self, line: str) -> list[tuple[str, str]]:
        """What the line may become: the text that Tab puts there, and what it means."""
        if " " in line or "\n" in line:
            return []
        if line.startswith("/") and not line.startswith("//"):
            offered = [
                (usage.split()[0], f"{usage.partition(' ')[2]}  {about}".strip()) for usage, about in commands.HELP
            ]
            return [(name, about) for name, about in offered if name.startswith(line) and name != line]
        if line.startswith("@"):
            names = [(f"@{agent.name}", agent.display_name) for agent in self.conversation.agents]
            return [(name, about) for name, about in names if name.startswith(line) and name != line]
        return []

    def _asks(self) -> str:
        first = next(iter(self.conversation.requests.values()))
        more = len(self.conversation.requests) - 1
        how = "/answer TEXT" if first.kind == "question" else "/approve or /reject"
        return f"{safe(first.display_name)} waits for you: {how}" + (f" (and {more} more)" if more else "")

    def _connection(self) -> StyleAndTextTuples:
        match self.status.state:
            case State.ONLINE:
                return [("class:good", "●"), ("class:quiet", f" {self.host}")]
            case State.WAITING:
                left = max(0.0, self.retry_at - time.monotonic())
                return [("class:warning", f"◌ no connection to {self.host}, next try in {left:.0f} s")]
            case State.CONNECTING:
                return [("class:warning", f"◌ connecting to {self.host} …")]
            case State.ENDED:
                return [("class:bad", f"○ {safe(self.status.reason)}")]

    def _about(self, room: int) -> str:
        """Team, title and people in this many columns: the title gives way first."""
        team = f" · {self.team}" if self.team else ""
        others = self._others()
        people = f" · with {others}" if others else ""
        left = room - get_cwidth(team + people)
        title = safe(self.conversation.title)
        if title and left >= LEAST_TITLE:
            return f"{team} · {_cut(title, min(40, left - 3))}{people}"
        return _cut(team + people, room)

    def _others(self) -> str:
        if self.session is None:
            return ""
        people = [p for p in self.session.presence.values() if p.user != self.conversation.me]
        shown = [safe(p.name) + (" (typing …)" if p.status == "typing" else "") for p in people[:3]]
        return ", ".join(shown) + (f" and {len(people) - 3} more" if len(people) > 3 else "")


def _cut(text: str, width: int) -> str:
    if get_cwidth(text) <= width:
        return text
    kept = ""
    for character in text:
        if get_cwidth(kept + character) >= width:
            break
        kept += character
    return kept + "…"
