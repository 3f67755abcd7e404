"""What the agent servers of the bench are made to say is what the hub's scripted team says."""

from autogen_agentchat.messages import ModelClientStreamingChunkEvent, TextMessage
from autogen_agentchat.teams import RoundRobinGroupChat

from hub.engine.script import plan
from loadtests.bench.agents.talk import Talk
from loadtests.judge import script


async def test_both_say_the_same_tokens_in_the_same_turns() -> None:
    talk = Talk(turns=3, tokens=40)
    asked = plan(script(talk.tokens, 0, talk.turns))
    expected = [list(asked.pieces(turn, ())) for turn in range(talk.turns)]

    team = RoundRobinGroupChat.load_component(talk.team())
    pieces: list[list[str]] = [[]]
    whole = list[str]()
    async for event in team.run_stream(task="Talk."):
        if isinstance(event, ModelClientStreamingChunkEvent):
            pieces[-1].append(event.content)
        elif isinstance(event, TextMessage) and event.source != "user":
            whole.append(event.content)
            pieces.append([])

    assert pieces[:-1] == expected
    assert whole == talk.texts() == ["".join(turn) for turn in expected]
