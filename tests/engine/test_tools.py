"""Tools: whatever one does, there is an outcome."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import orjson
import pytest
from autogen_core import CancellationToken
from pydantic import BaseModel, Field

from hub.domain.errors import Unavailable
from hub.domain.ids import SessionId
from hub.engine.autogen.asking import Asking
from hub.engine.autogen.workbench import SafeWorkbench
from hub.engine.tools import Tool, ToolContext, ToolError, ToolKind, tool
from hub.engine.tools.builtin import Found, builtin_tools
from hub.engine.tools.host import Host
from hub.engine.tools.outcome import MAX_RESULT, MAX_SHOWN, ToolOutcome
from hub.engine.tools.registry import Tools, canonical
from tests.engine.driving import CONTEXT, Counts, builtin


@tool("safe")
async def odd(how: str = "") -> str:
    """Misbehaves."""
    match how:
        case "hang":
            await asyncio.Event().wait()
        case "unavailable":
            raise Unavailable("the database did not answer")
        case "told":
            raise ToolError("there is no such file")
        case "exit":
            raise SystemExit(3)
        case "cancelled":
            raise asyncio.CancelledError
        case "much":
            return "x" * (MAX_RESULT + 1)
        case _:
            raise RuntimeError("/secret/path and more")
    return ""


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def tools(counts: Counts) -> AsyncIterator[Tools]:
    made = Tools([*builtin(counts), odd], timeout_s=0.05)
    yield made
    await made.aclose()


def ok(text: str) -> ToolOutcome:
    return ToolOutcome(text, is_error=False)


def wrong(text: str) -> ToolOutcome:
    return ToolOutcome(text, is_error=True)


# ---- those of every hub


async def test_clock_tells_utc(tools: Tools) -> None:
    outcome = await tools.call("clock", {"key": "ignored"}, CONTEXT)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", outcome.text)
    assert not outcome.is_error


async def test_counter_counts(tools: Tools, counts: Counts) -> None:
    assert await tools.call("counter", {"key": "a"}, CONTEXT) == ok("1")
    assert await tools.call("counter", {"key": "a"}, CONTEXT) == ok("2")
    assert counts.values == {"a": 2}


async def test_a_transfer_tells_what_was_transferred(tools: Tools) -> None:
    assert await tools.call("transfer", {"key": "the house"}, CONTEXT) == ok("transferred the house")


async def test_what_to_ask_a_person_is_checked(tools: Tools) -> None:
    assert await tools.call("ask_person", {"question": "Now?"}, CONTEXT) == ok("Now?")
    assert (await tools.call("ask_person", {"question": ""}, CONTEXT)).is_error


async def test_the_transcript_is_searched_of_the_calls_own_session_only() -> None:
    asked: list[tuple[SessionId, str, int]] = []

    async def search(session: SessionId, query: str, limit: int) -> Sequence[Found]:
        asked.append((session, query, limit))
        return [Found("ada", "2026-01-01T00:00:00Z", "hello")]

    tools = Tools(builtin_tools(Counts().increment, search))
    outcome = await tools.call("search_transcript", {"query": "hello", "limit": 2}, CONTEXT)
    said = {"author": "ada", "said_at": "2026-01-01T00:00:00Z", "text": "hello"}
    assert orjson.loads(outcome.text) == {"messages": [said]}
    assert asked == [(CONTEXT.session, "hello", 2)]
    assert (await tools.call("search_transcript", {"query": "x", "session": "other"}, CONTEXT)).is_error
    assert len(asked) == 1


# ---- what goes wrong


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("counter", {}, "invalid arguments: key: Field required"),
        ("counter", {"key": [1]}, "invalid arguments: key: Input should be a valid string"),
        ("counter", {"key": "k", "dry_run": True}, "invalid arguments: dry_run: Extra inputs are not permitted"),
        ("nothing", {}, "there is no tool 'nothing'"),
        ("odd", {"how": "hang"}, "odd did not finish in 0.05 s"),
        ("odd", {"how": "unavailable"}, "the database did not answer"),
        ("odd", {"how": "told"}, "there is no such file"),
        ("odd", {"how": "exit"}, "odd failed: SystemExit"),
        ("odd", {"how": "cancelled"}, "odd failed: it was cancelled"),
        ("odd", {}, "odd failed: RuntimeError"),
    ],
)
async def test_what_goes_wrong_is_an_error_that_names_no_internals(
    tools: Tools, name: str, arguments: Mapping[str, object], text: str
) -> None:
    assert await tools.call(name, arguments, CONTEXT) == wrong(text)


async def test_calls_are_counted_by_what_came_of_them(tools: Tools) -> None:
    for how in ("hang", "told", "told"):
        await tools.call("odd", {"how": how}, CONTEXT)
    await tools.call("clock", {}, CONTEXT)
    await tools.call("nothing", {}, CONTEXT)
    assert tools.host.counts == {("odd", "timeout"): 1, ("odd", "error"): 2, ("clock", "ok"): 1}
    assert tools.host.times.buckets()[-1] == ("+Inf", 4)
    assert tools.host.active == 0


async def test_a_huge_result_is_cut(tools: Tools) -> None:
    outcome = await tools.call("odd", {"how": "much"}, CONTEXT)
    assert len(outcome.text) == MAX_RESULT
    assert outcome.shown.startswith("x" * MAX_SHOWN + "\n… (only the first 32,000 of 1,000,000")
    assert len(outcome.shown) < MAX_SHOWN + 100


async def test_a_tool_that_shrugs_off_its_end_is_left_behind() -> None:
    ending = asyncio.Event()

    @tool("safe")
    async def stubborn() -> None:
        while not ending.is_set():
            try:
                await ending.wait()
            except asyncio.CancelledError:
                continue

    tools = Tools([stubborn], timeout_s=0.05)
    began = time.monotonic()
    assert (await tools.call("stubborn", {}, CONTEXT)).text == "stubborn did not finish in 0.05 s"
    assert time.monotonic() - began < 15
    assert tools.host.active == 1
    caller = asyncio.create_task(tools.call("stubborn", {}, CONTEXT))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(30):
            await caller
    ending.set()
    async with asyncio.timeout(30):
        while tools.host.active:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)


async def test_who_gives_up_while_a_call_is_ended_is_given_up_on() -> None:
    """A cancellation is never swallowed, also not by the wait for a tool that does not end."""
    ending = asyncio.Event()

    @tool("safe")
    async def stubborn() -> None:
        while not ending.is_set():
            try:
                await ending.wait()
            except asyncio.CancelledError:
                continue

    tools = Tools([stubborn], timeout_s=0.01)
    caller = asyncio.create_task(tools.call("stubborn", {}, CONTEXT))
    async with asyncio.timeout(30):
        while not tools.host.counts:  # noqa: ASYNC110 - it has run out of time, and is being ended
            await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    ending.set()
    async with asyncio.timeout(30):
        while tools.host.active:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)


# ---- who may


async def test_who_may_use_a_tool(tools: Tools) -> None:
    tools.put(replace(next(t for t in tools if t.name == "counter"), teams=frozenset({"bank"})))
    tools.put(replace(next(t for t in tools if t.name == "transfer"), users=frozenset({"ada"})))
    assert await tools.call("counter", {"key": "k"}, CONTEXT) == wrong("counter is not for this team")
    assert await tools.call("counter", {"key": "k"}, replace(CONTEXT, team="bank")) == ok("1")
    assert await tools.call("transfer", {"key": "k"}, CONTEXT) == wrong("transfer is not for bob")
    assert await tools.call("transfer", {"key": "k"}, replace(CONTEXT, user="ada")) == ok("transferred k")


def test_only_knows_its_own() -> None:
    tools = Tools(builtin())
    assert [tool.name for tool in tools.only(["clock"])] == ["clock"]
    with pytest.raises(KeyError):
        tools.only(["hammer"])


# ---- functions


class Address(BaseModel):
    city: str
    country: Literal["de", "fr"] = "de"


@tool("approval", timeout_s=3, users=["ada"])
def send(
    to: Address, amount: Annotated[float, Field(gt=0)], context: ToolContext, note: str | None = None
) -> dict[str, object]:
    """Sends money
    to somebody.

    Args:
        to: Where it goes,
            in full.
        amount (float): In euros.

    Returns:
        What was sent.
    """
    return {"city": to.city, "amount": amount, "note": note, "session": context.session}


def test_a_functions_schema_is_that_of_its_types_and_its_words_those_of_its_docstring() -> None:
    assert (send.name, send.description, send.kind) == ("send", "Sends money to somebody.", ToolKind.APPROVAL)
    assert (send.timeout_s, send.users, send.teams) == (3, frozenset({"ada"}), None)
    parameters: Any = send.parameters
    assert parameters["required"] == ["to", "amount"]
    assert parameters["properties"].keys() == {"to", "amount", "note"}
    assert parameters["properties"]["to"]["description"] == "Where it goes, in full."
    assert parameters["properties"]["amount"] == {
        "description": "In euros.",
        "exclusiveMinimum": 0,
        "title": "Amount",
        "type": "number",
    }
    assert parameters["$defs"]["Address"]["properties"]["country"]["enum"] == ["de", "fr"]


async def test_a_function_gets_what_its_types_say_and_gives_json() -> None:
    tools = Tools([send])
    outcome = await tools.call("send", {"to": {"city": "Köln"}, "amount": 2}, replace(CONTEXT, user="ada"))
    assert orjson.loads(outcome.text) == {"city": "Köln", "amount": 2.0, "note": None, "session": "session"}
    await tools.aclose()


async def test_what_a_function_gives_is_a_text() -> None:
    def nothing() -> None: ...

    async def texts() -> list[str]:
        return ["ü"]

    def model() -> Address:
        return Address(city="x")

    tools = Tools([tool("safe")(f) for f in (nothing, texts, model)])
    assert [(await tools.call(name, {}, CONTEXT)).text for name in ("nothing", "texts", "model")] == [
        "done",
        '["ü"]',
        '{"city":"x","country":"de"}',
    ]
    await tools.aclose()


def test_what_cannot_be_a_tool_is_said_where_it_is_made() -> None:
    def untyped(a) -> str:  # type: ignore[no-untyped-def]
        return str(a)

    def starred(*a: int) -> str:
        return ""

    with pytest.raises(TypeError, match="untyped: the parameter a has no type"):
        tool()(untyped)
    with pytest.raises(TypeError, match=r"starred: .*cannot be an argument"):
        tool()(starred)
    with pytest.raises(ValueError, match="no name for a tool"):
        tool(name="no name")(starred)
    with pytest.raises(ValueError, match="send_on has no argument amout"):

        @tool(approve_if="amout > 100")
        def send_on(amount: int) -> None: ...

    with pytest.raises(ValueError, match="starred: approval takes 1 to 20 people, not 0"):
        tool("approval", approvers=0, name="starred")(lambda: "")


# ---- functions that block


@pytest.fixture
def held() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def _blocking(held: threading.Event, begun: list[str]) -> Tool:
    @tool("safe", timeout_s=0.1)
    def block(key: str, context: ToolContext) -> str:
        """Blocks until it is let go."""
        begun.append(key)
        while not held.wait(0.005):
            if key == "polite" and context.stopped:
                begun.append("stopped")
                break
        return threading.current_thread().name

    return block


async def test_functions_that_block_keep_neither_the_loop_nor_their_callers(held: threading.Event) -> None:
    begun: list[str] = []
    tools = Tools([_blocking(held, begun)], host=Host(threads=2))
    loop, beats = asyncio.get_running_loop(), list[float]()
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(tools.call("block", {"key": str(n)}, CONTEXT)) for n in range(3)]
        while not all(call.done() for call in calls):
            beats.append(loop.time())
            await asyncio.sleep(0.01)
    assert {call.result().text for call in calls} == {"block did not finish in 0.1 s"}
    assert len(beats) > 1
    assert sorted(begun) == ["0", "1"]  # the third found no thread, and is not begun any more
    assert tools.host.active == 2
    held.set()
    async with asyncio.timeout(30):
        while tools.host.active:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.005)
    assert (await tools.call("block", {"key": "4"}, CONTEXT)).text.startswith("tool_")
    assert sorted(begun) == ["0", "1", "4"]
    await tools.aclose()


async def test_a_function_in_a_thread_hears_that_nobody_waits(held: threading.Event) -> None:
    begun: list[str] = []
    tools = Tools([_blocking(held, begun)])
    assert (await tools.call("block", {"key": "polite"}, replace(CONTEXT, _stop=threading.Event()))).is_error
    async with asyncio.timeout(30):
        while tools.host.active:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.005)
    assert begun == ["polite", "stopped"]
    await tools.aclose()


# ---- conditions decide the kind


def test_a_condition_makes_a_call_one_that_needs_approval() -> None:
    @tool("safe", approve_if="amount > 100")
    def pay(amount: int) -> str:
        return ""

    tools = Tools([pay])
    assert tools.kind("pay") is ToolKind.SAFE
    assert tools.kind("pay", {"amount": 100}) is ToolKind.SAFE
    assert tools.kind("pay", {"amount": 101}) is ToolKind.APPROVAL
    assert tools.kind("pay", {}) is ToolKind.APPROVAL
    assert not pay.is_always_safe


# ---- as AutoGen wants them


def test_canonical_arguments_are_one_text() -> None:
    assert canonical({"b": {"d": 1, "c": [True, None]}, "a": "é"}) == '{"a":"é","b":{"c":[true,null],"d":1}}'
    with pytest.raises(TypeError):
        canonical({"a": "\ud800"})


def workbench(tools: Tools) -> SafeWorkbench:
    return SafeWorkbench(tools, Asking(), set(), lambda call: replace(CONTEXT, call=call))


async def test_a_workbench_calls_safe_tools_only(tools: Tools, counts: Counts) -> None:
    result = await workbench(tools).call_tool("counter", {"key": "k"}, None)
    assert result.is_error
    assert counts.values == {}


@pytest.mark.parametrize("how", ["hang", "exit", "cancelled", "raise"])
async def test_a_workbench_answers_every_call(tools: Tools, how: str) -> None:
    assert (await workbench(tools).call_tool("odd", {"how": how}, CancellationToken())).is_error


async def test_a_workbench_gives_the_beginning_of_a_large_result_and_keeps_all_of_it(tools: Tools) -> None:
    bench = workbench(tools)
    result = await bench.call_tool("odd", {"how": "much"}, None, "provider-1")
    assert len(result.to_text()) < MAX_SHOWN + 100
    assert len(bench.whole["provider-1"]) == MAX_RESULT


async def test_a_workbench_refuses_arguments_that_are_no_object(tools: Tools) -> None:
    result = await workbench(tools).call_tool("counter", [1], None)  # type: ignore[arg-type]
    assert result.is_error
    assert result.to_text() == "invalid arguments: they are not an object"


async def test_a_cancelled_token_ends_a_call() -> None:
    bench = workbench(Tools([odd], timeout_s=30))
    token = CancellationToken()
    asyncio.get_running_loop().call_later(0.01, token.cancel)
    async with asyncio.timeout(30):
        result = await bench.call_tool("odd", {"how": "hang"}, token)
    assert result.is_error


async def test_a_workbench_describes_its_tools(tools: Tools) -> None:
    bench = workbench(tools.only(["counter"]))
    (schema,) = await bench.list_tools()
    assert schema["name"] == "counter"
    assert schema["parameters"]["required"] == ["key"]
    assert await bench.save_state() == {}
    await bench.load_state({})
    await bench.start()
    await bench.reset()
    await bench.stop()
