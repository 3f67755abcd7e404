"""Chainlit as AutoGen's own sample for it streams a team; runs in an environment of its own."""

import json
import logging
import os

import chainlit as cl
from autogen_agentchat.messages import ModelClientStreamingChunkEvent, TextMessage
from autogen_agentchat.teams import RoundRobinGroupChat

# Chainlit lets everybody log at INFO, and AutoGen would write several lines for each token.
logging.getLogger("autogen_core").setLevel(logging.WARNING)


@cl.on_chat_start  # type: ignore[untyped-decorator]  # not installed beside the hub
async def start() -> None:
    """A team for each chat."""
    team = RoundRobinGroupChat.load_component(json.loads(os.environ["BENCH_TEAM"]))
    cl.user_session.set("team", team)


@cl.on_message  # type: ignore[untyped-decorator]
async def answer(message: cl.Message) -> None:
    """Each agent's turn is a message that grows."""
    team: RoundRobinGroupChat = cl.user_session.get("team")
    growing: cl.Message | None = None
    async for event in team.run_stream(task=[TextMessage(content=message.content, source="user")]):
        if isinstance(event, ModelClientStreamingChunkEvent):
            if growing is None:
                growing = cl.Message(content="", author=event.source)
            await growing.stream_token(event.content)
        elif growing is not None:
            await growing.send()
            growing = None
