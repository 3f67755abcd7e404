"""Tools: whatever one does, there is an outcome."""

import asyncio
import re
from collections.abc import Mapping

import pytest
from autogen_core import CancellationToken

from hub.domain.errors import Unavailable
from hub.engine.autogen.asking import Asking
from hub.engine.autogen.workbench import SafeWorkbench
from hub.engine.tools.ask_person import AskPerson
from hub.engine.tools.clock import Clock
from hub.engine.tools.counter import Counter
from hub.engine.tools.registry import ToolKind, ToolOutcome, Tools, canonical
from hub.engine.tools.transfer import Transfer
from tests.engine.driving import Counts


class Odd:
    """Does what its argument says."""

    name, description, kind = "odd", "Misbehaves.", ToolKind.SAFE
    parameters: Mapping[str, object] = {"type": "object", "properties": {"how": {"type": "string"}}, "required": []}

    async def run(self, arguments: Mapping[str, object], /) -> str:
        match arguments.get("how"):
            case "hang":
                await asyncio.Event().wait()
            case "unavailable":
                raise Unavailable("the database did not answer")
            case "exit":
                raise SystemExit(3)
            case "cancelled":
                raise asyncio.CancelledError
            case _:
                raise RuntimeError("/secret/path and more")
        return ""


def _tools(counts: Counts | None = None) -> Tools:
    return Tools([Clock(), Counter((counts or Counts()).increment), Transfer(), Odd()], timeout_s=0.05)


async def test_clock_tells_utc() -> None:
    outcome = await _tools().call("clock", {"key": "ignored"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", outcome.text)
    assert not outcome.is_error


async def test_counter_counts() -> None:
    tools = _tools(counts := Counts())
    assert await tools.call("counter", {"key": "a"}) == ToolOutcome("1", is_error=False)
    assert await tools.call("counter", {"key": "a"}) == ToolOutcome("2", is_error=False)
    assert counts.values == {"a": 2}


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("counter", {}, "invalid arguments: key: Field required"),
        ("counter", {"key": [1]}, "invalid arguments: key: Input should be a valid string"),
        ("nothing", {}, "there is no tool 'nothing'"),
        ("odd", {"how": "hang"}, "odd did not finish in 0.05 s"),
        ("odd", {"how": "unavailable"}, "the database did not answer"),
        ("odd", {}, "odd failed: RuntimeError"),
    ],
)
async def test_what_goes_wrong_is_an_error_that_names_no_internals(
    name: str, arguments: Mapping[str, object], text: str
) -> None:
    assert await _tools().call(name, arguments) == ToolOutcome(text, is_error=True)


async def test_a_transfer_tells_what_was_transferred() -> None:
    assert await _tools().call("transfer", {"key": "the house"}) == ToolOutcome("transferred the house", is_error=False)


async def test_what_to_ask_a_person_is_checked() -> None:
    asking = Tools([AskPerson()])
    assert await asking.call("ask_person", {"question": "Now?"}) == ToolOutcome("Now?", is_error=False)
    assert (await asking.call("ask_person", {"question": ""})).is_error


def test_canonical_arguments_are_one_text() -> None:
    assert canonical({"b": {"d": 1, "c": [True, None]}, "a": "\u00e9"}) == '{"a":"\u00e9","b":{"c":[true,null],"d":1}}'
    with pytest.raises(TypeError):
        canonical({"a": "\ud800"})


async def test_a_workbench_calls_safe_tools_only() -> None:
    counts = Counts()
    result = await SafeWorkbench(_tools(counts), Asking(), set()).call_tool("counter", {"key": "k"}, None)
    assert result.is_error
    assert counts.values == {}


def test_only_knows_its_own() -> None:
    assert [tool.name for tool in _tools().only(["clock"])] == ["clock"]
    with pytest.raises(KeyError):
        _tools().only(["hammer"])


@pytest.mark.parametrize("how", ["hang", "exit", "cancelled", "raise"])
async def test_a_workbench_answers_every_call(how: str) -> None:
    result = await SafeWorkbench(_tools(), Asking(), set()).call_tool("odd", {"how": how}, CancellationToken())
    assert result.is_error


async def test_a_workbench_refuses_arguments_that_are_no_object() -> None:
    result = await SafeWorkbench(_tools(), Asking(), set()).call_tool("counter", [1], None)  # type: ignore[arg-type]
    assert result.is_error
    assert result.to_text() == "invalid arguments: they are not an object"


async def test_a_cancelled_token_ends_a_call() -> None:
    workbench = SafeWorkbench(Tools([Odd()], timeout_s=30), Asking(), set())
    token = CancellationToken()
    asyncio.get_running_loop().call_later(0.01, token.cancel)
    async with asyncio.timeout(2):
        result = await workbench.call_tool("odd", {"how": "hang"}, token)
    assert result.is_error


async def test_a_workbench_describes_its_tools() -> None:
    workbench = SafeWorkbench(_tools().only(["counter"]), Asking(), set())
    (schema,) = await workbench.list_tools()
    assert schema["name"] == "counter"
    assert schema["parameters"]["required"] == ["key"]
    assert await workbench.save_state() == {}
    await workbench.load_state({})
    await workbench.start()
    await workbench.reset()
    await workbench.stop()
