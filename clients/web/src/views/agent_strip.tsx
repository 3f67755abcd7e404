import type { Conversation } from "../store/conversation.ts";
import { Avatar, lane, SPEAKERS } from "./avatar.tsx";

const WORDS = {
  thinking: "thinking",
  writing: "writing",
  calling: "using a tool",
  asking: "waits for an answer",
  idle: "",
};

/** Who is in the team and what each is doing; a click shows an agent's last message. */
export function AgentStrip({ conversation }: { conversation: Conversation }) {
  const agents = conversation.team.value?.agents ?? [];
  const activity = conversation.transcript.activity.value;
  const asking = new Set(
    conversation.transcript.items.value.flatMap((item) =>
      item.kind === "request" && item.state.value === "open" ? [item.request.agent] : [],
    ),
  );
  const show = (name: string) => {
    const last = conversation.transcript.items.value.findLast(
      (item) => item.kind === "agent" && item.author.name === name,
    );
    if (last)
      document
        .querySelector(`[data-message="${CSS.escape(last.key)}"]`)
        ?.scrollIntoView({ block: "start", behavior: "smooth" });
  };
  if (agents.length === 0) return null;
  return (
    <ul class="agents" aria-label="Agents">
      {agents.map((agent) => {
        const doing = asking.has(agent.name) ? "asking" : (activity.get(agent.name) ?? "idle");
        return (
          <li key={agent.name}>
            <button
              type="button"
              class={`agent-chip ${doing} ${lane(agent.name, agents)}`}
              onClick={() => show(agent.name)}
            >
              <Avatar name={agent.display_name} kind="agent" />
              <span class="name">{agent.display_name}</span>
              <span class="doing">{WORDS[doing] || SPEAKERS[agent.kind]}</span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}
