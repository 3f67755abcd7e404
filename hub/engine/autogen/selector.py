"""Who speaks next in a team whose model picks the speaker."""

import re
from collections.abc import Awaitable, Callable, Sequence

from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage
from autogen_core.models import ChatCompletionClient, UserMessage

from hub.domain.team import AgentSpec, TeamSpec
from hub.engine.models.registry import HostedModel, Model

SHOWN_MESSAGES = 6
SHOWN_CHARACTERS = 400  # of each message

DEFAULT_PROMPT = """These people take part in a conversation:
{roles}

{history}

Who should speak next? Answer with one name of: {participants}."""

Thread = Sequence[BaseAgentEvent | BaseChatMessage]


def speaker_selection(
    spec: TeamSpec, model: Model, client: ChatCompletionClient, addressed: str | None
) -> Callable[[Thread], Awaitable[str]]:
    """A function that names the next speaker: the addressed one, else the model's choice, else the next in turn.

    The same agent never speaks twice running unless it is addressed. A model whose server takes a grammar cannot but
    name a candidate. Raises what the client raises.
    """

    async def choose(thread: Thread) -> str:
        if addressed is not None:
            return addressed
        names = [agent.name for agent in spec.agents]
        previous = next((m.source for m in reversed(thread) if m.source in names), None)
        candidates = [agent for agent in spec.agents if agent.name != previous]
        following = names[(names.index(previous) + 1) % len(names)] if previous is not None else names[0]
        if not isinstance(model, HostedModel) or len(candidates) == 1:
            return following
        answer = await client.create(
            [UserMessage(content=_prompt(spec, candidates, thread), source="user")],
            extra_create_args=_constraint(model, candidates),
        )
        return _named(str(answer.content), candidates) or following

    return choose


def _prompt(spec: TeamSpec, candidates: Sequence[AgentSpec], thread: Thread) -> str:
    said = [m for m in thread if isinstance(m, BaseChatMessage)][-SHOWN_MESSAGES:]
    parts = {
        "{roles}": "\n".join(f"{agent.name}: {agent.description or agent.display_name}" for agent in spec.agents),
        "{participants}": ", ".join(agent.name for agent in candidates),
        "{history}": "\n\n".join(f"{m.source}: {m.to_model_text()[:SHOWN_CHARACTERS]}" for m in said),
    }
    # Not str.format: a team's prompt is data, and what was said may hold braces.
    template = spec.selector_prompt or DEFAULT_PROMPT
    return re.sub(r"\{roles\}|\{participants\}|\{history\}", lambda found: parts[found[0]], template)


def _constraint(model: HostedModel, candidates: Sequence[AgentSpec]) -> dict[str, object]:
    if not model.takes_grammar:
        return {}
    alternatives = " | ".join(f'"{agent.name}"' for agent in candidates)
    return {"grammar": f"root ::= {alternatives}", "temperature": 0, "max_tokens": 16}


def _named(answer: str, candidates: Sequence[AgentSpec]) -> str | None:
    """The candidate that an answer names first."""
    found = [
        (match.start(), agent.name)
        for agent in candidates
        for name in (agent.name, agent.display_name)
        if (match := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", answer, re.IGNORECASE)) is not None
    ]
    return min(found)[1] if found else None
