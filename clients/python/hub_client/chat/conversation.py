"""What a chat shows of a session: entries that stay, made of its events, and lanes of what is happening now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from hub.protocol.events import (
    AgentHandoff,
    AgentStatus,
    AnyEvent,
    AuthExpiring,
    BudgetReached,
    InputApproved,
    InputRequested,
    InputResolved,
    MemberAdded,
    MemberRemoved,
    MemberUpdated,
    MessageCompleted,
    MessageCreated,
    MessageDelta,
    MessageRedacted,
    MessageSnapshot,
    MessageSteered,
    PresenceChanged,
    ReasoningDelta,
    Resync,
    RunFinished,
    RunQueued,
    RunStarted,
    ServerDraining,
    SessionCreated,
    SessionUpdated,
    ToolCalled,
    ToolReturned,
    TurnOffered,
    TurnStarted,
    TurnSuperseded,
    TurnWithdrawn,
)
from hub.protocol.pieces import AgentAuthor
from hub.protocol.results import AgentResult
from hub_client.chat.entries import AgentSaid, Asked, Entry, Notice, Tone, ToolUsed, UserSaid


@dataclass(slots=True)
class Lane:
    """One agent at work: what it does, and its message as far as it is written."""

    agent: str
    display_name: str
    turn: int
    doing: str = "thinking"
    message: str = ""
    text: str = ""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class _Call:
    agent: str
    tool: str
    arguments: dict[str, object]


@dataclass(slots=True)
class Conversation:
    """The view of one session for one user (`me` is the user's id).

    Every event goes through `apply`, in order. `runs` are those that were asked for and have not finished, `requests`
    what waits for an answer, by id. `said` is the user's last message (id, text), `answered` the id of the last one of
    an agent.
    """

    me: str
    agents: tuple[AgentResult, ...] = ()
    title: str = ""
    lanes: dict[str, Lane] = field(default_factory=dict)
    runs: dict[str, None] = field(default_factory=dict)
    requests: dict[str, Asked] = field(default_factory=dict)
    paused: bool = False
    said: tuple[str, str] | None = None
    answered: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    _calls: dict[str, _Call] = field(default_factory=dict)
    _asked: int = 0
    _cut: int = 0  # the seq of the last event that cut the conversation

    @property
    def busy(self) -> bool:
        """Whether the agents are at work, or about to be."""
        return bool(self.runs)

    def display_name(self, agent: str) -> str:
        """What people call an agent."""
        return next((known.display_name for known in self.agents if known.name == agent), agent)

    def apply(self, event: AnyEvent) -> list[Entry]:  # noqa: C901 — one row per event type: a new one is a type error here
        """Take an event in; what it adds for good."""
        match event:
            case SessionCreated() | SessionUpdated():
                self.title = event.data.title
                self.paused = event.data.status == "paused"
            case MemberAdded():
                # The owner's own membership comes with the session and is no news.
                return [] if event.data.role == "owner" else [Notice(f"{event.data.name} joined as {event.data.role}")]
            case MemberRemoved():
                return [Notice(f"{event.data.name} is no longer a member")]
            case MemberUpdated():
                return [Notice(f"{event.data.name} is {event.data.role} now")]
            case MessageCreated():
                author = event.data.author
                if author.id == self.me:
                    self.said = (event.data.message, event.data.text)
                text = "\n".join([event.data.text, *map(_attached, event.data.parts)]).strip()
                return [UserSaid(author.name, text, author.id == self.me, event.data.to)]
            case RunQueued() | RunStarted():
                self.runs[event.run or ""] = None
            case TurnStarted():
                self.runs[event.run or ""] = None  # the view may begin in the middle of a run
                self._lane(event.data.agent, self.display_name(event.data.agent), event.data.turn)
            case TurnSuperseded():
                return self._superseded(event)
            case MessageDelta() | MessageSnapshot() | ReasoningDelta():
                self._write(event)
            case MessageCompleted():
                return self._completed(event)
            case ToolCalled():
                self._called(event)
            case ToolReturned():
                return self._returned(event)
            case AgentHandoff():
                there = self.display_name(event.data.to)
                reason = f": {event.data.reason}" if event.data.reason else ""
                return [Notice(f"{self.display_name(event.data.source)} hands over to {there}{reason}")]
            case InputRequested():
                return [self._ask(event)]
            case InputApproved():
                return [self._approved(event)]
            case InputResolved():
                return [self._resolved(event)]
            case MessageSteered():
                turn = f" at turn {event.data.turn + 1}" if event.data.turn is not None else ""
                taken = event.data.outcome == "consumed"
                return [Notice(f"the team has heard it{turn}" if taken else "too late to steer: it is answered next")]
            case MessageRedacted():
                return self._redacted(event)
            case RunFinished():
                return self._finished(event)
            case BudgetReached():
                spent = f"{event.data.used:g} of {event.data.limit:g} {event.data.quantity.replace('_', ' ')}"
                return [Notice(f"a budget ({event.data.scope}) is used up: {spent}", Tone.ERROR)]
            case AgentStatus():
                lane = self.lanes.get(event.data.agent)
                if lane is not None and event.data.status != "idle":
                    lane.doing = event.data.status
            case PresenceChanged() | Resync() | AuthExpiring() | ServerDraining() | TurnOffered() | TurnWithdrawn():
                pass  # the connection's matters, shown in the status line
            case _:
                assert_never(event)
        return []

    # ---- what agents do

    def _lane(self, agent: str, display_name: str, turn: int) -> Lane:
        lane = self.lanes.get(agent)
        if lane is None or lane.turn != turn:
            # A fresh turn goes to the end: lanes are in the order in which the agents began.
            self.lanes.pop(agent, None)
            lane = self.lanes[agent] = Lane(agent, display_name, turn)
        return lane

    def _write(self, event: MessageDelta | MessageSnapshot | ReasoningDelta) -> None:
        data = event.data
        self.runs[event.run or ""] = None
        lane = self._lane(data.author.name, data.author.display_name, data.turn)
        if lane.message != data.message:
            lane.message, lane.text, lane.reasoning = data.message, "", ""
        match event:
            case MessageDelta():
                lane.doing = "writing"
                lane.text += event.data.text
            case MessageSnapshot():
                lane.doing = "writing"
                lane.text = event.data.text
            case ReasoningDelta():
                lane.doing = "thinking"
                lane.reasoning += event.data.text

    def _completed(self, event: MessageCompleted) -> list[Entry]:
        author: AgentAuthor = event.data.author
        lane = self.lanes.get(author.name)
        if lane is not None and lane.turn == event.data.turn:
            del self.lanes[author.name]
        self.prompt_tokens += event.data.usage.prompt_tokens
        self.completion_tokens += event.data.usage.completion_tokens
        self.answered = event.data.message
        note = {"complete": "", "interrupted": "stopped here", "failed": "failed here"}[event.data.status]
        return [
            AgentSaid(
                event.data.message, author.name, author.display_name, event.data.text, event.data.reasoning or "", note
            )
        ]

    # ---- what they ask, and what is taken back

    def _ask(self, event: InputRequested) -> Asked:
        data = event.data
        self._asked += 1
        asked = Asked(
            number=self._asked,
            request=data.request,
            kind=data.kind,
            agent=data.agent,
            display_name=self.display_name(data.agent),
            prompt=data.prompt,
            tool=data.tool or "",
            arguments=dict(data.arguments or {}),
            expires_at=data.expires_at,
        )
        self.requests[data.request] = asked
        return asked

    def _approved(self, event: InputApproved) -> Notice:
        data = event.data
        asked = self.requests.get(data.request)
        which = f" #{asked.number}" if asked else ""
        note = f": {data.text}" if data.text else ""
        return Notice(f"{data.by.name} approved{which} ({data.approvals} of {data.approvers}){note}")

    def _resolved(self, event: InputResolved) -> Notice:
        data = event.data
        asked = self.requests.pop(data.request, None)
        which = f" #{asked.number}" if asked else ""
        if data.by.id == "hub":
            return Notice(f"nobody answered{which} in time", Tone.WARNING)
        said = {"approve": "approved", "reject": "rejected", None: "answered"}[data.decision]
        return Notice(f"{data.by.name} {said}{which}" + (f": {data.text}" if data.text else ""))

    def _redacted(self, event: MessageRedacted) -> list[Entry]:
        last, self._cut = self._cut, event.seq
        match event.data.reason:
            case None:
                return [Notice(f"{event.data.by.name} removed a message")]
            case "edited":
                why = f"{event.data.by.name} goes back and says it differently"
            case "regenerated":
                why = f"{event.data.by.name} wants another answer"
        # Each message that is cut has its event, one after the other: told once.
        return [] if event.seq == last + 1 else [Notice(f"{why}; what was said since does not count", Tone.WARNING)]

    # ---- tools

    def _called(self, event: ToolCalled) -> None:
        data = event.data
        self._calls[data.call] = _Call(data.agent, data.name, dict(data.arguments))
        lane = self._lane(data.agent, self.display_name(data.agent), data.turn)
        lane.doing = f"calling {data.name}"

    def _returned(self, event: ToolReturned) -> list[Entry]:
        call = self._calls.pop(event.data.call, None)
        if call is None:  # called before the part of the log that this view began with
            call = _Call("", event.data.name, {})
        lane = self.lanes.get(call.agent)
        if lane is not None:
            lane.doing = "thinking"
        name = self.display_name(call.agent)
        return [ToolUsed(call.agent, name, call.tool, call.arguments, event.data.result, event.data.is_error)]

    # ---- runs

    def _superseded(self, event: TurnSuperseded) -> list[Entry]:
        void = [lane for lane in self.lanes.values() if lane.turn == event.data.turn]
        for lane in void:
            del self.lanes[lane.agent]
        self._calls.clear()
        who = " and ".join(lane.display_name for lane in void) or "an agent"
        return [Notice(f"what {who} was writing is void and done again ({event.data.reason})", Tone.WARNING)]

    def _finished(self, event: RunFinished) -> list[Entry]:
        self.runs.pop(event.run or "", None)
        self.lanes.clear()
        self._calls.clear()
        self.requests.clear()
        self.paused = False
        data = event.data
        if data.status == "failed":
            why = data.error.message if data.error else data.reason
            return [Notice(f"failed: {why}", Tone.ERROR)]
        if data.status == "cancelled":
            return [Notice("stopped")]
        turns = f"{data.turns} turn" + ("s" if data.turns != 1 else "")
        tokens = data.usage.prompt_tokens + data.usage.completion_tokens
        return [Notice(f"{turns} · {tokens:,} tokens · {data.duration_ms / 1000:.1f} s")]


def _attached(part: Mapping[str, Any]) -> str:
    """A line about what a message has beside its words; empty for words."""
    if part.get("type") != "attachment":
        return ""
    return f"[{part.get('name')}, {part.get('media_type')}, {part.get('size'):,} bytes]"
