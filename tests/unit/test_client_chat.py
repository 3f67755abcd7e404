"""The chat's parts that need no hub: what a line means, what events add, how it looks, what is kept."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.formatted_text import fragment_list_to_text

from hub.domain.session import OnBusy
from hub.protocol.pieces import Person, SessionData
from hub.protocol.results import AgentResult, TeamResult
from hub_client import FixedToken, NotSignedIn, RequestFailed, Rest, SignIn, State, Status, Tokens
from hub_client.chat import intents
from hub_client.chat.choice import LastSessions, called, choose_session, choose_team
from hub_client.chat.commands import parse
from hub_client.chat.conversation import Conversation
from hub_client.chat.entries import AgentSaid, Asked, Entry, Notice, Tone, ToolUsed, UserSaid
from hub_client.chat.face import ChatFace
from hub_client.chat.identity import identify
from hub_client.chat.options import Options
from hub_client.chat.places import Places
from hub_client.chat.plain import PlainView
from hub_client.chat.render import Palette, ansi, lanes, table
from hub_client.chat.safe import safe
from hub_client.chat.signins import SignIns
from tests.unit import played_hub as play
from tests.unit.test_client_assembly import parsed

AGENTS = (AgentResult(name="writer", display_name="Writer"), AgentResult(name="critic", display_name="Critic"))
CRITIC = {"kind": "agent", "name": "critic", "display_name": "Critic"}
UP = "http://127.0.0.1:8000"


def talk(conversation: Conversation, *frames: dict[str, Any]) -> list[Entry]:
    return [entry for frame in frames for entry in conversation.apply(parsed(frame))]


def said(name: str, text: str, user: str = "u1", to: str | None = None) -> dict[str, Any]:
    author = {"kind": "user", "id": user, "name": name}
    return play.event("message.created", 1, message="q", author=author, text=text, parts=[], client_id="c", to=to)


def fresh() -> Conversation:
    return Conversation(me="u1", agents=AGENTS)


# ---- what a line means


@pytest.mark.parametrize(
    ("line", "intent"),
    [
        ("hello", intents.Say("hello")),
        ("  hello\nyou  ", intents.Say("hello\nyou")),
        ("@critic why?", intents.Say("why?", "critic")),
        ("@Critic: why?", intents.Say("why?", "critic")),
        ("@nobody why?", intents.Say("@nobody why?")),
        ("//new is a word", intents.Say("/new is a word")),
        ("/script turns=1", intents.Say("/script turns=1")),
        ("/new", intents.New("", "")),
        ("/new duo The title", intents.New("duo", "The title")),
        ("/open 2", intents.Open("2")),
        ("/resume my plans", intents.Open("my plans")),
        ("/resume", intents.Resume()),
        ("/pause", intents.Pause()),
        ("/steer shorter", intents.Say("shorter", None, OnBusy.STEER)),
        ("/steer @critic shorter", intents.Say("shorter", "critic", OnBusy.STEER)),
        ("/interrupt no, wait", intents.Say("no, wait", None, OnBusy.INTERRUPT)),
        ("/edit", intents.Edit("")),
        ("/edit better words", intents.Edit("better words")),
        ("/retry", intents.Retry()),
        ("/regenerate", intents.Retry()),
        ("/fork", intents.Fork(None)),
        ("/fork 12", intents.Fork(12)),
        ("/approve", intents.Respond("approve", None, "")),
        ("/approve 2 fine with me", intents.Respond("approve", 2, "fine with me")),
        ("/reject too much", intents.Respond("reject", None, "too much")),
        ("/reject #3", intents.Respond("reject", 3, "")),
        ("/answer 42", intents.Respond("answer", None, "42")),
        ("/answer 2 forty two", intents.Respond("answer", 2, "forty two")),
        ("/search green ideas", intents.Search("green ideas")),
        ("/sessions", intents.ListSessions()),
        ("/teams", intents.ListTeams()),
        ("/who", intents.Agents()),
        ("/title A b", intents.Rename("A b")),
        ("/invite bea viewer", intents.Invite("bea", "viewer")),
        ("/invite bea", intents.Invite("bea", "editor")),
        ("/link", intents.InviteByLink("editor", 1)),
        ("/link viewer", intents.InviteByLink("viewer", 1)),
        ("/link 5", intents.InviteByLink("editor", 5)),
        ("/link viewer 20", intents.InviteByLink("viewer", 20)),
        ("/join https://hub.example/#invite=inv_x", intents.AcceptInvite("https://hub.example/#invite=inv_x")),
        ("/stop", intents.Stop()),
        ("/export x.jsonl", intents.Export("x.jsonl")),
        ("/attach my cat.png", intents.Attach("my cat.png")),
        ("/HELP", intents.Help()),
        ("/quit", intents.Exit()),
    ],
)
def test_what_a_line_means(line: str, intent: intents.Intent) -> None:
    assert parse(line, ("writer", "critic")) == intent


@pytest.mark.parametrize(
    "line",
    [
        "/title",
        "/invite",
        "/link viewer 5 5",
        "/link viewer 99999",
        "/join",
        "@critic",
        "/resum",
        "/nonsense",
        "",
        "/steer",
        "/answer",
        "/search",
        "/fork x",
        "/steer @critic",
    ],
)
def test_a_line_that_means_nothing_says_what_to_do(line: str) -> None:
    assert isinstance(parse(line, ("critic",)), intents.Misread)


def test_a_mistyped_command_is_guessed() -> None:
    intent = parse("/sesions")
    assert isinstance(intent, intents.Misread)
    assert "Did you mean /sessions?" in intent.why


# ---- what events add


def test_two_agents_write_at_once_in_their_lanes() -> None:
    view = fresh()
    other = play.event("message.delta", message="m2", turn=1, author=CRITIC, index=0, text="no")
    assert talk(view, play.turn(2), play.delta(0, "yes"), play.turn(3, 1, "critic"), other, play.delta(1, "!")) == []
    assert [(lane.display_name, lane.text) for lane in view.lanes.values()] == [("Writer", "yes!"), ("Critic", "no")]
    assert view.busy
    assert talk(view, play.completed(4, "yes!")) == [AgentSaid("m1", "writer", "Writer", "yes!", "", "")]
    assert list(view.lanes) == ["critic"]
    [end] = talk(view, play.finished(5))
    assert end == Notice("1 turn · 3 tokens · 0.0 s")
    assert not view.busy
    assert not view.lanes


def test_a_snapshot_replaces_what_was_there() -> None:
    view = fresh()
    talk(view, play.turn(2), play.delta(0, "yes"), play.snapshot(5, "yesterday"))
    assert view.lanes["writer"].text == "yesterday"


def test_a_superseded_turn_is_told_and_its_lane_goes() -> None:
    view = fresh()
    talk(view, play.turn(2), play.delta(0, "yes"))
    again = play.event("turn.superseded", 3, turn=0, attempt=2, messages=["m1"], reason="worker lost")
    [notice] = talk(view, again)
    assert isinstance(notice, Notice)
    assert "Writer" in notice.text
    assert not view.lanes


def test_a_tool_call_is_told_with_its_result() -> None:
    view = fresh()
    call = play.event("tool.called", 3, call="c1", agent="writer", name="clock", arguments={"zone": "UTC"}, turn=0)
    assert talk(view, play.turn(2), call) == []
    assert view.lanes["writer"].doing == "calling clock"
    back = play.event("tool.returned", 4, call="c1", name="clock", result="noon", is_error=False)
    assert talk(view, back) == [ToolUsed("writer", "Writer", "clock", {"zone": "UTC"}, "noon", False)]
    unknown = play.event("tool.returned", 5, call="c0", name="old", result="x", is_error=True)
    assert talk(view, unknown) == [ToolUsed("", "", "old", {}, "x", True)]


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (play.finished(5, "cancelled"), "stopped"),
        (play.finished(5, "failed", error={"code": "internal", "message": "the model is away"}), "the model is away"),
        (play.event("member.added", 2, user="u2", name="bea", role="viewer"), "bea joined as viewer"),
        (play.event("member.updated", 2, user="u2", name="bea", role="editor"), "bea is editor now"),
        (play.event("member.removed", 2, user="u2", name="bea", role="viewer"), "bea is no longer"),
        (
            play.event("agent.handoff", 2, to="critic", reason="done", **{"from": "writer"}),
            "Writer hands over to Critic: done",
        ),
        (play.event("message.steered", 2, message="m", outcome="follow_up"), "answered next"),
        (play.event("message.steered", 2, message="m", outcome="consumed", turn=1), "heard it at turn 2"),
        (play.event("message.redacted", 2, message="m", by={"id": "u2", "name": "bea"}), "bea removed"),
        (play.event("budget.reached", 2, scope="run", quantity="tokens", limit=100, used=101), "101 of 100 tokens"),
        (
            play.event("input.resolved", 2, request="r", decision="approve", text=None, by={"id": "u", "name": "bea"}),
            "bea approved",
        ),
    ],
)
def test_what_happens_is_told_in_a_line(frame: dict[str, Any], text: str) -> None:
    [notice] = talk(fresh(), frame)
    assert isinstance(notice, Notice)
    assert text in notice.text


@pytest.mark.parametrize(
    "frame",
    [
        play.event("member.added", 2, user="u1", name="anna", role="owner"),
        play.event("run.started", 2, team="duo", attempt=1, node="n"),
        play.event("run.started", 2, team="duo", attempt=2, node="n"),
        play.event("presence.changed", user="u2", name="bea", status="active", connections=1),
        play.event("agent.status", agent="critic", status="thinking"),
    ],
)
def test_what_is_shown_elsewhere_adds_no_line(frame: dict[str, Any]) -> None:
    assert talk(fresh(), frame) == []


def asks(request: str, kind: str = "approval", seq: int = 4, **data: Any) -> dict[str, Any]:
    prompt = "May I?" if kind == "approval" else "How many?"
    more = {"agent": "writer", "prompt": prompt, "expires_at": "2026-01-01T10:30:00Z"}
    return play.event("input.requested", seq, request=request, kind=kind, **{**more, **data})


def answers(request: str, decision: str | None, text: str | None = None) -> dict[str, Any]:
    by = {"id": "u2", "name": "bea"}
    return play.event("input.resolved", 9, request=request, decision=decision, text=text, by=by)


def test_what_is_asked_is_open_until_it_is_answered_or_the_run_ends() -> None:
    view = fresh()
    [first] = talk(view, play.turn(2), asks("r1", call="c1", tool="transfer", arguments={"to": "bea"}))
    assert isinstance(first, Asked)
    assert (first.number, first.tool, first.arguments) == (1, "transfer", {"to": "bea"})
    [second] = talk(view, asks("r2", "question"))
    assert list(view.requests.values()) == [first, second]
    assert talk(view, answers("r1", "reject", "too much")) == [Notice("bea rejected #1: too much")]
    assert list(view.requests) == ["r2"]
    late = {"id": "hub", "name": "hub"}
    late_answer = play.event("input.resolved", 9, request="r1", decision="reject", text=None, by=late)
    assert talk(view, late_answer) == [Notice("nobody answered in time", Tone.WARNING)]
    talk(view, play.finished(9, "cancelled"))
    assert not view.requests


def test_a_cut_is_told_once_however_much_it_cuts() -> None:
    view, by = fresh(), {"id": "u2", "name": "bea"}

    def cut(seq: int, reason: str) -> list[Entry]:
        return talk(view, play.event("message.redacted", seq, message=f"m{seq}", by=by, reason=reason))

    [edited] = cut(4, "edited") + cut(5, "edited")
    [again] = cut(9, "regenerated") + cut(10, "regenerated")
    assert isinstance(edited, Notice)
    assert isinstance(again, Notice)
    assert "bea goes back" in edited.text
    assert "bea wants another answer" in again.text


def test_a_pause_is_known_until_it_ends() -> None:
    view = fresh()
    paused = {**session_data("s1", "The title").model_dump(), "status": "paused"}
    talk(view, play.turn(2), play.event("session.updated", 3, **paused))
    face = ChatFace("here:1", Palette(), view)
    assert "paused: /resume" in fragment_list_to_text(face.above(80, 10))
    talk(view, play.event("session.updated", 4, **{**paused, "status": "running"}))
    assert "paused" not in fragment_list_to_text(face.above(80, 10))


def test_what_waits_for_an_answer_is_shown_with_how_to_give_it() -> None:
    view = fresh()
    [approval] = talk(view, asks("r1", arguments={"to": "bea"}))
    face = ChatFace("here:1", Palette(), view)
    assert "Writer waits for you: /approve or /reject" in fragment_list_to_text(face.above(80, 10))
    [question] = talk(view, asks("r2", "question"))
    assert "(and 1 more)" in fragment_list_to_text(face.above(80, 10))
    drawn = ansi([approval, question], Palette(), 80)
    assert "May I?" in drawn
    assert "/approve 1 or /reject 1" in drawn
    assert "/answer 2 TEXT" in drawn


def test_one_knows_what_one_said_last_and_what_was_answered() -> None:
    view = fresh()
    talk(view, said("anna", "hi"), said("bea", "ho", user="u2"), play.completed(4, "yes"))
    assert (view.said, view.answered) == (("q", "hi"), "m1")


def test_who_speaks_is_told_apart() -> None:
    assert talk(fresh(), said("anna", "hi"), said("bea", "ho", user="u2", to="critic")) == [
        UserSaid("anna", "hi", own=True, to=None),
        UserSaid("bea", "ho", own=False, to="critic"),
    ]


def test_title_status_and_reasoning_are_followed() -> None:
    view = fresh()
    session = session_data("s1", "The title")
    talk(view, play.event("session.updated", 2, **session.model_dump()))
    assert view.title == "The title"
    thought = play.event("reasoning.delta", message="m1", turn=0, author=play.AGENT, index=0, text="hm")
    talk(view, play.turn(3), thought, play.event("agent.status", agent="writer", status="calling"))
    assert (view.lanes["writer"].reasoning, view.lanes["writer"].doing) == ("hm", "calling")


# ---- how it looks


def test_text_cannot_act_upon_the_terminal() -> None:
    assert safe("a\x1b[2Jb\x9b\x07c\rd\r\ne\t\u202ef") == "a\ufffd[2Jb\ufffd\ufffdc\ufffdd\ne\t\ufffdf"
    nasty = "\x1b]0;owned\x07"
    entries: list[Entry] = [
        UserSaid(nasty, nasty, own=False, to=nasty),
        AgentSaid("m", "writer", nasty, f"`{nasty}`", nasty, "failed here"),
        ToolUsed("writer", nasty, nasty, {"a": nasty}, nasty, True),
        Asked(1, "r", "approval", "writer", nasty, nasty, nasty, {nasty: nasty}, nasty),
        Notice(nasty, Tone.ERROR),
    ]
    view = fresh()
    talk(view, play.turn(2), play.delta(0, nasty))
    drawn = ansi(entries, Palette(), 80) + fragment_list_to_text(lanes(list(view.lanes.values()), Palette(), 80, 10, 0))
    assert "\x1b]" not in drawn + table([(nasty, nasty)], "List", 80)
    assert "\x07" not in drawn


def test_markdown_is_drawn_and_narrow_terminals_hold_it() -> None:
    text = ansi(
        [AgentSaid("m", "writer", "Writer", "# Head\n\n* one\n* two\n\n```python\nx = 1\n```", "", "")], Palette(), 40
    )
    assert "Head" in text
    assert "•" in text
    assert "# Head" not in text


def test_long_tool_results_are_cut() -> None:
    text = ansi([ToolUsed("w", "W", "t", {}, "\n".join(map(str, range(30))), False)], Palette(), 80)
    assert "22 more lines" in text


def test_agents_have_different_colours_that_stay() -> None:
    palette = Palette()
    palette.reserve(["a", "b"])
    assert palette.of("a") != palette.of("b")
    assert palette.of("a") == palette.of("a")


def test_lanes_show_the_end_of_a_long_message_in_little_room() -> None:
    view = fresh()
    talk(view, play.turn(2), play.delta(0, "\n".join(f"line {n}" for n in range(100))))
    text = fragment_list_to_text(lanes(list(view.lanes.values()), Palette(), 80, 6, 0))
    assert "line 99" in text
    assert "line 94" not in text
    assert text.count("\n") == 6


def test_the_status_line_tells_the_truth_about_the_connection() -> None:
    face = ChatFace("here:1", Palette(), fresh(), team="duo")
    face.conversation.title = "A title"

    def below() -> str:
        return fragment_list_to_text(face.below(120))

    assert "connecting to here:1" in below()
    face.status = Status(State.ONLINE)
    assert "● here:1 · duo · A title" in below()
    assert below().endswith("/help")
    face.status = Status(State.WAITING, "broke", 3)
    assert "no connection to here:1" in below()
    face.status = Status(State.ENDED, "revoked")
    assert "revoked" in below()
    assert face.moving


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_the_status_line_fits_and_always_says_how_to_stop(width: int) -> None:
    face = ChatFace("here:1", Palette(), fresh(), team="scripted-autogen", status=Status(State.ONLINE))
    face.conversation.title = "A long title, longer than there is room for"
    face.conversation.runs["r"] = None
    text = fragment_list_to_text(face.below(width))
    assert len(text) <= width
    assert width < 40 or text.endswith("Ctrl-C stops")
    assert width < 80 or "A long title" in text


def test_hints_complete_commands_and_agents() -> None:
    face = ChatFace("here:1", Palette(), fresh())
    assert [name for name, _ in face.hints("/s")] == ["/steer", "/stop", "/sessions", "/search"]
    assert face.hints("@c") == [("@critic", "Critic")]
    assert face.hints("/new duo") == face.hints("hello") == face.hints("//x") == []


def test_what_waits_is_shown_above_the_input() -> None:
    face = ChatFace("here:1", Palette(), fresh())
    face.sending.append("hello\nyou")
    assert "› hello  sending" in fragment_list_to_text(face.above(80, 10))
    face.conversation.runs["r"] = None
    assert "waiting for the agents" in fragment_list_to_text(face.above(80, 10))


# ---- plain text


def plain(*frames: dict[str, Any], for_terminal: bool = False) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    view = PlainView(fresh(), out, err, for_terminal=for_terminal)
    for frame in frames:
        view.apply(parsed(frame))
    return out.getvalue(), err.getvalue()


def critic(kind: str, seq: int | None = None, **data: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    more: dict[str, Any] = {"usage": usage, "status": "complete"} if seq is not None else {}
    return play.event(kind, seq, message="m2", turn=1, author=CRITIC, **more, **data)


def test_plain_text_streams_and_ends_with_exactly_the_message() -> None:
    out, err = plain(play.turn(2), play.delta(0, "one "), play.delta(1, "two "), play.completed(3, "one two "))
    assert out == "Writer: one two \n"
    assert err == ""


def test_in_plain_text_one_has_the_floor_and_the_others_follow() -> None:
    out, _ = plain(
        play.delta(0, "a"),
        critic("message.delta", index=0, text="x"),
        play.delta(1, "b"),
        critic("message.completed", 3, text="xy"),
        play.delta(2, "c"),
        play.completed(4, "abcd"),
    )
    assert out == "Writer: abcd\n\nCritic: xy\n"


def test_in_plain_text_a_message_that_is_not_what_streamed_is_written_anew() -> None:
    out, err = plain(play.delta(0, "abc"), play.completed(3, "other", status="interrupted"))
    assert out == "Writer: abc\n\nWriter: other\n"
    assert err == "[Writer stopped here]\n"


def test_in_plain_text_a_void_turn_ends_its_line() -> None:
    void = play.event("turn.superseded", 3, turn=0, attempt=2, messages=["m1"], reason="worker lost")
    out, err = plain(play.turn(2), play.delta(0, "abc"), void, play.completed(4, "again", message="m3"))
    assert out == "Writer: abc\n\nWriter: again\n"
    assert "void" in err


def test_plain_text_is_exact_in_a_file_and_harmless_on_a_terminal() -> None:
    frames = [play.delta(0, "a\x1b[2J"), play.completed(3, "a\x1b[2J")]
    assert plain(*frames)[0] == "Writer: a\x1b[2J\n"
    assert plain(*frames, for_terminal=True)[0] == "Writer: a\ufffd[2J\n"


def test_plain_text_notes_tools_and_failures_beside_the_answers() -> None:
    call = play.event("tool.called", 3, call="c1", agent="writer", name="clock", arguments={}, turn=0)
    back = play.event("tool.returned", 4, call="c1", name="clock", result="noon", is_error=False)
    out, err = plain(call, back, play.finished(5, "failed", error={"code": "internal", "message": "away"}))
    assert out == ""
    assert err == "[Writer used clock: noon]\n[failed: away]\n"


# ---- what is chosen and kept


def session_data(session: str, title: str) -> SessionData:
    return SessionData(
        id=session,
        title=title,
        team="duo",
        role="owner",
        status="idle",
        last_seq=1,
        on_busy="queue",
        created_at="",
        updated_at="",
        metadata={},
    )


def test_a_session_is_meant_by_number_id_or_title() -> None:
    some = [session_data("aa-1", "Plans"), session_data("ab-2", "More plans"), session_data("b-3", "Trip")]
    assert choose_session(some, "3").id == "b-3"
    assert choose_session(some, "ab").id == "ab-2"
    assert choose_session(some, "trip").id == "b-3"
    untitled = session_data("c-4", "").model_copy(update={"preview": "How far\nis  the moon?"})
    assert choose_session([*some, untitled], "the moon").id == "c-4"
    assert [called(one) for one in (untitled, some[0], session_data("d-5", ""))] == [
        "How far is the moon?",
        "Plans",
        "(no title)",
    ]
    for which, code in (("plans", "conflict"), ("a", "conflict"), ("9", "not_found"), ("zzz", "not_found")):
        with pytest.raises(RequestFailed) as failure:
            choose_session(some, which)
        assert failure.value.code == code


def test_the_usual_team_unless_another_is_asked_for() -> None:
    teams = [TeamResult(name=name, description="", model="m", agents=[]) for name in ("startup", "duo")]
    assert choose_team(teams, None).name == "duo"
    assert choose_team(teams[:1], None).name == "startup"
    assert choose_team(teams, "startup").name == "startup"
    for some, wanted in ((teams, "nope"), ([], None)):
        with pytest.raises(RequestFailed):
            choose_team(some, wanted)


def places(folder: Path) -> Places:
    return Places(folder / "config", folder / "state")


def test_the_last_session_of_each_hub_is_kept(tmp_path: Path) -> None:
    last = LastSessions(places(tmp_path))
    assert last.get(UP) is None
    last.put(UP, "s1")
    last.put("http://other", "s2")
    assert LastSessions(places(tmp_path)).get(UP) == "s1"


async def test_a_sign_in_is_kept_privately_and_can_be_dropped(tmp_path: Path) -> None:
    sign_ins = SignIns(places(tmp_path))
    await sign_ins.put(UP, "anna", Tokens("access", "refresh", 900))
    kept = SignIns(places(tmp_path)).get(UP)
    assert kept is not None
    assert (kept.name, kept.tokens.refresh_token) == ("anna", "refresh")
    assert places(tmp_path).sign_ins.stat().st_mode & 0o077 == 0
    await sign_ins.forget(UP)
    assert sign_ins.get(UP) is None
    places(tmp_path).sign_ins.write_text("nonsense")
    assert sign_ins.get(UP) is None


class CountingRest(Rest):
    """A hub whose refresh tokens are good once."""

    def __init__(self) -> None:
        super().__init__(UP)
        self.good = 1

    async def me(self) -> Person:
        assert self._bearer is not None
        if await self._bearer() != f"a{self.good}":
            raise NotSignedIn("no such token")
        return Person(id="u1", name="anna")

    async def sign_in(self, name: str, password: str) -> Tokens:
        return Tokens(f"a{self.good}", f"r{self.good}", 900)

    async def refresh(self, refresh_token: str) -> Tokens:
        await asyncio.sleep(0)
        if refresh_token != f"r{self.good}":
            raise NotSignedIn("used twice")
        self.good += 1
        return Tokens(f"a{self.good}", f"r{self.good}", 900)


async def test_two_chats_never_use_a_refresh_token_twice(tmp_path: Path) -> None:
    first, second = SignIns(places(tmp_path)), SignIns(places(tmp_path))
    old = Tokens("a1", "r1", 900)
    await first.put(UP, "anna", old)
    async with CountingRest() as rest:
        one, two = await asyncio.gather(first.rotate(UP, rest, old), second.rotate(UP, rest, old))
        assert one.access_token == two.access_token == "a2"
        assert (await first.rotate(UP, rest, one)).access_token == "a3"
        await first.forget(UP)
        with pytest.raises(NotSignedIn):
            await second.rotate(UP, rest, two)


async def test_one_client_renews_once_for_all_who_ask() -> None:
    async with CountingRest() as rest:
        sign_in = SignIn(rest, tokens=Tokens("a1", "r1", 0))
        assert set(await asyncio.gather(*(sign_in.token() for _ in range(5)))) == {"a2"}
        assert await sign_in.renew() == "a3"
        rest.good = 99
        with pytest.raises(NotSignedIn):
            await sign_in.renew()


async def test_who_one_is_without_anybody_to_ask(tmp_path: Path) -> None:
    sign_ins = SignIns(places(tmp_path))
    async with CountingRest() as rest:
        assert isinstance(await identify(Options(api_key="k"), UP, rest, sign_ins, None), FixedToken)
        assert isinstance(await identify(Options(name="a", password="b"), UP, rest, sign_ins, None), SignIn)
        with pytest.raises(NotSignedIn, match="not signed in"):
            await identify(Options(), UP, rest, sign_ins, None)
        await sign_ins.put(UP, "anna", Tokens("a1", "r1", 900))
        kept = await identify(Options(), UP, rest, sign_ins, None)
        assert await kept.token() == "a1"
        with pytest.raises(NotSignedIn):
            await identify(Options(name="bea"), UP, rest, sign_ins, None)
        await sign_ins.put(UP, "anna", Tokens("old", "r1", 900))
        assert await (await identify(Options(), UP, rest, sign_ins, None)).token() == "a2"


async def test_a_kept_sign_in_that_the_hub_does_not_know_is_dropped_and_asked_for(tmp_path: Path) -> None:
    sign_ins = SignIns(places(tmp_path))
    await sign_ins.put(UP, "ghost", Tokens("a0", "r0", 900))
    answers = iter(["anna", "secret"])
    asked: list[tuple[str, bool]] = []

    async def ask(question: str, secret: bool) -> str:
        asked.append((question, secret))
        return next(answers)

    async with CountingRest() as rest:
        credential = await identify(Options(), UP, rest, sign_ins, ask)
        assert await credential.token() == "a1"
    assert [secret for _, secret in asked] == [False, True]
    kept = sign_ins.get(UP)
    assert kept is not None
    assert kept.name == "anna"
