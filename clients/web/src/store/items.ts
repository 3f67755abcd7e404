import type { Signal } from "@preact/signals";
import type { AgentAuthor, InputRequestedData, InputResolvedData, UsageData, UserAuthor } from "agent-hub-client";

/** What a transcript shows, one after the other. What may change later is a signal. */
export type Item = UserItem | AgentItem | ToolItem | RequestItem | NoticeItem;

export interface UserItem {
  kind: "user";
  key: string;
  author: UserAuthor;
  /** Null: redacted. */
  text: Signal<string | null>;
  to: string | null;
  at: string;
  clientId: string;
}

export type Phase = "writing" | "complete" | "interrupted" | "failed" | "superseded" | "redacted";

export interface AgentItem {
  kind: "agent";
  key: string;
  author: AgentAuthor;
  run: string | null;
  turn: number;
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
  outcome: Signal<{ result: string; isError: boolean } | "pending" | "unknown">;
  run: string | null;
}

export interface RequestItem {
  kind: "request";
  key: string;
  request: InputRequestedData;
  resolved: Signal<InputResolvedData | null>;
}

export interface NoticeItem {
  kind: "notice";
  key: string;
  tone: "quiet" | "warning" | "error";
  text: string;
}
