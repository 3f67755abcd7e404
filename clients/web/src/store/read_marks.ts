import { signal } from "@preact/signals";
import type { SessionData } from "agent-hub-client";

const STORED = "agent-hub.read";
const KEPT = 500;

/** Up to which seq a user has read each session in this browser. */
export class ReadMarks {
  readonly #marks = signal<ReadonlyMap<string, number> | null>(null);
  readonly #stored: string;

  constructor(user: string) {
    this.#stored = `${STORED}.${user}`;
    this.#marks.value = load(this.#stored);
  }

  /** The first look ever: everything there is counts as read. */
  begin(sessions: readonly SessionData[]): void {
    if (this.#marks.value !== null) return;
    this.#keep(new Map(sessions.map(({ id, last_seq }) => [id, last_seq])));
  }

  isUnread(session: SessionData): boolean {
    return this.#marks.value !== null && session.last_seq > (this.#marks.value.get(session.id) ?? 0);
  }

  /** Up to which seq a session was read; null: it never was. */
  get(session: string): number | null {
    return this.#marks.peek()?.get(session) ?? null;
  }

  read(session: string, seq: number): void {
    const marks = this.#marks.peek() ?? new Map<string, number>();
    if ((marks.get(session) ?? 0) >= seq) return;
    const others = [...marks].filter(([id]) => id !== session);
    this.#keep(new Map([...others, [session, seq] as const].slice(-KEPT)));
  }

  #keep(marks: ReadonlyMap<string, number>): void {
    this.#marks.value = marks;
    localStorage.setItem(this.#stored, JSON.stringify([...marks]));
  }
}

function load(key: string): Map<string, number> | null {
  const text = localStorage.getItem(key);
  return text === null ? null : new Map(JSON.parse(text) as [string, number][]);
}
