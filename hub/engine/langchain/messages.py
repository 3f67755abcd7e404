"""Messages of LangChain, and the checkpoint of a runnable: what it knows, as JSON that makes nothing but messages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    message_to_dict,
    messages_from_dict,
)

from hub.domain.ids import new_id
from hub.engine.attached import Fetch, Picture, given, newest
from hub.engine.autogen.state import said_in
from hub.engine.base import Input

NAME = "langchain"
SCHEMA = 1
KEPT_MESSAGES = 400
MAX_STATE = 4_000_000  # characters
MESSAGES = "messages"


def heard(inputs: Iterable[Input]) -> list[BaseMessage]:
    """What the team has not seen yet."""
    return [
        AIMessage(content=given.text, name=given.source)
        if given.is_agent
        else HumanMessage(content=given.text, name=given.source)
        for given in inputs
    ]


async def shown(
    messages: Sequence[BaseMessage], fetch: Fetch, *, sees: bool
) -> tuple[list[BaseMessage], dict[str, BaseMessage]]:
    """The conversation with what is attached to its newest messages; and by their ids those that were changed, as they
    were: what is attached belongs into no state."""
    wanted = newest([_said(message) for message in messages], sees=sees)
    found = await fetch(wanted) if wanted else {}
    told, plain = list[BaseMessage](), dict[str, BaseMessage]()
    for message in messages:
        text, pictures = given(_said(message), found)
        if text == _said(message) and not pictures:
            told.append(message)
        else:
            kept = message.model_copy(update={"id": message.id or new_id()})
            plain[str(kept.id)] = kept
            told.append(kept.model_copy(update={"content": content(text, pictures)}))
    return told, plain


def content(text: str, pictures: Sequence[Picture]) -> str | list[str | dict[str, Any]]:
    """Words, and pictures as the content blocks that all of LangChain's models take."""
    if not pictures:
        return text
    shown = [{"type": "image", "base64": one.base64, "mime_type": one.media_type} for one in pictures]
    return [{"type": "text", "text": text}, *shown]


def text_of(message: BaseMessage) -> str:
    """The words of a message, without thoughts, pictures and calls."""
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in content if _is_text(part))


def thought_of(message: BaseMessage) -> str:
    """What a model thinks aloud beside its words, as far as its provider says so."""
    aside = message.additional_kwargs.get("reasoning_content")
    if isinstance(aside, str):
        return aside
    if isinstance(message.content, str):
        return ""
    parts = [part for part in message.content if isinstance(part, dict) and part.get("type") in _THOUGHTS]
    return "".join(str(part.get("thinking") or part.get("reasoning") or "") for part in parts)


def seal(values: Mapping[str, Any], said: Sequence[tuple[str, str]]) -> str:
    """What a graph knows, its newest messages only, as JSON text; `said` for an engine that cannot read the rest.

    ValueError for a state with something that JSON does not have.
    """
    kept = {key: value for key, value in values.items() if key != MESSAGES}
    messages = [message_to_dict(message) for message in _recent(values.get(MESSAGES, []))]
    envelope = {"engine": NAME, "schema": SCHEMA, "messages": messages, "values": kept, "history": said}
    try:
        text = orjson.dumps(envelope).decode()
    except TypeError as e:
        raise ValueError(f"the graph's state holds what JSON does not have: {e}") from e
    if len(text) > MAX_STATE:
        raise ValueError(f"the graph's state has more than {MAX_STATE:,} characters")
    return text


def unseal(text: str | None) -> tuple[dict[str, Any], list[BaseMessage]]:
    """What a graph knew beside its messages, and those. Of a state of another engine only what was said is taken.
    ValueError for what is no state."""
    if text is None:
        return {}, []
    match orjson.loads(text):
        case {"engine": "langchain", "schema": 1, "messages": list(messages), "values": dict(values)}:
            return values, messages_from_dict(messages)
        case {"engine": "scripted", "history": list(history)}:
            return {}, [HumanMessage(content=words, name=source) for source, words in history]
        case {"engine": "autogen", "team": dict(team)}:  # the team has become a runnable
            return {}, [HumanMessage(content=said.text, name=said.source) for said in said_in(team) if said.text]
        case _:
            raise ValueError("the state is not one of this engine")


def history_of(messages: Iterable[BaseMessage]) -> list[tuple[str, str]]:
    """Who has said what, for another engine."""
    return [
        (message.name or message.type, text)
        for message in _recent(list(messages))
        if isinstance(message, HumanMessage | AIMessage) and (text := text_of(message))
    ]


def _said(message: BaseMessage) -> str:
    return message.content if isinstance(message, HumanMessage) and isinstance(message.content, str) else ""


_THOUGHTS = ("thinking", "reasoning")


def _is_text(part: str | dict[str, Any]) -> bool:
    return isinstance(part, str) or part.get("type") in ("text", "text_delta")


def _recent(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    kept = list(messages[-KEPT_MESSAGES:])
    while kept and isinstance(kept[0], ToolMessage):
        del kept[0]  # providers refuse a tool's result without the call it answers
    return kept
