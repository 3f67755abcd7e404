import type { OnBusy } from "agent-hub-client";

/**
 * A message that is not in the transcript yet. `onBusy`: what it does to a live run (null: as the session has it).
 * `error`: why it was not sent; `acknowledged`: it is in the log.
 */
export interface Pending {
  clientId: string;
  text: string;
  /** Ids and names of what goes with it. */
  attachments?: readonly { id: string; name: string }[];
  to: string | null;
  onBusy: OnBusy | null;
  error: string | null;
  acknowledged: boolean;
}

/** What a user has written but is not in the log yet, kept over a reload of this tab. Nobody else sends it. */
export class Drafts {
  readonly #text: string;
  readonly #pending: string;

  constructor(user: string, session: string) {
    this.#text = `agent-hub.draft.${user}.${session}`;
    this.#pending = `agent-hub.pending.${user}.${session}`;
  }

  text(): string {
    return sessionStorage.getItem(this.#text) ?? "";
  }

  keepText(text: string): void {
    keep(this.#text, text === "" ? null : text);
  }

  pending(): Pending[] {
    return JSON.parse(sessionStorage.getItem(this.#pending) ?? "[]") as Pending[];
  }

  keepPending(pending: readonly Pending[]): void {
    keep(this.#pending, pending.length === 0 ? null : JSON.stringify(pending));
  }
}

function keep(key: string, value: string | null): void {
  if (value === null) return sessionStorage.removeItem(key);
  try {
    sessionStorage.setItem(key, value);
  } catch {
    sessionStorage.removeItem(key); // the browser keeps no more: it is sent all the same, but lost with the tab
  }
}
