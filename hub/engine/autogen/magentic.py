"""Teams led by an orchestrator, as in Magentic-One: it gathers facts, makes a plan, tells one agent after the other
what to do, notes whether that is progress, plans anew when it is not, and answers in the end.

One turn is one step: what the orchestrator has to think, and one agent's words; or its own answer. AutoGen's own
orchestrator does all steps in one go, and begins every run with a new plan even when it goes on from a checkpoint.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autogen_agentchat.base import ChatAgent, Response
from autogen_agentchat.messages import BaseChatMessage, MessageFactory, StopMessage, TextMessage
from autogen_agentchat.teams import MagenticOneGroupChat
from autogen_agentchat.teams._group_chat._events import (
    GroupChatAgentResponse,
    GroupChatRequestPublish,
    GroupChatStart,
    GroupChatTeamResponse,
    SerializableException,
)
from autogen_agentchat.teams._group_chat._magentic_one._magentic_one_orchestrator import MagenticOneOrchestrator
from autogen_agentchat.teams._group_chat._magentic_one._prompts import ORCHESTRATOR_FINAL_ANSWER_PROMPT, LedgerEntry
from autogen_core import CancellationToken, DefaultTopicId, MessageContext, event, rpc
from autogen_core.models import AssistantMessage, LLMMessage, UserMessage
from autogen_core.utils import extract_json_from_str

from hub.domain.ids import new_id
from hub.domain.run import Usage
from hub.domain.team import ORCHESTRATOR, AgentSpec
from hub.engine.autogen.metered import MeteredClient, SpeakingClient
from hub.engine.autogen.telling import Telling
from hub.engine.base import NOT_PEOPLE, AgentStarted, Failure, MessageEnded, TextDelta
from hub.engine.models.errors import ModelError

MORE = "Maximum number of turns 1 reached."  # AutoGen's words for: the team would go on
ORCHESTRATING = AgentSpec(ORCHESTRATOR, "Orchestrator")
LEDGER_TRIES = 3
KEPT_EARLIER = 60  # messages before the last plan
KEPT_CHARACTERS = 24_000
SHOWN_CHARACTERS = 4_000  # of each of them

_EARLIER = "(What was said before in this conversation:\n{earlier}\n)\n\n{task}"
_NOT_ONE = "That is not the JSON object that was asked for: {complaint}. Answer with that object, and nothing else."


@dataclass(frozen=True, slots=True)
class Lead:
    """How this turn is led. `asks_model` is false for a scripted model, which has no answers to questions: then its
    agents speak in turn. With `begins` it is the first turn of a run, with `answers` the last. `forced` is an agent
    that speaks without being asked to."""

    thinking: MeteredClient
    speaking: SpeakingClient
    telling: Telling
    asks_model: bool
    begins: bool
    answers: bool
    forced: str | None
    max_stalls: int


class HubOrchestrator(MagenticOneOrchestrator):
    """Does one step, and goes on from its saved state with the next."""

    def __init__(self, lead: Lead, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._lead = lead
        self._earlier: list[tuple[str, str]] = []
        """What was said, as who and what: agents and the orchestrator forget it with every new plan."""
        self._spoken = ""
        self._replanned = False

    @rpc
    async def handle_start(self, message: GroupChatStart, ctx: MessageContext) -> None:  # type: ignore[override]
        lead, given = self._lead, list(message.messages or ())
        begins = lead.begins or not self._task
        if begins and given:
            self._begin(given)
        elif given:
            self._task += "".join(f"\n\n{said.to_model_text()}" for said in given)
        plans = begins and lead.asks_model and lead.forced is None and not lead.answers
        if given and not plans:  # else the plan tells it
            await self.update_message_thread(given)
            await self.publish_message(
                GroupChatStart(messages=given),
                topic_id=DefaultTopicId(type=self._group_topic_type),
                cancellation_token=ctx.cancellation_token,
            )
        self._remember(*((said.source, said.to_model_text()) for said in given))
        if plans:
            await self._plan_first(ctx.cancellation_token)
            await self._reenter_outer_loop(ctx.cancellation_token)
        else:
            await self._orchestrate_step(ctx.cancellation_token)

    @event
    async def handle_agent_response(  # type: ignore[override]
        self,
        message: GroupChatAgentResponse | GroupChatTeamResponse,
        ctx: MessageContext,  # noqa: ARG002 - AutoGen gives it
    ) -> None:
        try:
            assert isinstance(message, GroupChatAgentResponse)
            said = message.response.chat_message
            await self.update_message_thread([said])
            if text := said.to_model_text():
                self._remember((said.source, text))
            self._spoken = message.name
            await self._signal_termination(StopMessage(content=MORE, source=self._name))
        except Exception as e:
            await self._signal_termination_with_error(SerializableException.from_exception(e))
            raise

    async def save_state(self) -> Mapping[str, Any]:
        return {**await super().save_state(), "earlier": self._earlier, "spoken": self._spoken}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        await super().load_state(state)
        self._earlier = [(source, text) for source, text in state["earlier"]]
        self._spoken = state["spoken"]

    def _begin(self, given: Sequence[BaseChatMessage]) -> None:
        """Take the newest message as what is asked for, and everything else as what was said before it."""
        before = [*self._earlier, *((said.source, said.to_model_text()) for said in given[:-1])]
        told = "\n\n".join(f"{source} said:\n{text[:SHOWN_CHARACTERS]}" for source, text in before)
        asked = given[-1].to_model_text()
        self._task = _EARLIER.format(earlier=told, task=asked) if told else asked
        self._facts = self._plan = ""
        self._n_rounds = self._n_stalls = 0

    def _remember(self, *said: tuple[str, str]) -> None:
        self._earlier = [*self._earlier, *said][-KEPT_EARLIER:]
        while len(self._earlier) > 1 and sum(len(text) for _, text in self._earlier) > KEPT_CHARACTERS:
            del self._earlier[0]

    async def _plan_first(self, token: CancellationToken) -> None:
        asked: list[LLMMessage] = [
            UserMessage(content=self._get_task_ledger_facts_prompt(self._task), source=self._name)
        ]
        self._facts = await self._ask(asked, token)
        asked.append(AssistantMessage(content=self._facts, source=self._name))
        prompt = self._get_task_ledger_plan_prompt(self._team_description)
        self._plan = await self._ask([*asked, UserMessage(content=prompt, source=self._name)], token)

    async def _orchestrate_step(self, cancellation_token: CancellationToken) -> None:
        """One agent speaks, or the orchestrator answers."""
        lead, token = self._lead, cancellation_token
        self._n_rounds += 1
        if lead.forced is not None:
            await self._call_on(lead.forced, token)
        elif lead.answers:
            await self._answer(token)
        elif not lead.asks_model:
            names = self._participant_names
            following = names.index(self._spoken) + 1 if self._spoken in names and not lead.begins else 0
            await self._call_on(names[following % len(names)], token)
        else:
            await self._next_step(token)

    async def _next_step(self, token: CancellationToken) -> None:
        ledger = await self._ledger(token)
        if ledger.is_request_satisfied.answer:
            await self._answer(token)
            return
        stalls = not ledger.is_progress_being_made.answer or ledger.is_in_loop.answer
        self._n_stalls = self._n_stalls + 1 if stalls else max(0, self._n_stalls - 1)
        if self._n_stalls >= self._lead.max_stalls and not self._replanned:
            self._n_stalls, self._replanned = 0, True  # once a turn: a turn has an end
            await self._update_task_ledger(token)
            await self._reenter_outer_loop(token)
            return
        instruction = TextMessage(content=ledger.instruction_or_question.answer, source=self._name)
        await self._instruct(instruction.content)
        await self.update_message_thread([instruction])
        await self._broadcast(instruction, token)
        await self._call_on(ledger.next_speaker.answer, token)

    async def _call_on(self, name: str, token: CancellationToken) -> None:
        await self.publish_message(
            GroupChatRequestPublish(),
            topic_id=DefaultTopicId(type=self._participant_name_to_topic_type[name]),
            cancellation_token=token,
        )

    async def _broadcast(self, message: TextMessage, token: CancellationToken) -> None:
        await self.publish_message(
            GroupChatAgentResponse(response=Response(chat_message=message), name=self._name),
            topic_id=DefaultTopicId(type=self._group_topic_type),
            cancellation_token=token,
        )

    async def _instruct(self, text: str) -> None:
        """Let everybody see what an agent is asked for."""
        message, telling = new_id(), self._lead.telling
        await telling.tell(AgentStarted(ORCHESTRATING))
        await telling.tell(TextDelta(message, ORCHESTRATING, text))
        await telling.tell(MessageEnded(message, ORCHESTRATING, text, Usage()))

    async def _answer(self, token: CancellationToken) -> None:
        """Say what came of it, and end the run."""
        await self._lead.telling.tell(AgentStarted(ORCHESTRATING))
        prompt = UserMessage(content=self._get_final_answer_prompt(self._task), source=self._name)
        answer = await self._lead.speaking.create([*self._thread_to_context(), prompt], cancellation_token=token)
        message = TextMessage(content=str(answer.content), source=self._name)
        await self.update_message_thread([message])
        self._remember((self._name, message.content))
        await self._broadcast(message, token)
        await self._signal_termination(StopMessage(content="done", source=self._name))

    async def _ledger(self, token: CancellationToken) -> LedgerEntry:
        """What the model makes of the conversation so far. Raises ModelError when it cannot be read."""
        prompt = self._get_progress_ledger_prompt(self._task, self._team_description, self._participant_names)
        asked = [*self._thread_to_context(), UserMessage(content=prompt, source=self._name)]
        complaint = ""
        for _ in range(LEDGER_TRIES):
            answer = await self._ask(asked, token, json_output=self._model_client.model_info["json_output"])
            try:
                (found,) = extract_json_from_str(answer)
                if len(self._participant_names) == 1:
                    found["next_speaker"] = {"reason": "", "answer": self._participant_names[0]}
                ledger = LedgerEntry.model_validate(found)
                if not ledger.is_request_satisfied.answer:
                    self._participant_names.index(ledger.next_speaker.answer)
            except (ValueError, TypeError, RecursionError) as e:  # pydantic's and JSON's errors are ValueErrors
                complaint = str(e)[:300]
                said = AssistantMessage(content=answer, source=self._name)
                again = UserMessage(content=_NOT_ONE.format(complaint=complaint), source=self._name)
                asked = [*asked, said, again]
            else:
                return ledger
        fault = ModelError(Failure.MALFORMED_OUTPUT, "the orchestrator's ledger cannot be read")
        self._lead.telling.fault = fault
        raise fault

    async def _ask(self, messages: Sequence[LLMMessage], token: CancellationToken, **options: Any) -> str:
        answer = await self._lead.thinking.create(messages, cancellation_token=token, **options)
        return str(answer.content)


class HubMagentic(MagenticOneGroupChat):
    """One step of a team with an orchestrator."""

    def __init__(self, agents: list[ChatAgent], lead: Lead) -> None:
        super().__init__(agents, lead.thinking, max_stalls=lead.max_stalls)
        self._base_group_chat_manager_class = HubOrchestrator
        self._lead = lead

    def _create_group_chat_manager_factory(
        self,
        name: str,
        group_topic_type: str,
        output_topic_type: str,
        participant_topic_types: list[str],
        participant_names: list[str],
        participant_descriptions: list[str],
        output_message_queue: asyncio.Queue[Any],
        termination_condition: Any,
        max_turns: int | None,
        message_factory: MessageFactory,
    ) -> Callable[[], HubOrchestrator]:
        assert name.casefold() in NOT_PEOPLE, "what somebody of this name says would be taken for its own words"
        return lambda: HubOrchestrator(
            self._lead,
            name,
            group_topic_type,
            output_topic_type,
            participant_topic_types,
            participant_names,
            participant_descriptions,
            max_turns,
            message_factory,
            self._lead.thinking,
            self._lead.max_stalls,
            ORCHESTRATOR_FINAL_ANSWER_PROMPT,
            output_message_queue,
            termination_condition,
            emit_team_events=False,
        )
