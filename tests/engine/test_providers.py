"""Every provider, well and badly behaved: one table over the wire formats, on real sockets."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from autogen_core import FunctionCall, Image
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema

from hub.domain.ids import AttachmentId
from hub.engine.attached import MAX_PICTURES, MAX_TEXT, Content, content_of, note
from hub.engine.base import Failure
from hub.engine.models.client import Thought
from hub.engine.models.connections import Connections
from hub.engine.models.errors import ModelError
from hub.engine.models.hosted import HostedClient
from hub.engine.models.registry import HostedModel, ModelDeadlines, Provider
from tests.engine.driving import PATIENT, deadlines_for
from tests.engine.fake_openai import FakeOpenAi, serving
from tests.engine.fake_providers import FakeAnthropic, FakeOllama

CANARY = "sk-canary-0123456789"
ASKED: Sequence[LLMMessage] = [SystemMessage(content="Be kind."), UserMessage(content="Hi", source="bob")]
CLOCK = ToolSchema(name="clock", description="Tells the time.", parameters={"type": "object", "properties": {}})
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PROVIDERS: dict[Provider, type[FakeOpenAi]] = {
    "openai": FakeOpenAi,
    "azure": FakeOpenAi,
    "anthropic": FakeAnthropic,
    "ollama": FakeOllama,
}


class Asking:
    """Asks models of one provider's fake."""

    def __init__(self, provider: Provider, fake: FakeOpenAi, connections: Connections) -> None:
        self.provider = provider
        self.fake = fake
        self.connections = connections

    def model(self, mode: str, **more: Any) -> HostedModel:
        version = "2024-10-21" if self.provider == "azure" else ""
        given = {"api_key": CANARY, "provider": self.provider, "api_version": version, "retries": 2, **more}
        return HostedModel(self.fake.url, mode, **given)

    def client(self, mode: str, deadlines: ModelDeadlines | None = None, **more: Any) -> HostedClient:
        return HostedClient(self.connections, self.model(mode, **more), deadlines or deadlines_for(mode))

    async def ask(
        self, mode: str, messages: Sequence[LLMMessage] = ASKED, *, options: Any = None, **more: Any
    ) -> tuple[list[str], CreateResult]:
        stream = self.client(mode, **more).create_stream(messages, **(options or {}))
        *pieces, result = [piece async for piece in stream]
        assert isinstance(result, CreateResult)
        return [piece for piece in pieces if isinstance(piece, str)], result

    async def fail(self, mode: str, **more: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            await self.ask(mode, **more)
        assert CANARY not in f"{caught.value} {caught.value.cause} {caught.value.__cause__!r}"
        return caught.value


@pytest.fixture(params=PROVIDERS)
async def asking(request: pytest.FixtureRequest) -> AsyncIterator[Asking]:
    provider: Provider = request.param
    fake, connections = PROVIDERS[provider](), Connections()
    async with serving(fake):
        yield Asking(provider, fake, connections)
    await connections.aclose()


async def test_streams_text_and_counts(asking: Asking) -> None:
    pieces, result = await asking.ask("good")
    assert pieces == ["Hello ", "from ", "fake"]
    assert (result.content, result.finish_reason) == ("Hello from fake", "stop")
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (11, 7)


async def test_the_key_and_the_address_are_as_the_provider_wants_them(asking: Asking) -> None:
    await asking.ask("good")
    headers = asking.fake.headers[0]
    wanted: dict[str, tuple[str, str, str]] = {
        "openai": ("authorization", f"Bearer {CANARY}", "/chat/completions"),
        "azure": ("api-key", CANARY, "/openai/deployments/good/chat/completions?api-version=2024-10-21"),
        "anthropic": ("x-api-key", CANARY, "/v1/messages"),
        "ollama": ("authorization", f"Bearer {CANARY}", "/api/chat"),
    }
    name, value, path = wanted[asking.provider]
    assert (headers[name], asking.fake.paths[0]) == (value, path)
    assert CANARY not in repr(asking.model("good"))
    await asking.ask("good", api_key="")
    assert not {"authorization", "x-api-key", "api-key"} & asking.fake.headers[1].keys()


async def test_reasoning_is_told_apart(asking: Asking) -> None:
    pieces, result = await asking.ask("reasoning")
    assert "".join(piece for piece in pieces if isinstance(piece, Thought)) == "I think"
    assert (result.content, result.thought) == ("so", "I think")


async def test_tool_calls(asking: Asking) -> None:
    pieces, result = await asking.ask("tools", options={"tools": [CLOCK]})
    first, second = (call for call in result.content if isinstance(call, FunctionCall))
    assert (first.name, first.arguments.replace(" ", "")) == ("counter", '{"key":"a"}')
    assert (second.name, second.arguments) == ("clock", "{}")
    assert first.id != second.id
    assert result.finish_reason == "function_calls"
    if asking.provider in ("anthropic", "ollama"):
        assert (pieces, result.thought) == (["Let me see."], "Let me see.")
    (tool,) = asking.fake.requests[0]["tools"]
    described = tool if asking.provider == "anthropic" else tool["function"]
    assert described["name"] == "clock"
    await asking.ask("good", options={"tools": [CLOCK]}, calls_tools=False)
    assert "tools" not in asking.fake.requests[1]


async def test_calls_and_results_go_back(asking: Asking) -> None:
    call = FunctionCall(id="c1", name="clock", arguments='{"zone":"UTC"}')
    result = FunctionExecutionResult(content="noon", name="clock", call_id="c1", is_error=False)
    conversation: list[LLMMessage] = [
        UserMessage(content="When?", source="bob"),
        AssistantMessage(content=[call], source="a", thought="Let me see. "),
        FunctionExecutionResultMessage(content=[result]),
    ]
    await asking.ask("good", conversation)
    _, asked, answered = asking.fake.requests[0]["messages"]
    if asking.provider == "anthropic":
        use = {"type": "tool_use", "id": "c1", "name": "clock", "input": {"zone": "UTC"}}
        assert asked == {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, use]}
        back = {"type": "tool_result", "tool_use_id": "c1", "content": "noon", "is_error": False}
        assert answered == {"role": "user", "content": [back]}
    elif asking.provider == "ollama":
        assert asked["tool_calls"] == [{"function": {"name": "clock", "arguments": {"zone": "UTC"}}}]
        assert answered == {"role": "tool", "tool_name": "clock", "content": "noon"}
    else:
        assert asked["tool_calls"][0]["function"] == {"name": "clock", "arguments": '{"zone":"UTC"}'}
        assert answered == {"role": "tool", "tool_call_id": "c1", "content": "noon"}


@pytest.mark.parametrize(
    ("mode", "failure", "cause", "tries"),
    [
        ("unpaid", Failure.MODEL_UNAVAILABLE, "HTTP 401", 1),
        ("limited", Failure.MODEL_RATE_LIMITED, "HTTP 429", 1),  # told to wait for longer than there is time
        ("broken", Failure.MODEL_UNAVAILABLE, "HTTP 500", 3),
        ("prude", Failure.MODEL_REFUSED, "HTTP 400", 1),
        ("long", Failure.CONTEXT_TOO_LONG, "HTTP 400", 1),
        ("stalling", Failure.MODEL_STALLED, "no token in time", 1),
        ("malformed", Failure.MALFORMED_OUTPUT, "malformed", 1),
        ("truncated", Failure.MALFORMED_OUTPUT, "cut off", 1),
        ("dropped", Failure.MODEL_UNAVAILABLE, "RemoteProtocolError", 1),
        ("error-event", Failure.MODEL_UNAVAILABLE, "error in the stream", 1),
        ("empty", Failure.MALFORMED_OUTPUT, "empty", 1),
    ],
)
async def test_what_goes_wrong_has_its_name(
    asking: Asking, mode: str, failure: Failure, cause: str, tries: int
) -> None:
    error = await asking.fail(mode)
    assert (error.failure, len(asking.fake.requests)) == (failure, tries)
    assert error.cause == cause or (mode == "dropped" and error.cause.endswith("Error"))


async def test_tries_again_until_the_first_token(asking: Asking) -> None:
    _, result = await asking.ask("recovering")
    assert (result.content, len(asking.fake.requests)) == ("Hello from fake", 3)
    if asking.provider in ("anthropic", "ollama"):  # an error that comes after the headers and before any word
        _, result = await asking.ask("early-error")
        assert (result.content, len(asking.fake.requests)) == ("Hello from fake", 5)
    with pytest.raises(ModelError):
        await asking.ask("broken", retries=0)
    assert asking.fake.requests[-2]["model"] != "broken"


async def test_a_silent_server_is_given_up(asking: Asking) -> None:
    with pytest.raises(ModelError) as caught:
        await asking.client("silent", ModelDeadlines(first_s=0.1)).create(ASKED)
    assert (caught.value.failure, caught.value.cause) == (Failure.MODEL_STALLED, "no answer in time")


async def test_an_answer_may_be_cut_by_its_limit(asking: Asking) -> None:
    _, result = await asking.ask("cut", max_tokens=9)
    assert (result.content, result.finish_reason) == ("a b", "length")
    body = asking.fake.requests[0]
    limits = {
        "openai": body.get("max_tokens"),
        "azure": body.get("max_completion_tokens"),
        "anthropic": body.get("max_tokens"),
        "ollama": body.get("options", {}).get("num_predict"),
    }
    assert limits[asking.provider] == 9


async def test_leaving_early_closes_the_connection(asking: Asking) -> None:
    async with aclosing(asking.client("endless").create_stream(ASKED)) as stream:
        assert str(await anext(stream)).startswith("on and on ")
    async with asyncio.timeout(30):
        await asking.fake.left.wait()
    assert asking.fake.closed == 1


async def test_a_conversation_that_is_too_long_is_sent_in_part(asking: Asking) -> None:
    conversation: list[LLMMessage] = [SystemMessage(content="Be kind.")]
    for number in range(16):
        conversation.append(UserMessage(content=f"Question number {number}", source="bob"))
        conversation.append(AssistantMessage(content=f"Answer number {number}", source="a"))
    conversation.append(UserMessage(content="And now?", source="bob"))
    _, result = await asking.ask("small", conversation)
    assert result.content == "Hello from fake"
    assert len(asking.fake.requests) > 1
    assert "And now?" in str(asking.fake.requests[-1]["messages"][-1])
    assert "Be kind." in str(asking.fake.requests[-1])


async def test_parameters_and_what_a_call_adds(asking: Asking) -> None:
    options = {"extra_create_args": {"temperature": 0, "grammar": "root ::= x"}, "json_output": True}
    await asking.ask("good", options=options, parameters={"top_p": 0.5}, writes_json=True)
    body = asking.fake.requests[0]
    given = body["options"] if asking.provider == "ollama" else body
    assert (given["top_p"], given["temperature"]) == (0.5, 0)
    assert "grammar" not in given
    if asking.provider == "ollama":
        assert body["format"] == "json"
    elif asking.provider != "anthropic":
        assert body["response_format"] == {"type": "json_object"}
    await asking.ask("good", options={"json_output": True})
    assert not {"format", "response_format"} & asking.fake.requests[1].keys()


async def test_pictures_go_to_models_that_see(asking: Asking) -> None:
    message = UserMessage(content=["Look:", Image.from_base64(PIXEL)], source="bob")
    await asking.ask("good", [message], sees=True)
    await asking.ask("good", [message])
    seen, unseen = (request["messages"][0] for request in asking.fake.requests)
    assert "Look:" in str(seen)
    assert "iVBOR" in str(seen)
    assert "iVBOR" not in str(unseen)
    assert "[a picture]" in str(unseen)
    model = replace(asking.model("good"), sees=True)
    assert HostedClient(asking.connections, model, PATIENT).model_info["vision"] is True


async def test_attached_pictures_go_to_models_that_see(asking: Asking) -> None:
    """Those that messages name, the newest eight, with what kind they are; others are told in words."""
    ids = [AttachmentId(str(uuid.uuid4())) for _ in range(MAX_PICTURES + 2)]
    parts = [{"id": id_, "name": f"{n}.webp", "media_type": "image/webp", "size": 1_234} for n, id_ in enumerate(ids)]
    other = {"id": str(uuid.uuid4()), "name": "a.pdf", "media_type": "application/pdf", "size": 5}
    told: Sequence[LLMMessage] = [
        UserMessage(content="\n".join(["Look:", *map(note, parts), note(other)]), source="bob"),
        AssistantMessage(content=note(parts[0]), source="a"),
        UserMessage(content="And now?", source="bob"),
    ]
    wanted: list[AttachmentId] = []

    async def fetch(asked: Sequence[AttachmentId]) -> dict[AttachmentId, Content]:
        wanted.extend(asked)
        return {id_: content_of("image/webp", b"seen " + id_.encode()) for id_ in asked if id_ != ids[-1]}

    for sees in (True, False):
        client = HostedClient(asking.connections, asking.model("good", sees=sees), PATIENT, fetch=fetch)
        await client.create(told)
    assert wanted == ids[:1:-1]
    body, blind = (str(request["messages"]) for request in asking.fake.requests)
    shown = [base64.b64encode(b"seen " + id_.encode()).decode() in body for id_ in ids]
    assert shown == [False, False, *[True] * (MAX_PICTURES - 1), False]
    assert ("image/webp" in blind, "a.pdf, application/pdf, 5 bytes" in blind) == (True, True)
    if asking.provider != "ollama":
        assert body.count("image/webp") > blind.count("image/webp")
    assert base64.b64encode(b"seen ").decode()[:6] not in blind


async def test_attached_texts_go_to_every_model(asking: Asking) -> None:
    """Their beginning; what is gone meanwhile is only named."""
    kept, gone = (AttachmentId(str(uuid.uuid4())) for _ in range(2))
    named = [note({"id": id_, "name": "a.md", "media_type": "text/markdown", "size": 9}) for id_ in (kept, gone)]

    async def fetch(asked: Sequence[AttachmentId]) -> dict[AttachmentId, Content]:
        assert set(asked) == {kept, gone}
        return {kept: content_of("text/markdown", b"needle " * MAX_TEXT + "é".encode()[:1])}

    client = HostedClient(asking.connections, asking.model("good"), PATIENT, fetch=fetch)
    await client.create([UserMessage(content="\n".join(["Read:", *named]), source="bob")])
    (body,) = (str(request["messages"]) for request in asking.fake.requests)
    assert f"[attachment {kept} holds:]" in body
    assert f"[attachment {gone} holds:]" not in body
    assert MAX_TEXT // 8 < body.count("needle") <= MAX_TEXT // 7 + 1
    assert "[the rest is left out]" in body


async def test_anthropic_takes_turns() -> None:
    """Its interface wants the user first and last, and no blank text."""
    fake, connections = FakeAnthropic(), Connections()
    async with serving(fake):
        client = HostedClient(connections, HostedModel(fake.url, "good", provider="anthropic"), PATIENT)
        own = AssistantMessage(content="Well. ", source="a")
        await client.create([own, AssistantMessage(content="  ", source="a"), own])
        await client.create([])
        refused = HostedClient(connections, HostedModel(fake.url, "filtered", provider="anthropic"), PATIENT)
        with pytest.raises(ModelError) as caught:
            await refused.create(ASKED)
    await connections.aclose()
    go_on = {"role": "user", "content": [{"type": "text", "text": "Go on."}]}
    well = {"type": "text", "text": "Well."}
    assert fake.requests[0]["messages"] == [go_on, {"role": "assistant", "content": [well, well]}, go_on]
    assert fake.requests[1]["messages"] == [go_on]
    assert fake.requests[0]["max_tokens"] == 4_096
    assert fake.headers[0]["anthropic-version"] == "2023-06-01"
    assert caught.value.failure is Failure.MODEL_REFUSED
