"""What AutoGen does with models, streams and errors that this hub works around or relies on.

Every test plays AutoGen alone. One that fails with another version tells what has changed, and what of ours depends on
it.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Handoff, Response, TaskResult
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.messages import (
    ModelClientStreamingChunkEvent,
    TextMessage,
    ThoughtEvent,
    ToolCallRequestEvent,
)
from autogen_agentchat.teams import (
    BaseGroupChat,
    DiGraphBuilder,
    GraphFlow,
    RoundRobinGroupChat,
    SelectorGroupChat,
    Swarm,
)
from autogen_agentchat.tools import AgentTool
from autogen_core import CancellationToken, FunctionCall
from autogen_core.model_context import BufferedChatCompletionContext
from autogen_core.models import CreateResult, LLMMessage, RequestUsage
from autogen_core.tools import BaseTool, FunctionTool, StaticWorkbench, ToolResult

from hub.engine.autogen.killing import kill
from hub.engine.autogen.metered import Candidate, MeteredClient
from hub.engine.autogen.telling import Telling
from hub.engine.models.client import StreamingClient
from hub.engine.models.registry import ScriptedModel
from tests.engine.driving import Told, knowing

Played = str | Exception | CreateResult
HANGS_S = 0.2


def result(content: str | list[FunctionCall], finish: Any = "stop", thought: str | None = None) -> CreateResult:
    usage = RequestUsage(prompt_tokens=5, completion_tokens=2)
    return CreateResult(finish_reason=finish, content=content, usage=usage, cached=False, thought=thought)


def call(name: str, arguments: str = "{}") -> CreateResult:
    return result([FunctionCall(id="1", name=name, arguments=arguments)], "function_calls")


class Playing(StreamingClient):
    """Plays one answer after the other; remembers what it was asked."""

    def __init__(self, *answers: Sequence[Played], calls_tools: bool = True) -> None:
        super().__init__(calls_tools=calls_tools)
        self._answers = list(answers)
        self.asked: list[list[LLMMessage]] = []
        self.options: list[dict[str, Any]] = []
        self.closed = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.is_asked = asyncio.Event()

    async def create_stream(
        self, messages: Sequence[LLMMessage], **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        self.asked.append(list(messages))
        self.options.append(options)
        self.is_asked.set()
        for piece in self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]:
            await self.go_on.wait()
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def close(self) -> None:
        self.closed += 1


GOOD: Sequence[Played] = ["Hel", "lo", result("Hello")]


async def now() -> str:
    """The time."""
    return "noon"


def agent(client: StreamingClient, **more: Any) -> AssistantAgent:
    return AssistantAgent("alpha", client, model_client_stream=True, **more)


def alone(client: StreamingClient, **more: Any) -> RoundRobinGroupChat:
    return RoundRobinGroupChat([agent(client, **more)], max_turns=1)


async def played(team: BaseGroupChat) -> list[Any]:
    async with asyncio.timeout(30):
        return [item async for item in team.run_stream(task="hi")]


async def hangs(team: BaseGroupChat) -> bool:
    """Whether a run is still there after a while; it is ended then."""
    run = asyncio.create_task(team.run(task="hi"))
    await asyncio.wait({run}, timeout=HANGS_S)
    if run.done():
        return False
    await kill(run, CancellationToken(), knowing(team))
    return True


# ---- streams


async def test_pieces_carry_the_id_of_the_message_that_ends_them() -> None:
    """We use ids of our own, for it is not so where text comes before a call (below)."""
    items = await played(alone(Playing(GOOD)))
    pieces = [item for item in items if isinstance(item, ModelClientStreamingChunkEvent)]
    (said,) = [item for item in items if isinstance(item, TextMessage) and item.source == "alpha"]
    assert [piece.content for piece in pieces] == ["Hel", "lo"]
    assert {piece.full_message_id for piece in pieces} == {said.id}
    (end,) = [item for item in items if isinstance(item, TaskResult)]
    assert not any(isinstance(message, ModelClientStreamingChunkEvent) for message in end.messages)


async def test_words_beside_a_call_end_in_a_thought() -> None:
    """Should this fail, `SpeakingClient` need not close their message itself."""
    answer = result([FunctionCall(id="1", name="now", arguments="{}")], "function_calls", thought="Let me see.")
    items = await played(alone(Playing(["Let me see.", answer], GOOD), tools=[now]))
    (piece,) = [i for i in items if isinstance(i, ModelClientStreamingChunkEvent) and i.content == "Let me see."]
    (thought,) = [item for item in items if isinstance(item, ThoughtEvent)]
    assert (thought.content, thought.id) == ("Let me see.", piece.full_message_id)


async def test_a_stream_without_a_result_is_an_error() -> None:
    """Ours always end with one, or with a ModelError."""
    with pytest.raises(RuntimeError, match="No final model result"):
        await played(alone(Playing(["Hel", "lo"])))


async def test_an_empty_answer_is_a_message() -> None:
    """Should this fail, `Answer.result` need not refuse one."""
    items = await played(alone(Playing([result("")])))
    assert [item.content for item in items if isinstance(item, TextMessage) and item.source == "alpha"] == [""]


async def test_why_an_answer_ended_is_not_in_its_message() -> None:
    """Should this fail, `ModelCall.finish` could be read there."""
    items = await played(alone(Playing(["cut", result("cut", "length")])))
    (said,) = [item for item in items if isinstance(item, TextMessage) and item.source == "alpha"]
    assert "length" not in str(said.dump())


async def test_what_autogen_asks_of_a_client() -> None:
    """Our clients take these options and no others that matter."""
    client = Playing(GOOD)
    await played(alone(client, tools=[now]))
    assert set(client.options[0]) == {"tools", "json_output", "cancellation_token"}
    assert [tool["name"] for tool in client.options[0]["tools"]] == ["now"]
    assert client.closed == 0, "nobody closes a client: connections are the worker's"
    with pytest.raises(ValueError, match="does not support function calling"):
        agent(Playing(GOOD, calls_tools=False), tools=[now])


# ---- usage


async def test_the_usage_of_a_selection_is_told_nobody() -> None:
    """Should this fail, `MeteredClient` need not count it."""
    chooser = Playing([result("beta")])
    speakers = [AssistantAgent(name, Playing(GOOD), model_client_stream=True) for name in ("alpha", "beta")]
    items = await played(SelectorGroupChat([*speakers], chooser, max_turns=1))
    assert len(chooser.asked) == 1
    used = [item.models_usage for item in items if getattr(item, "models_usage", None) is not None]
    assert [usage.prompt_tokens for usage in used] == [5], "only the speaker's"


async def test_a_question_is_accounted_for_when_it_is_answered() -> None:
    telling = Telling(Told().emit)
    client = MeteredClient([Candidate("scripted", ScriptedModel(), Playing(GOOD))], telling)
    await client.create([])
    assert [model_call.error for model_call in telling.model_calls] == [None]


async def test_a_call_carries_the_usage_of_its_answer() -> None:
    items = await played(alone(Playing([call("now")], GOOD), tools=[now]))
    (asked,) = [item for item in items if isinstance(item, ToolCallRequestEvent)]
    assert asked.models_usage == RequestUsage(prompt_tokens=5, completion_tokens=2)


# ---- errors


class Broken(Exception):
    pass


async def test_an_error_of_a_model_comes_as_text_with_a_traceback() -> None:
    """Should this fail, `Telling.fault` need not keep the real one, and paths are not in the text any more."""
    with pytest.raises(RuntimeError) as caught:
        await played(alone(Playing(["Hel", Broken("secret words")])))
    assert "Broken: secret words" in str(caught.value)
    assert "Traceback" in str(caught.value)
    assert __file__ in str(caught.value)
    assert caught.value.__cause__ is None


async def test_an_error_of_the_first_selection_keeps_its_class() -> None:
    speakers = [AssistantAgent(name, Playing(GOOD)) for name in ("alpha", "beta")]
    with pytest.raises(Broken):
        await played(SelectorGroupChat([*speakers], Playing([Broken("x")]), max_turns=1))


@pytest.mark.parametrize("arguments", ["[1]", "7", '"x"'])
async def test_arguments_of_a_handoff_that_are_no_object_hang_the_team(arguments: str) -> None:
    """Should this fail, `handoffs.settled` need not mend them."""
    client = Playing([call("transfer_to_beta", arguments)])
    team = RoundRobinGroupChat(
        [agent(client, handoffs=[Handoff(target="beta")]), AssistantAgent("beta", Playing(GOOD))], max_turns=1
    )
    assert await hangs(team)


async def test_a_workbench_that_raises_hangs_the_team() -> None:
    """Should this fail, `SafeWorkbench` need not catch everything."""

    class Raising(StaticWorkbench):
        async def call_tool(self, *_: Any, **__: Any) -> ToolResult:
            raise Broken

    tools: list[BaseTool[Any, Any]] = [FunctionTool(now, description="The time.")]
    assert await hangs(alone(Playing([call("now")], GOOD), workbench=Raising(tools)))


@pytest.mark.parametrize("arguments", ['{"n": ' + "1" * 5_000 + "}", "[" * 3_000])
async def test_arguments_that_json_gives_up_on_hang_the_team(arguments: str) -> None:
    """Should this fail, `asking.harmless` need not shorten them."""
    assert await hangs(alone(Playing([call("now", arguments)], GOOD), tools=[now]))


async def test_arguments_that_are_no_json_are_an_answer_to_the_model() -> None:
    client = Playing([call("now", '{"key"')], GOOD)
    await played(alone(client, tools=[now], reflect_on_tool_use=True))
    (answered,) = [message for message in client.asked[1] if message.type == "FunctionExecutionResultMessage"]
    assert answered.content[0].is_error


# ---- stopping


async def test_cancelling_the_task_alone_waits_for_the_model() -> None:
    """Should this fail, `kill` need not go for the runtime's own tasks."""
    client = Playing(GOOD)
    client.go_on.clear()
    team = alone(client)
    run = asyncio.create_task(team.run(task="hi"))
    await client.is_asked.wait()
    run.cancel()
    await asyncio.wait({run}, timeout=HANGS_S)
    assert not run.done()
    client.go_on.set()
    await asyncio.wait({run}, timeout=5)
    assert run.cancelled()


async def test_a_client_that_ignores_the_token_is_not_cancelled_by_it() -> None:
    """Should this fail, `MeteredClient` need not link its own task to the token."""
    client = Playing(GOOD)
    client.go_on.clear()
    team, token = alone(client), CancellationToken()
    run = asyncio.create_task(team.run(task="hi", cancellation_token=token))
    await client.is_asked.wait()
    token.cancel()
    await asyncio.wait({run}, timeout=HANGS_S)
    still = not run.done()
    await kill(run, token, knowing(team))
    assert still


async def test_an_agent_can_be_listened_to_alone() -> None:
    """What `HubAgent` does: its own stream ends with one Response, everything else before it in order."""
    token = CancellationToken()
    stream = agent(Playing([call("now")], GOOD), tools=[now], reflect_on_tool_use=True).on_messages_stream(
        [TextMessage(source="bob", content="hi")], token
    )
    kinds = [type(item).__name__ async for item in stream]
    assert kinds == [
        "ToolCallRequestEvent", "ToolCallExecutionEvent", "ModelClientStreamingChunkEvent",
        "ModelClientStreamingChunkEvent", "Response",
    ]  # fmt: skip
    assert Response.__name__ == kinds[-1]


# ---- what agents are called, and what they remember


@pytest.mark.parametrize("name", ["a b", "a-b", "7a", ""])
def test_agents_are_named_as_variables_are(name: str) -> None:
    """Should this fail, the names of a team's agents may be freer."""
    with pytest.raises(ValueError, match="valid Python identifier"):
        AssistantAgent(name, Playing(GOOD))


async def test_a_bounded_context_bounds_what_is_shown_and_not_what_is_kept() -> None:
    """Should this fail, `RecentContext` and the pruning of checkpoints may be AutoGen's."""
    client = Playing(GOOD)
    speaker = agent(client, model_context=BufferedChatCompletionContext(buffer_size=2), system_message=None)
    for number in range(4):
        await speaker.on_messages([TextMessage(source="bob", content=str(number))], CancellationToken())
    assert len(client.asked[-1]) == 2
    assert len((await speaker.save_state())["llm_context"]["messages"]) == 8


async def test_a_stop_phrase_of_autogens_is_heard_from_people_too() -> None:
    """Should this fail, the end of a run by its phrase may be AutoGen's."""
    team = RoundRobinGroupChat([agent(Playing(GOOD))], termination_condition=TextMentionTermination("hi"))
    end = (await played(team))[-1]
    assert isinstance(end, TaskResult)
    assert [message.source for message in end.messages] == ["user"]


# ---- states


def speakers(*clients: Playing) -> list[Any]:
    names = ("alpha", "beta", "gamma")
    return [
        AssistantAgent(name, client, model_client_stream=True) for name, client in zip(names, clients, strict=False)
    ]


async def test_more_to_do_is_told_in_these_words() -> None:
    """`magentic.MORE` says them, too; the hub's engine asks whether there are any others."""
    end = (await played(alone(Playing(GOOD))))[-1]
    assert isinstance(end, TaskResult)
    assert end.stop_reason == "Maximum number of turns 1 reached."


async def test_what_a_condition_has_counted_is_in_no_state() -> None:
    """Should this fail, `limits.max_messages` need not be counted by the hub."""
    saved = None
    for _ in range(2):  # of two turns with one message each, in teams that are built anew
        counting = RoundRobinGroupChat(
            speakers(Playing(GOOD)), termination_condition=MaxMessageTermination(3), max_turns=1
        )
        if saved is not None:
            await counting.load_state(saved)
        end = await counting.run(task="hi")
        assert end.stop_reason == "Maximum number of turns 1 reached."
        saved = await counting.save_state()


async def test_a_selector_adds_a_loaded_state_to_what_it_knows() -> None:
    """Should this fail, a team need not be built anew to be loaded."""
    chooser = Playing([result("beta")], [result("alpha")])
    team = SelectorGroupChat(speakers(*(Playing(GOOD) for _ in range(3))), chooser, max_turns=1)
    await team.run(task="hi")
    await team.load_state(await team.save_state())
    await team.run(task="go on")
    asked = [str(messages).count("user: hi") for messages in chooser.asked]
    assert asked == [1, 2]


async def test_a_state_is_loaded_as_far_as_it_goes() -> None:
    """Version and strangers are not looked at, and who is missing is missed when others are loaded already. Should this
    fail, the envelope of `state.seal` may say less."""
    team = RoundRobinGroupChat(speakers(Playing(GOOD), Playing(GOOD)), max_turns=1)
    await team.run(task="hi")
    saved = dict(await team.save_state())
    await RoundRobinGroupChat(speakers(Playing(GOOD)), max_turns=1).load_state({**saved, "version": "99"})
    larger = RoundRobinGroupChat(speakers(*(Playing(GOOD) for _ in range(3))), max_turns=1)
    with pytest.raises(ValueError, match="gamma"):
        await larger.load_state(saved)
    half = await larger.save_state()
    assert half["agent_states"]["alpha"]["agent_state"]["llm_context"]["messages"]


async def test_a_team_that_was_stopped_in_a_turn_has_lost_it() -> None:
    """Who was speaking has had the turn, and hears the question twice. Should this fail, a turn that was cut off need
    not be done again from the checkpoint before it."""
    hangs = Playing(GOOD)
    hangs.go_on.clear()
    team, token = RoundRobinGroupChat(speakers(hangs, Playing(GOOD)), max_turns=1), CancellationToken()
    run = asyncio.create_task(team.run(task="hi", cancellation_token=token))
    await hangs.is_asked.wait()
    saved = await team.save_state()
    await kill(run, token, knowing(team))
    (manager,) = [one for one in saved["agent_states"].values() if "next_speaker_index" in one]
    assert manager["next_speaker_index"] == 1
    again = Playing(GOOD)
    after = RoundRobinGroupChat(speakers(again, Playing(GOOD)), max_turns=1)
    await after.load_state(saved)
    end = await after.run()
    assert [message.source for message in end.messages] == ["beta"]


async def test_a_team_runs_once_at_a_time() -> None:
    """Should this fail, a run might be steered in the middle of a turn."""
    client = Playing(GOOD)
    client.go_on.clear()
    team, token = alone(client), CancellationToken()
    run = asyncio.create_task(team.run(task="hi", cancellation_token=token))
    await client.is_asked.wait()
    with pytest.raises(ValueError, match="already running"):
        await team.run(task="and this")
    await kill(run, token, knowing(team))


# ---- what is in a team, and in a call


async def test_a_team_is_no_agent_of_a_swarm_or_a_graph() -> None:
    """Should this fail, teams within these kinds need not be agents of ours."""
    inner = RoundRobinGroupChat(speakers(Playing(GOOD)), max_turns=1)
    with pytest.raises((TypeError, AttributeError)):
        Swarm([inner])  # type: ignore[list-item]
    graph = DiGraphBuilder().add_node(inner)  # type: ignore[arg-type]
    with pytest.raises((TypeError, AttributeError)):
        GraphFlow([inner], graph.build())  # type: ignore[list-item]


async def test_an_agent_that_is_asked_as_a_tool_tells_of_a_person_who_has_said_nothing() -> None:
    """Should this fail, `asking` may use AutoGen's own."""
    tool = AgentTool(AssistantAgent("checker", Playing(GOOD)))
    heard = [item async for item in tool.run_json_stream({"task": "check this"}, CancellationToken(), "1")]
    assert ("user", "check this") in [(getattr(i, "source", ""), getattr(i, "content", "")) for i in heard]


async def test_a_handoff_to_nobody_ends_a_swarm_without_a_word() -> None:
    """Should this fail, `handoffs` need not see to it that each target is there."""
    lost = AssistantAgent("alpha", Playing([call("transfer_to_nobody")]), handoffs=[Handoff(target="nobody")])
    with pytest.raises(RuntimeError) as caught:
        await played(Swarm([lost, AssistantAgent("beta", Playing(GOOD))], max_turns=2))
    assert str(caught.value).rstrip().endswith("\nAssertionError")


async def test_what_a_tool_raises_is_an_answer_but_for_what_ends_programs() -> None:
    """Should the second half fail, `SafeWorkbench` may leave `BaseException` alone."""

    class Ends(BaseException):
        pass

    async def fails() -> str:
        """Fails."""
        raise Broken("no")

    async def ends() -> str:
        """Ends."""
        raise Ends

    client = Playing([call("fails")], GOOD)
    await played(alone(client, tools=[fails], reflect_on_tool_use=True))
    (answered,) = [message for message in client.asked[1] if message.type == "FunctionExecutionResultMessage"]
    assert answered.content[0].is_error
    client = Playing([call("unknown")], GOOD)
    await played(alone(client, tools=[fails], reflect_on_tool_use=True))
    (answered,) = [message for message in client.asked[1] if message.type == "FunctionExecutionResultMessage"]
    assert answered.content[0].is_error
    assert await hangs(alone(Playing([call("ends")], GOOD), tools=[ends]))


async def test_a_token_that_is_cancelled_in_a_tool_hangs_the_team() -> None:
    """Should this fail (autogen#7956), `SafeWorkbench` need not answer for a call that was cancelled."""
    begun = asyncio.Event()

    async def waits() -> str:
        """Waits."""
        begun.set()
        await asyncio.Event().wait()
        return ""

    team, token = alone(Playing([call("waits")], GOOD), tools=[waits]), CancellationToken()
    run = asyncio.create_task(team.run(task="hi", cancellation_token=token))
    await begun.wait()
    token.cancel()
    await asyncio.wait({run}, timeout=HANGS_S)
    still = not run.done()
    await kill(run, token, knowing(team))
    assert still


async def test_tools_that_cannot_be_listed_a_second_time_hang_the_team() -> None:
    """Should this fail, our workbench need not know its tools by itself."""

    class Dying(StaticWorkbench):
        listed = 0

        async def list_tools(self) -> Any:
            self.listed += 1
            if self.listed > 1:
                raise Broken
            return await super().list_tools()

    assert await hangs(
        alone(Playing([call("now")], GOOD), workbench=Dying([FunctionTool(now, description="The time.")]))
    )


async def test_thoughts_are_marked_in_the_stream_and_a_message_of_their_own() -> None:
    """Should this fail, `SpeakingClient` need not tell of them itself."""
    items = await played(alone(Playing(["Hello", result("Hello", thought="Hm.")])))
    (thought,) = [item for item in items if isinstance(item, ThoughtEvent)]
    (said,) = [item for item in items if isinstance(item, TextMessage) and item.source == "alpha"]
    (piece,) = [item for item in items if isinstance(item, ModelClientStreamingChunkEvent)]
    assert (thought.content, said.content) == ("Hm.", "Hello")
    assert piece.full_message_id == thought.id != said.id


# ---- back-pressure


async def test_nobody_who_listens_slows_a_team() -> None:
    """Its queue has no bound. Should this fail, tokens need not be taken at the agent for the sake of slow readers."""
    given = list[str]()

    class Counting(Playing):
        async def create_stream(self, messages: Any, **options: Any) -> Any:
            for number in range(100):
                given.append("x")
                if number % 10 == 0:
                    await asyncio.sleep(0)
                yield "x"
            yield result("x" * 100)

    stream = alone(Counting(GOOD)).run_stream(task="hi")
    async with asyncio.timeout(30):
        await anext(stream)
        while len(given) < 100:  # noqa: ASYNC110 - nobody reads, and nothing announces it
            await asyncio.sleep(0.001)
        async for _ in stream:
            pass
