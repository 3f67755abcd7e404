"""Models behind an OpenAI-compatible address, good and bad ones."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)

from hub.engine.base import Failure
from hub.engine.models.client import Thought
from hub.engine.models.connections import Connections
from hub.engine.models.errors import ModelError
from hub.engine.models.hosted import HostedClient
from hub.engine.models.registry import HostedModel, ModelDeadlines, openai_model
from tests.engine.driving import deadlines_for
from tests.engine.fake_openai import USAGE, FakeOpenAi, fake_openai

ASKED: Sequence[LLMMessage] = [SystemMessage(content="Be kind."), UserMessage(content="Hi", source="bob")]


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    shared = Connections()
    yield shared
    await shared.aclose()


class Asking:
    """Asks a model of the fake server."""

    def __init__(self, fake: FakeOpenAi, connections: Connections) -> None:
        self.fake = fake
        self._connections = connections

    def client(self, mode: str, deadlines: ModelDeadlines | None = None, **model: Any) -> HostedClient:
        hosted = HostedModel(self.fake.url, mode, **model)
        return HostedClient(self._connections, hosted, deadlines or deadlines_for(mode))

    async def ask(
        self, mode: str, messages: Sequence[LLMMessage] = ASKED, **model: Any
    ) -> tuple[list[str], CreateResult]:
        *pieces, result = [piece async for piece in self.client(mode, **model).create_stream(messages)]
        assert isinstance(result, CreateResult)
        return [piece for piece in pieces if isinstance(piece, str)], result

    async def fail(self, mode: str, **model: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            await self.ask(mode, **model)
        return caught.value


@pytest.fixture
def asking(fake: FakeOpenAi, connections: Connections) -> Asking:
    return Asking(fake, connections)


async def test_streams_text_and_counts(asking: Asking) -> None:
    pieces, result = await asking.ask("good")
    assert pieces == ["Hello ", "from ", "fake"]
    assert result.content == "Hello from fake"
    assert result.finish_reason == "stop"
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (11, 7)
    assert USAGE["prompt_tokens"] == 11


async def test_asks_as_configured_and_with_its_key(asking: Asking) -> None:
    await asking.ask("good", api_key="sk-secret", parameters={"temperature": 0.5}, max_tokens=9)
    (body,) = asking.fake.requests
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert (body["temperature"], body["max_tokens"]) == (0.5, 9)
    assert body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "bob said:\nHi"},
    ]
    assert asking.fake.headers[0]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(HostedModel("u", "n", api_key="sk-secret"))
    await asking.ask("good")
    assert "authorization" not in asking.fake.headers[1]


async def test_speakers_go_by_name_to_openai_and_by_a_line_to_others(asking: Asking) -> None:
    conversation: list[LLMMessage] = [
        UserMessage(content="Hi", source="bob"),
        UserMessage(content="Hello", source="writer"),
        AssistantMessage(content="Well", source="critic"),
        UserMessage(content="So?", source="bob"),
    ]
    await asking.ask("good", conversation, speakers="name")
    await asking.ask("good", conversation)
    assert asking.fake.requests[0]["messages"][:2] == [
        {"role": "user", "content": "Hi", "name": "bob"},
        {"role": "user", "content": "Hello", "name": "writer"},
    ]
    assert asking.fake.requests[1]["messages"] == [
        {"role": "user", "content": "bob said:\nHi\n\nwriter said:\nHello"},
        {"role": "assistant", "content": "Well"},
        {"role": "user", "content": "bob said:\nSo?"},
    ]
    assert openai_model(None, "k", "m").speakers == "name"
    assert openai_model("https://other.example/v1", "k", "m").speakers == "line"


async def test_tool_calls_and_their_results_go_back(asking: Asking) -> None:
    call = FunctionCall(id="c1", name="clock", arguments="{}")
    conversation: list[LLMMessage] = [
        UserMessage(content="When?", source="bob"),
        AssistantMessage(content=[call], source="a", thought="Let me see."),
        FunctionExecutionResultMessage(
            content=[FunctionExecutionResult(content="noon", name="clock", call_id="c1", is_error=False)]
        ),
    ]
    await asking.ask("good", conversation)
    assert asking.fake.requests[0]["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    ]


async def test_what_a_model_made_up_goes_back_as_its_server_takes_it(asking: Asking) -> None:
    """A conversation with a call that the provider refuses would be refused from then on."""
    made_up = [
        FunctionCall(id="c1", name="multi_tool_use.parallel", arguments='{"key"'),
        FunctionCall(id="c2", name="", arguments="[1]"),
        FunctionCall(id="c3", name="n" * 99, arguments='{"n": 1}'),
    ]
    await asking.ask("good", [AssistantMessage(content=made_up, source="a")])
    assert [call["function"] for call in asking.fake.requests[0]["messages"][0]["tool_calls"]] == [
        {"name": "multi_tool_use_parallel", "arguments": "{}"},
        {"name": "unnamed", "arguments": "{}"},
        {"name": "n" * 64, "arguments": '{"n": 1}'},
    ]


async def test_reasoning_is_told_apart(asking: Asking) -> None:
    pieces, result = await asking.ask("reasoning")
    assert pieces == ["I ", "think", "so"]
    assert [isinstance(piece, Thought) for piece in pieces] == [True, True, False]
    assert (result.content, result.thought) == ("so", "I think")
    pieces, result = await asking.ask("blocks")
    assert [isinstance(piece, Thought) for piece in pieces] == [True, False, False]
    assert (result.content, result.thought) == ("so", "I think")


async def test_thinking_aloud_is_told_apart(asking: Asking) -> None:
    pieces, result = await asking.ask("aloud")
    assert "".join(piece for piece in pieces if isinstance(piece, Thought)) == "hmm"
    assert "".join(piece for piece in pieces if not isinstance(piece, Thought)) == "well yes"
    assert (result.content, result.thought) == ("well yes", "hmm")
    pieces, result = await asking.ask("angle")
    assert ("".join(pieces), result.content) == ("<b>bold", "<b>bold")


@pytest.mark.parametrize(
    ("mode", "calls", "thought"),
    [
        ("tools", [("counter", '{"key":"a"}'), ("clock", "{}")], None),
        ("both", [("counter", '{"key":"b"}')], "Let me see. Now."),
        ("whole-calls", [("counter", '{"key":"c"}'), ("clock", "{}")], None),
        ("one-number", [("counter", '{"key":"d"}'), ("clock", "{}")], None),
        ("other-ids", [("counter", '{"key":"e"}')], None),
        ("no-ids", [("counter", '{"key":"f"}'), ("clock", "{}")], None),
        ("said-again", [("counter", '{"key":"g"}')], None),
        ("long-arguments", [("counter", '{"key":"' + "abcd" * 600 + '"}')], None),
    ],
)
async def test_tool_calls_in_all_forms(
    asking: Asking, mode: str, calls: list[tuple[str, str]], thought: str | None
) -> None:
    _, result = await asking.ask(mode)
    assert isinstance(result.content, list)
    assert [(call.name, call.arguments) for call in result.content] == calls
    assert len({call.id for call in result.content}) == len(calls)
    assert (result.thought, result.finish_reason) == (thought, "function_calls")


@pytest.mark.parametrize(
    ("mode", "failure"),
    [
        ("limited", Failure.MODEL_RATE_LIMITED),
        ("broken", Failure.MODEL_UNAVAILABLE),
        ("unpaid", Failure.MODEL_UNAVAILABLE),
        ("long", Failure.CONTEXT_TOO_LONG),
        ("prude", Failure.MODEL_REFUSED),
        ("filtered", Failure.MODEL_REFUSED),
        ("empty", Failure.MALFORMED_OUTPUT),
        ("unclosed", Failure.MALFORMED_OUTPUT),
        ("malformed", Failure.MALFORMED_OUTPUT),
        ("truncated", Failure.MALFORMED_OUTPUT),
        ("no-delta", Failure.MALFORMED_OUTPUT),
        ("no-object", Failure.MALFORMED_OUTPUT),
        ("no-function", Failure.MALFORMED_OUTPUT),
        ("no-text", Failure.MALFORMED_OUTPUT),
        ("long-line", Failure.MALFORMED_OUTPUT),
        ("error-event", Failure.MODEL_UNAVAILABLE),
        ("dropped", Failure.MODEL_UNAVAILABLE),
        ("stalling", Failure.MODEL_STALLED),
        ("pinging", Failure.MODEL_STALLED),
    ],
)
async def test_what_is_not_an_answer_has_a_name(asking: Asking, mode: str, failure: Failure) -> None:
    assert (await asking.fail(mode)).failure is failure


async def test_what_came_before_it_went_wrong_is_given(asking: Asking) -> None:
    for mode, before in (("malformed", "good "), ("malformed-at-once", "good "), ("stalling", "half ")):
        stream = asking.client(mode).create_stream(ASKED)
        assert await anext(stream) == before, mode
        with pytest.raises(ModelError):
            await anext(stream)


async def test_a_server_that_never_answers_is_given_up(asking: Asking) -> None:
    client = asking.client("silent", ModelDeadlines(first_s=0.1, idle_s=5))
    with pytest.raises(ModelError) as caught:
        await client.create(ASKED)
    assert caught.value.failure is Failure.MODEL_STALLED


async def test_no_server_is_said(asking: Asking, connections: Connections) -> None:
    client = HostedClient(connections, HostedModel("http://127.0.0.1:1/v1", "m"), ModelDeadlines(first_s=1))
    with pytest.raises(ModelError) as caught:
        await client.create(ASKED)
    assert caught.value.failure is Failure.MODEL_UNAVAILABLE


async def test_tries_again_before_the_first_token_only(asking: Asking) -> None:
    _, result = await asking.ask("recovering")
    assert result.content == "Hello from fake"
    assert len(asking.fake.requests) == 3
    await asking.fail("broken")
    assert len(asking.fake.requests) == 7
    await asking.fail("error-event")
    await asking.fail("unpaid")
    await asking.fail("limited")  # asked to wait for longer than there is time
    assert len(asking.fake.requests) == 10


async def test_usage_on_any_event_counts(asking: Asking) -> None:
    _, result = await asking.ask("early-usage")
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (11, 7)


async def test_an_answer_may_be_cut_by_its_limit(asking: Asking) -> None:
    _, result = await asking.ask("cut")
    assert (result.content, result.finish_reason) == ("a b", "length")


async def test_an_answer_ends_with_its_sentence(asking: Asking) -> None:
    pieces, result = await asking.ask("timings", sentence_after=2)
    assert pieces == ["One ", "two", "."]
    assert result.content == "One two."
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (7, 4)


async def test_an_endless_answer_ends(asking: Asking) -> None:
    _, result = await asking.ask("endless")
    assert len(str(result.content)) < 500_000


async def test_leaving_early_closes_the_connection(asking: Asking) -> None:
    async with aclosing(asking.client("endless").create_stream(ASKED)) as stream:
        assert str(await anext(stream)).startswith("on and on ")
    async with asyncio.timeout(30):
        await asking.fake.left.wait()
    assert asking.fake.closed == 1


async def test_a_stream_that_fails_is_left_although_its_error_is_kept(asking: Asking) -> None:
    error = await asking.fail("raving")
    async with asyncio.timeout(30):
        await asking.fake.left.wait()
    assert error.failure is Failure.MODEL_UNAVAILABLE


async def test_after_the_first_piece_the_next_one_is_waited_for_as_long_as_it_may_take(asking: Asking) -> None:
    client = asking.client("stalling", ModelDeadlines(first_s=600, idle_s=0.2))
    with pytest.raises(ModelError) as caught:
        async with asyncio.timeout(30):
            [piece async for piece in client.create_stream(ASKED)]
    assert caught.value.failure is Failure.MODEL_STALLED


async def test_parts_of_a_call_are_tokens_to_the_deadlines(asking: Asking) -> None:
    client = asking.client("calling", ModelDeadlines(first_s=600, idle_s=0.2))
    with pytest.raises(ModelError) as caught:
        async with asyncio.timeout(30):
            await client.create(ASKED)
    assert caught.value.failure is Failure.MODEL_STALLED


async def test_what_tells_nothing_and_what_is_cut_within_a_character_breaks_no_answer(asking: Asking) -> None:
    assert (await asking.ask("filter-late"))[1].content == "Hello all"
    assert (await asking.ask("no-utf8"))[1].content == "caf\ufffd!"


async def test_what_autogen_asks_of_every_client(asking: Asking) -> None:
    client = asking.client("good", calls_tools=False)
    assert client.model_info["function_calling"] is False
    assert client.capabilities == client.model_info
    assert client.count_tokens(ASKED) == 3
    assert client.remaining_tokens(ASKED) > 100_000
    assert client.total_usage().prompt_tokens == client.actual_usage().prompt_tokens == 0
    await client.close()


async def test_a_conversation_that_is_too_long_is_sent_in_part(asking: Asking) -> None:
    conversation: list[LLMMessage] = [SystemMessage(content="Be kind.")]
    for number in range(8):
        conversation.append(UserMessage(content=f"Question number {number}", source="bob"))
        conversation.append(AssistantMessage(content=f"Answer number {number}", source="a"))
    conversation.append(UserMessage(content="And now?", source="bob"))
    _, result = await asking.ask("small", conversation)
    assert result.content == "Hello from fake"
    sent = [[message["content"] for message in request["messages"]] for request in asking.fake.requests]
    assert [len(messages) for messages in sent] == [18, 9, 5]
    assert sent[-1][0] == "Be kind."
    assert sent[-1][-2:] == ["Answer number 7", "bob said:\nAnd now?"]
    conversation[-1] = UserMessage(content="long " * 100, source="bob")
    with pytest.raises(ModelError) as caught:
        await asking.ask("small", conversation)
    assert caught.value.failure is Failure.CONTEXT_TOO_LONG


async def test_a_key_that_a_server_repeats_is_not_in_the_error(asking: Asking) -> None:
    error = await asking.fail("unpaid", api_key="sk-Secret")
    assert "Bearer …" in str(error)
    assert "secret" not in str(error).lower()
    error = await asking.fail("error-with-key", api_key="sk-Secret", retries=0)
    assert str(error).endswith("'no credit for …'}")
