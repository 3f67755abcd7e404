"""The terminal chat on a real hub, through a terminal that the test types into, and without one."""

import asyncio
import contextlib
import io
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from hub.protocol.events import MessageCreated
from hub_client import HubClientError, NotSignedIn, connect
from hub_client.chat.errands import token_of
from hub_client.chat.main import FAILED, NOT_POSSIBLE, OK, chat
from hub_client.chat.once import MAX_LINE, Streams
from hub_client.chat.options import Options
from hub_client.chat.places import Places
from tests.conftest import settings_for
from tests.driver import PASSWORD, Door
from tests.e2e.restartable import restartable
from tests.e2e.test_client import registered

DEADLINE_S = 60.0
_FORWARD = re.compile(r"\x1b\[(\d*)C")
_PADDING = re.compile(r" +(?=\n)")
_STYLING = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-B0-9]|\r")


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


class Terminal:
    """What was typed into and drawn upon."""

    def __init__(self, keyboard: PipeInput, drawn: io.StringIO, said: io.StringIO) -> None:
        self._keyboard = keyboard
        self._drawn = drawn
        self.said = said
        self.seen = 0

    def press(self, keys: str) -> None:
        self._keyboard.send_text(keys)

    def enter(self, line: str) -> None:
        self.press(line + "\r")

    async def shows(self, pattern: str) -> str:
        """Wait until something new on the screen matches; what matched."""
        found: list[str] = []

        def there() -> bool:
            match = re.search(pattern, self._text[self.seen :])
            if match is None:
                return False
            self.seen += match.end()
            found.append(match.group(0))
            return True

        await until(there, lambda: f"{pattern!r} on the screen; its end is:\n{self._text[-1500:]}")
        return found[0]

    @property
    def _text(self) -> str:
        moved = _FORWARD.sub(lambda match: " " * int(match.group(1) or 1), self._drawn.getvalue())
        return _PADDING.sub("", _STYLING.sub("", moved))


async def until(there: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not there():
        assert asyncio.get_running_loop().time() < deadline, f"waited {DEADLINE_S} s for {what()}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def at_terminal(options: Options, places: Places) -> AsyncIterator[tuple[Terminal, Awaitable[int]]]:
    """A chat in a terminal of 100 × 30; leaves it at the end if it has not ended."""
    drawn, said = Tty(), Tty()
    output = Vt100_Output(drawn, lambda: Size(rows=30, columns=100), term="xterm-256color", enable_cpr=False)
    with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=output):
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(chat(options, places, Streams(Tty(), Tty(), said)))
            yield Terminal(keyboard, drawn, said), running
            running.cancel()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "config", tmp_path / "state")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(url: str, name: str, **more: object) -> Options:
    return Options(url=url, name=name, password=PASSWORD, **{"team": "scripted", **more})  # type: ignore[arg-type]


async def test_two_agents_answer_on_the_screen(hub: Door, places: Places) -> None:
    async with at_terminal(options(hub.url, await registered(hub.url, "ada")), places) as (terminal, ended):
        await terminal.shows("ada with scripted: Alpha, Beta")
        terminal.enter("/script turns=2 tokens=5 rate=20")
        await terminal.shows("› /script turns=2 tokens=5 rate=20")
        await terminal.shows(r"t0\.0")  # not the status: over "thinking" only the letters that differ are drawn
        await terminal.shows(r"● Alpha\n")
        await terminal.shows(r"t0\.0 t0\.1 t0\.2 t0\.3 t0\.4")
        await terminal.shows(r"● Beta\n")
        await terminal.shows(r"t1\.4")
        await terminal.shows(r"2 turns · [\d,]+ tokens")
        terminal.press("\x04")
        assert await ended == OK


async def test_ctrl_c_stops_the_agents_and_twice_leaves(hub: Door, places: Places) -> None:
    async with at_terminal(options(hub.url, await registered(hub.url)), places) as (terminal, ended):
        await terminal.shows("with scripted")
        terminal.enter("/script turns=1 tokens=500 rate=10")
        await terminal.shows(r"t0\.0")  # not the status: over "thinking" only the letters that differ are drawn
        terminal.press("\x03")
        await terminal.shows("● Alpha  stopped here")
        await terminal.shows("stopped\n")
        terminal.press("draft\x03")  # with the agents at rest it clears the line
        terminal.press("\x03")
        terminal.press("\x03")
        assert await ended == OK


async def test_a_second_ctrl_c_leaves_although_the_agents_go_on(hub: Door, places: Places) -> None:
    async with at_terminal(options(hub.url, await registered(hub.url)), places) as (terminal, ended):
        await terminal.shows("with scripted")
        terminal.press("\x03")
        await terminal.shows("Ctrl-C again leaves")
        terminal.press("\x03")
        assert await ended == OK


async def test_the_commands(hub: Door, places: Places, here: Path) -> None:
    await registered(hub.url, "bea")
    async with at_terminal(options(hub.url, await registered(hub.url, "ada")), places) as (terminal, ended):
        await terminal.shows("with scripted")
        terminal.enter("/help")
        await terminal.shows(r"/open \[which\]")
        await terminal.shows("Alt-Enter")
        terminal.enter("/title My plans")
        terminal.enter("/teams")
        await terminal.shows("scripted-autogen")
        terminal.enter("/invite bea viewer")
        await terminal.shows("bea joined as viewer")
        terminal.enter("/agents")
        await terminal.shows("@alpha")
        await terminal.shows(r"ada \(you\)")
        terminal.enter("hello there")
        await terminal.shows("● Beta")
        await terminal.shows("hello there")
        await terminal.shows("2 turns")
        terminal.enter("/export plans.jsonl")
        await terminal.shows("saved as plans.jsonl")
        assert json.loads((here / "plans.jsonl").read_text().splitlines()[0])["text"] == "hello there"
        (here / "note.md").write_text("# A note")
        terminal.enter("/attach note.md")
        await terminal.shows(r"\[note\.md, text/markdown, 8 bytes\]")
        terminal.enter("/attach no/such/file")
        await terminal.shows("cannot read no/such/file")
        terminal.enter("/export no/such/folder.md")
        await terminal.shows("cannot write no/such/folder.md")
        terminal.enter("/new scripted-autogen Second one")
        await terminal.shows("with scripted-autogen")
        terminal.enter("/sessions")
        await terminal.shows("Second one · scripted-autogen · idle · .* · you are here")
        await terminal.shows("My plans · scripted")
        terminal.enter("/open my pl")
        await terminal.shows("with scripted:")
        await terminal.shows("› hello there")
        terminal.enter("/new no-such-team")
        await terminal.shows("there is no team 'no-such-team'")
        terminal.enter("/stop")
        await terminal.shows(r"\(not_found\)|\(conflict\)|nothing|no run")
        terminal.enter("/nonsense")
        await terminal.shows("There is no /nonsense")
        terminal.enter("/exit")
        assert await ended == OK


async def test_what_agents_ask_is_answered(hub: Door, places: Places) -> None:
    name = await registered(hub.url, "ada")
    async with at_terminal(options(hub.url, name, team="scripted-tools"), places) as (terminal, _):
        await terminal.shows("with scripted-tools")
        terminal.enter("/approve")
        await terminal.shows("nobody asks for anything")
        terminal.enter("/script turns=1 tokens=3 tool=transfer key=bea")
        await terminal.shows("Alpha needs your approval  #1, until")
        await terminal.shows("transfer\n")
        await terminal.shows("/approve 1 or /reject 1")
        terminal.enter("/aprove")
        await terminal.shows("Did you mean /approve")
        terminal.enter("/approve 7")
        await terminal.shows("which one\\? There are #1")
        terminal.enter("/approve fine with me")
        await terminal.shows("ada approved #1: fine with me")
        await terminal.shows("transferred bea")
        await terminal.shows("1 turn ·")
        terminal.enter("/script turns=1 tokens=3 tool=transfer key=bob")
        await terminal.shows("/approve 2 or /reject 2")
        terminal.enter("/reject 2 too much")
        await terminal.shows("ada rejected #2: too much")
        await terminal.shows("1 turn ·")


async def test_one_says_it_differently_and_asks_again(hub: Door, places: Places) -> None:
    async with at_terminal(options(hub.url, await registered(hub.url, "ada")), places) as (terminal, _):
        await terminal.shows("with scripted")
        terminal.enter("/edit")
        await terminal.shows("you have not said anything here")
        terminal.enter("a typo")
        await terminal.shows("2 turns ·")
        terminal.enter("/edit")
        await terminal.shows("/edit a typo")
        terminal.press("\x17no typo\r")  # Ctrl-W takes the last word away
        await terminal.shows("ada goes back and says it differently")
        await terminal.shows("› a no typo")
        await terminal.shows("2 turns ·")
        terminal.enter("/retry")
        await terminal.shows("ada wants another answer")
        await terminal.shows("● Beta\n  a no typo")
        await terminal.shows("2 turns ·")


async def test_a_fork_goes_on_from_what_was_said(hub: Door, places: Places) -> None:
    async with at_terminal(options(hub.url, await registered(hub.url)), places) as (terminal, _):
        first = (await terminal.shows(r"chat -s [0-9a-f-]{36}")).split()[-1]
        terminal.enter("/fork here")
        await terminal.shows("/fork takes the number of an event")
        terminal.enter("a beginning")
        await terminal.shows("2 turns ·")
        terminal.enter("/fork")
        second = (await terminal.shows(r"chat -s [0-9a-f-]{36}")).split()[-1]
        assert second != first
        await terminal.shows("› a beginning")
        await terminal.shows("● Beta")
        terminal.enter("/title The fork")
        terminal.enter("/search beginning")
        await terminal.shows(r"1 +The fork · event \d+ · Beta: a beginning")
        terminal.enter("/search nowhere")
        await terminal.shows("nobody said 'nowhere'")
        terminal.enter("/search beginning")
        await terminal.shows("6 +a beginning · event 3")
        terminal.enter("/open 6")
        await terminal.shows(f"chat -s {first}")


async def test_agents_at_work_are_paused_and_steered(hub: Door, places: Places) -> None:
    async with at_terminal(options(hub.url, await registered(hub.url)), places) as (terminal, _):
        await terminal.shows("with scripted")
        terminal.enter("/script turns=3 tokens=20 rate=10")
        await terminal.shows(r"t0\.0")
        terminal.enter("/pause")
        await terminal.shows("they pause after this turn")
        await terminal.shows("paused: /resume")
        terminal.enter("/steer shorter, please")
        await terminal.shows("› shorter, please")
        terminal.enter("/resume")
        await terminal.shows("the team has heard it at turn 2")
        await terminal.shows(r"● Beta\n")
        await terminal.shows(r"3 turns ·")


async def test_tab_completes_and_alt_enter_starts_a_new_line(hub: Door, places: Places) -> None:
    async with at_terminal(options(hub.url, await registered(hub.url)), places) as (terminal, _):
        await terminal.shows("with scripted")
        terminal.press("/he")
        await terminal.shows("/help")
        terminal.press("\t\r")
        await terminal.shows("Commands")
        terminal.press("one\x1b\rtwo\r")
        await terminal.shows("› one\ntwo")


async def test_a_chat_survives_a_restart_of_the_hub(dsn: str, redis_url: str, places: Places) -> None:
    async with (
        restartable(settings_for(dsn, redis_url, grace_s=1, lease_s=2)) as place,
        at_terminal(options(place.url, await registered(place.url)), places) as (terminal, ended),
    ):
        await terminal.shows("with scripted")
        terminal.enter("before")
        await terminal.shows("2 turns")
        await place.stop()
        await terminal.shows("no connection to")
        terminal.enter("meanwhile")
        await terminal.shows("meanwhile  sending")
        await place.start()
        await terminal.shows("› meanwhile")
        await terminal.shows("● Beta\n  meanwhile")
        await terminal.shows("2 turns")
        terminal.press("\x04")
        assert await ended == OK


async def test_others_are_seen_talking_and_typing(hub: Door, places: Places) -> None:
    await registered(hub.url, "bea")
    async with at_terminal(options(hub.url, await registered(hub.url, "ada")), places) as (terminal, _):
        session = (await terminal.shows(r"chat -s [0-9a-f-]{36}")).split()[-1]
        terminal.enter("/invite bea editor")
        await terminal.shows("bea joined")
        async with connect(hub.url, name="bea", password=PASSWORD) as bea:
            joined = await bea.join(session)
            await terminal.shows("with bea")
            await joined.set_presence("typing")
            await terminal.shows("typing")
            await joined.send("hello from bea")
            await terminal.shows("bea › hello from bea")


async def test_links_let_people_in(hub: Door, places: Places) -> None:
    await registered(hub.url, "bea")
    async with (
        at_terminal(options(hub.url, await registered(hub.url, "ada")), places) as (terminal, _),
        connect(hub.url, name="bea", password=PASSWORD) as bea,
    ):
        session = (await terminal.shows(r"chat -s [0-9a-f-]{36}")).split()[-1]
        terminal.enter("/link approver 2")
        await terminal.shows("lets 2 people in as approver until ")
        async with connect(hub.url, name="ada", password=PASSWORD) as ada:
            (made,) = await ada.rest.invites(session)
            assert (made.role, made.max_uses) == ("approver", 2)
            await ada.rest.revoke_invite(session, made.id)
            link = ada.rest.link((await ada.rest.invite(session, "viewer")).token)
        entered = await bea.rest.accept_invite(token_of(link))
        assert (entered.id, entered.role) == (session, "viewer")
        await terminal.shows("bea joined as viewer")
        theirs = await bea.create_session("scripted", title="Bea's place")
        token = (await bea.rest.invite(theirs.id, "viewer")).token
        terminal.enter(f"/join {bea.rest.link(token)}")
        await terminal.shows("Bea's place")
        assert [member.name for member in await bea.rest.members(theirs.id)] == ["bea", "ada"]
        terminal.enter("/join inv_unknown")
        await terminal.shows("no such invite")


async def test_one_signs_in_once_and_is_known_the_next_time(hub: Door, places: Places) -> None:
    async with at_terminal(Options(url=hub.url, team="scripted"), places) as (terminal, ended):
        await terminal.shows("Name at http")
        terminal.enter("cleo")
        await terminal.shows("Password of cleo")
        terminal.enter(PASSWORD)
        await terminal.shows("Make a new one")
        terminal.enter("y")
        session = (await terminal.shows(r"chat -s [0-9a-f-]{36}")).split()[-1]
        terminal.press("\x04")
        assert await ended == OK
    async with at_terminal(Options(url=hub.url, resume=True), places) as (terminal, ended):
        await terminal.shows(f"cleo with scripted.*\n.*{session}")
        terminal.press("\x04")
        assert await ended == OK


# ---- without a terminal


async def once(asked: Options, places: Places, given: str = "") -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    async with asyncio.timeout(DEADLINE_S):
        code = await chat(asked, places, Streams(io.StringIO(given), out, err))
    return code, out.getvalue(), err.getvalue()


async def test_one_message_prints_exactly_its_answers(hub: Door, places: Places) -> None:
    asked = options(hub.url, await registered(hub.url), message="/script turns=2 tokens=3")
    assert await once(asked, places) == (OK, "Alpha: t0.0 t0.1 t0.2 \n\nBeta: t1.0 t1.1 t1.2 \n", "")


async def test_the_standard_input_is_the_message_or_goes_with_it(hub: Door, places: Places) -> None:
    name = await registered(hub.url)
    assert (await once(options(hub.url, name), places, "from a pipe\n"))[1].startswith("Alpha: from a pipe")
    code, out, _ = await once(options(hub.url, name, message="Sum up:"), places, "the text\n")
    assert code == OK
    assert "Sum up:" in out
    assert "the text" in out
    with pytest.raises(ValueError, match="nothing to say"):
        await once(options(hub.url, name), places)


async def test_a_failed_run_is_a_failed_command(hub: Door, places: Places) -> None:
    asked = options(hub.url, await registered(hub.url), message="/script turns=1 tokens=5 fail_at=2")
    code, out, err = await once(asked, places)
    assert code == FAILED
    assert "failed" in err
    assert out.startswith("Alpha: ")


async def test_json_lines_are_the_log(hub: Door, places: Places) -> None:
    asked = options(hub.url, await registered(hub.url), message="/script turns=1 tokens=3", as_json=True)
    code, out, _ = await once(asked, places)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == OK
    assert [event["type"] for event in events][0 :: len(events) - 1] == ["message.created", "run.finished"]
    numbers = [event["seq"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert "message.completed" in {event["type"] for event in events}


async def test_line_by_line_in_one_session_that_can_be_taken_up(hub: Door, places: Places, tmp_path: Path) -> None:
    name = await registered(hub.url)
    script = tmp_path / "lines"
    script.write_text("one\n\ntwo\n/exit\nthree\n")
    out, err = io.StringIO(), io.StringIO()
    with script.open() as source:
        assert await chat(options(hub.url, name, plain=True), places, Streams(source, out, err)) == OK
    assert re.findall(r"^Alpha: (\w+)", out.getvalue(), re.MULTILINE) == ["one", "two"]
    assert (await once(options(hub.url, name, resume=True, message="/script history"), places))[0] == OK
    async with connect(hub.url, name=name, password=PASSWORD) as client:
        [only] = await client.rest.sessions()
        texts = [m.text for m in await client.rest.transcript(only.id) if m.author["kind"] == "user"]
        assert texts == ["one", "two", "/script history"]


@pytest.mark.parametrize(
    ("size", "why"), [(100_000, "at most 32000 characters"), (2 * MAX_LINE, "a line is longer than")]
)
async def test_a_line_that_is_too_long_is_told_as_that(hub: Door, places: Places, size: int, why: str) -> None:
    there, here = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(here, "w") as pipe:
            pipe.write("x" * size + "\n")

    asked = options(hub.url, await registered(hub.url), plain=True)
    with os.fdopen(there) as source:
        writing = asyncio.create_task(asyncio.to_thread(write))
        with pytest.raises((HubClientError, ValueError), match=why):
            await chat(asked, places, Streams(source, io.StringIO(), io.StringIO()))
    await writing


async def test_interrupted_it_stops_its_run(hub: Door, places: Places) -> None:
    name = await registered(hub.url)
    out = io.StringIO()
    asked = options(hub.url, name, message="/script turns=1 tokens=900 rate=10")
    running = asyncio.gather(chat(asked, places, Streams(io.StringIO(), out, io.StringIO())))
    await until(lambda: "t0.3" in out.getvalue(), lambda: out.getvalue())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with connect(hub.url, name=name, password=PASSWORD) as client:
        [only] = await client.rest.sessions()
        session = await client.join(only.id, after_seq=0)
        async with asyncio.timeout(DEADLINE_S):
            async for event in session.events():
                if event.type == "run.finished":
                    assert event.data.status == "cancelled"
                    break
                assert not isinstance(event, MessageCreated) or event.data.author.name == name


async def test_without_anybody_to_ask_it_says_what_to_do(hub: Door, places: Places) -> None:
    with pytest.raises(NotSignedIn, match="not signed in"):
        await once(Options(url=hub.url, message="hello"), places)
    assert NOT_POSSIBLE == 2
