import type { AgentAuthor, MessageDelta, MessageSnapshot, ReasoningDelta } from "./protocol.ts";

/** A message that is being written. The same object is kept while it is open; its fields change. */
export interface OpenMessage {
  readonly id: string;
  readonly run: string | null;
  readonly turn: number;
  readonly author: AgentAuthor;
  /** Everything received so far, without a hole. */
  text: string;
  reasoning: string;
  /** A piece is missing: `text` stands still until a snapshot or the completed message comes. */
  waiting: boolean;
}

interface Entry {
  message: OpenMessage;
  next: number;
  nextReasoning: number;
}

const REMEMBERED = 256; // closed messages; a late piece of an older one cannot come any more

/** Puts the pieces of a session's open messages together, by the protocol's index rules. */
export class OpenMessages {
  readonly #entries = new Map<string, Entry>();
  readonly #closed = new Set<string>();

  /** The open messages in the order in which they were opened. */
  all(): OpenMessage[] {
    return [...this.#entries.values()].map((entry) => entry.message);
  }

  /** Adds a piece. Null: nothing changed (it was known already, or a piece before it is missing). */
  delta(event: MessageDelta): OpenMessage | null {
    const { data } = event;
    if (this.#closed.has(data.message)) return null;
    const entry = this.#entries.get(data.message) ?? this.#open(event);
    if (data.index + (data.n ?? 1) <= entry.next) return null;
    if (data.index !== entry.next) {
      entry.message.waiting = true;
      return null;
    }
    entry.next += data.n ?? 1;
    entry.message.text += data.text;
    entry.message.waiting = false;
    return entry.message;
  }

  /** Replaces the text so far: a snapshot is the hub's word, whatever was there before. */
  snapshot(event: MessageSnapshot): OpenMessage | null {
    if (this.#closed.has(event.data.message)) return null;
    const entry = this.#entries.get(event.data.message) ?? this.#open(event);
    entry.next = event.data.index;
    entry.message.text = event.data.text;
    entry.message.waiting = false;
    return entry.message;
  }

  /** Adds a piece of reasoning. It is best effort: a hole is shown as an ellipsis, not waited for. */
  reasoning(event: ReasoningDelta): OpenMessage | null {
    const { data } = event;
    if (this.#closed.has(data.message)) return null;
    const entry = this.#entries.get(data.message) ?? this.#open(event);
    if (data.index < entry.nextReasoning) return null;
    entry.message.reasoning += (data.index > entry.nextReasoning ? "… " : "") + data.text;
    entry.nextReasoning = data.index + 1;
    return entry.message;
  }

  /** The message has ended, one way or another: pieces that still come are ignored. */
  close(message: string): void {
    this.#entries.delete(message);
    this.#closed.add(message);
    if (this.#closed.size > REMEMBERED) {
      for (const oldest of this.#closed) {
        this.#closed.delete(oldest);
        break;
      }
    }
  }

  closeRun(run: string): void {
    for (const [id, { message }] of this.#entries) if (message.run === run) this.close(id);
  }

  clear(): void {
    this.#entries.clear();
  }

  #open(event: MessageDelta | MessageSnapshot | ReasoningDelta): Entry {
    const { message: id, turn, author } = event.data;
    const message = { id, run: event.run ?? null, turn, author, text: "", reasoning: "", waiting: false };
    const entry = { message, next: 0, nextReasoning: 0 };
    this.#entries.set(id, entry);
    return entry;
  }
}
