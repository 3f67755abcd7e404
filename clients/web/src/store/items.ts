import type { Signal } from "@preact/signals";
import type { AgentAuthor, InputRequestedData, InputResolvedData, UsageData, UserAuthor } from "agent-hub-client";

/** What a transcript shows, one after the other. What may change later is a signal. */
export type Item = UserItem | AgentItem | ToolItem | RequestItem | NoticeItem | BranchItem;

/** What a message has beside its words. */
export interface Attached {
  id: string;
  name: string;
  mediaType: string;
  size: number;
}

export interface UserItem {
  kind: "user";
  key: string;
  seq: number;
  author: UserAuthor;
  text: Signal<string>;
  attached: readonly Attached[];
  to: string | null;
  at: string;
  clientId: string;
  /** The message in whose place it stands. */
  replaces: string | null;
  fate: Signal<Fate>;
}

/**
 * What became of a message of a user. `queued`: the run that will answer it waits. `steering`: it is for the live run,
 * which has not taken it in yet; `steered`: it has; `follow_up`: it was too late. `redacted`: removed by somebody.
 */
export type Fate =
  | { kind: "said" }
  | { kind: "queued"; run: string }
  | { kind: "steering" }
  | { kind: "steered"; turn: number | null }
  | { kind: "follow_up" }
  | { kind: "redacted"; by: string };

export type Phase = "writing" | "complete" | "interrupted" | "failed" | "superseded" | "redacted";

export interface AgentItem {
  kind: "agent";
  key: string;
  author: AgentAuthor;
  run: string | null;
  turn: number;
  /** Null: it is not in the log yet. */
  seq: Signal<number | null>;
  text: Signal<string>;
  reasoning: Signal<string>;
  phase: Signal<Phase>;
  usage: Signal<UsageData | null>;
  at: Signal<string | null>;
}

export interface ToolItem {
  kind: "tool";
  key: string;
  agent: string;
  name: string;
  arguments: Record<string, unknown>;
  /** Somebody has to approve it first. */
  waits: Signal<boolean>;
  outcome: Signal<{ result: string; isError: boolean } | "pending" | "unknown">;
  run: string | null;
}

export interface RequestItem {
  kind: "request";
  key: string;
  request: InputRequestedData;
  /** The call that is to be approved. */
  tool: ToolItem | null;
  run: string | null;
  /** Who has approved, where it takes several. */
  yeses: Signal<readonly string[]>;
  /** `abandoned`: its run has ended without an answer. */
  state: Signal<"open" | "abandoned" | (InputResolvedData & { at: string })>;
}

export interface NoticeItem {
  kind: "notice";
  key: string;
  tone: "quiet" | "warning" | "error";
  text: string;
  /** The seq of the message that a run was to answer, and did not. */
  unanswered?: number;
}

/** What was said before a message was edited, or before the team was asked to answer again. */
export interface BranchItem {
  kind: "branch";
  key: string;
  items: readonly Item[];
}
