"""A crew of CrewAI's as an agent of a team. Its dependencies do not go together with the hub's: it runs in an
environment and a process of its own, and speaks to the hub as a bot.

    python3 dev.py example crewai "Why is the sky blue?"

makes that environment, starts a hub, this program, and asks. Without CREW_MODEL (`openai/gpt-4o-mini`, with its key in
the environment) the crew talks on a model that only repeats what it is asked, so that it needs no key.
"""

import asyncio
import logging
import os
import secrets
import sys
from typing import Any

os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
os.environ.setdefault("CREWAI_TRACING_ENABLED", "false")
os.environ.setdefault("OTEL_SDK_DISABLED", "true")

from crewai import Agent, BaseLLM, Crew, Task
from crewai.llms.base_llm import llm_call_context

from examples.asking import ask
from hub_client import Bot, Rest, Turn
from hub_client.crews import speaks

logging.getLogger("crewai").setLevel(logging.ERROR)  # the model that repeats cannot count its tokens


class Repeating(BaseLLM):  # type: ignore[misc]
    """Repeats the question it is asked, word by word: where a real model would be."""

    def call(self, messages: Any, *args: Any, **options: Any) -> str:
        """CrewAI asks for it; the crew is run asynchronously."""
        return asyncio.run(self.acall(messages, *args, **options))

    async def acall(
        self, messages: Any, *_args: Any, from_task: Any = None, from_agent: Any = None, **_options: Any
    ) -> str:
        asked = messages if isinstance(messages, str) else str(messages[-1]["content"])
        question = asked.split("QUESTION:")[-1].split("\n")[0].strip()
        answer = f"I have thought about it: {question}"
        with llm_call_context():
            for word in answer.split(" "):
                await asyncio.sleep(0.02)
                self._emit_stream_chunk_event(f"{word} ", from_task=from_task, from_agent=from_agent)
        return answer


def crew(turn: Turn) -> Any:
    """A crew for one turn: CrewAI's objects keep what they have done."""
    model: Any = os.environ.get("CREW_MODEL") or Repeating(model="repeating")
    heard = "\n".join(f"{said.name}: {said.text}" for said in turn.context[-20:])
    researcher = Agent(role="Researcher", goal="Find what matters", backstory="Curious.", llm=model)
    writer = Agent(role="Writer", goal="Answer in one sentence", backstory="Brief.", llm=model)
    facts = Task(
        description=f"The conversation:\n{heard}\nQUESTION: {turn.prompt}\nName what matters for an answer.",
        expected_output="Two facts.",
        agent=researcher,
    )
    answer = Task(
        description=f"QUESTION: {turn.prompt}\nAnswer it.",
        expected_output="One sentence.",
        agent=writer,
        context=[facts],
    )
    return Crew(agents=[researcher, writer], tasks=[facts, answer], verbose=False)


async def main(url: str, question: str) -> int:
    name, password = f"crew-{secrets.token_hex(3)}", secrets.token_urlsafe(16)
    async with Rest(url) as rest:
        await rest.register(name, password)
    bot = Bot(url, name=name, password=password)
    bot.agent("crew")(speaks(crew))
    registered = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(bot.serve(lambda _: registered.set()))
        await registered.wait()
        code = await ask(url, name, password, "crew", question)
        serving.cancel()
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], " ".join(sys.argv[2:]) or "Why is the sky blue?")))
