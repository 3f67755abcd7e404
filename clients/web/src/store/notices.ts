import type { DurableEvent, RunFinishedData } from "agent-hub-client";
import { sentence } from "../text/sentence.ts";
import type { NoticeItem } from "./items.ts";

type Words = Omit<NoticeItem, "kind" | "key">;

const BUDGETS: Record<string, string | undefined> = {
  run: "The budget of this run",
  session: "The budget of this session",
  user: "The user's budget of today",
  organisation: "The organisation's budget of today",
};

const quiet = (text: string): Words => ({ tone: "quiet", text });

/** The line an event leaves in the transcript; null: none. */
export function notice(event: DurableEvent, displayName: (agent: string) => string): Words | null {
  switch (event.type) {
    case "session.created":
      return event.data.forked_from ? quiet("A fork: what follows was said in another session") : null;
    case "member.added":
      return event.data.role === "owner" ? null : quiet(`${event.data.name} was invited as ${event.data.role}`);
    case "member.removed":
      return quiet(`${event.data.name} is no longer a member`);
    case "member.updated":
      return quiet(`${event.data.name} is now ${event.data.role}`);
    case "agent.handoff":
      return quiet(
        `${displayName(event.data.from)} hands over to ${displayName(event.data.to)}${because(event.data.reason)}`,
      );
    case "turn.superseded":
      return {
        tone: "warning",
        text: `Turn ${event.data.turn + 1} was interrupted and is done again${because(event.data.reason)}`,
      };
    case "budget.reached":
      return {
        tone: "warning",
        text: `${BUDGETS[event.data.scope] ?? "A budget"} is used up: ${event.data.used} of ${event.data.limit} ${event.data.quantity.replace("_", " ")}`,
      };
    case "run.finished":
      return finished(event.data);
    default:
      return null;
  }
}

function finished(data: RunFinishedData): Words {
  switch (data.status) {
    case "cancelled":
      return quiet("Stopped");
    case "failed":
      if (data.error?.code === "budget_exceeded") return quiet("The run ended here"); // why has just been said
      return {
        tone: "error",
        text: data.error ? sentence(data.error.message) : `The run failed${because(data.reason)}.`,
        unanswered: data.input_seq,
      };
    case "completed": {
      const tokens = data.usage.prompt_tokens + data.usage.completion_tokens;
      const parts = [`${data.turns} ${data.turns === 1 ? "turn" : "turns"}`];
      if (tokens > 0) parts.push(`${tokens.toLocaleString("en")} tokens`);
      parts.push(`${(data.duration_ms / 1000).toFixed(1)} s`);
      return quiet(parts.join(" · "));
    }
  }
}

function because(reason: string): string {
  return reason ? ` (${reason.replaceAll("_", " ")})` : "";
}
