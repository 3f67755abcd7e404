import type { Conversation } from "../store/conversation.ts";
import type { ToolItem } from "../store/items.ts";
import { visibleJson } from "../text/visible.ts";
import { lane } from "./avatar.tsx";
import { Fold } from "./fold.tsx";
import { Tool } from "./icons.tsx";
import { CopyButton } from "./markdown.tsx";

const SHORT = 60; // characters of the arguments that the summary shows

/** A tool that an agent uses: what it was given, and what came of it. */
export function ToolCall({ item, conversation }: { item: ToolItem; conversation: Conversation }) {
  const outcome = item.outcome.value;
  const failed = typeof outcome === "object" && outcome.isError;
  const waits = item.waits.value;
  const state =
    outcome === "pending"
      ? waits
        ? "waits for an answer"
        : "running"
      : outcome === "unknown"
        ? "no answer"
        : failed
          ? "failed"
          : "done";
  const summary = (
    <>
      <Tool />
      <span class="call">
        <b>{conversation.displayName(item.agent)}</b> uses <code>{item.name}</code>{" "}
        <span class="given">{short(item.arguments)}</span>
      </span>
      <span class={`tag ${failed ? "bad" : ""}`}>{state}</span>
      {outcome === "pending" && !waits && <span class="spinner" aria-hidden="true" />}
    </>
  );
  return (
    <Fold class={`tool ${lane(item.agent, conversation.team.value?.agents ?? [])}`} summary={summary}>
      <Piece title="Arguments" text={visibleJson(item.arguments)} />
      {typeof outcome === "object" && <Piece title={outcome.isError ? "Error" : "Result"} text={outcome.result} />}
    </Fold>
  );
}

function Piece({ title, text }: { title: string; text: string }) {
  return (
    <section class="piece">
      <header>
        <h3>{title}</h3>
        <CopyButton text={text} what={title.toLowerCase()} />
      </header>
      <pre tabIndex={0}>{text || "(nothing)"}</pre>
    </section>
  );
}

/** Arguments in one line. */
function short(given: Record<string, unknown>): string {
  const text = Object.entries(given)
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
  return text.length <= SHORT ? text : `${text.slice(0, SHORT)}…`;
}
