import { computed, signal } from "@preact/signals";
import type { Rest, SessionData, TeamResult } from "agent-hub-client";
import type { Account } from "./account.ts";
import { ReadMarks } from "./read_marks.ts";

const REFRESH_MS = 20_000;
const PAGE = 50;

/** The sessions of whoever is signed in, newest first, and the teams there are. */
export class Sessions {
  readonly list = signal<readonly SessionData[]>([]);
  readonly teams = signal<readonly TeamResult[]>([]);
  readonly loaded = signal(false);
  readonly hasMore = computed(() => this.#cursor.value !== null);
  readonly #cursor = signal<string | null>(null);
  readonly #account: Account;
  readonly #rest: Rest;
  readonly #marks: ReadMarks;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(user: string, account: Account, rest: Rest) {
    this.#marks = new ReadMarks(user);
    this.#account = account;
    this.#rest = rest;
  }

  /** Loads everything, and looks again from time to time: somebody may have invited us. */
  async start(): Promise<void> {
    this.#timer = setInterval(this.#look, REFRESH_MS);
    document.addEventListener("visibilitychange", this.#look); // whoever comes back wants to see what is new
    const [teams] = await Promise.all([this.#account.call((token) => this.#rest.teams(token)), this.refresh()]);
    this.teams.value = teams.items;
    this.loaded.value = true;
  }

  stop(): void {
    clearInterval(this.#timer);
    document.removeEventListener("visibilitychange", this.#look);
  }

  readonly #look = (): void => {
    if (document.visibilityState === "visible") void this.refresh().catch(() => undefined); // the next round tells
  };

  async refresh(): Promise<void> {
    const page = await this.#account.call((token) => this.#rest.sessions(token, { limit: PAGE }));
    this.#marks.begin(page.items);
    const newest = new Set(page.items.map(({ id }) => id));
    const oldest = page.items.at(-1)?.updated_at ?? "";
    // Of what was loaded before, only what lies behind this page can still be right.
    const behind = page.next === null ? [] : this.list.value.filter((s) => !newest.has(s.id) && s.updated_at <= oldest);
    if (behind.length === 0) this.#cursor.value = page.next;
    this.#show([...page.items, ...behind]);
  }

  async more(): Promise<void> {
    const cursor = this.#cursor.value;
    if (cursor === null) return;
    const page = await this.#account.call((token) => this.#rest.sessions(token, { limit: PAGE, cursor }));
    this.#cursor.value = page.next;
    const known = new Set(this.list.value.map(({ id }) => id));
    this.#show([...this.list.value, ...page.items.filter(({ id }) => !known.has(id))]);
  }

  get(id: string): SessionData | undefined {
    return this.list.value.find((session) => session.id === id);
  }

  /** The session as the hub has it now; throws `HubError`. */
  async fetch(id: string): Promise<SessionData> {
    const session = await this.#account.call((token) => this.#rest.session(token, id));
    this.add(session);
    return session;
  }

  add(session: SessionData): void {
    this.#show([session, ...this.list.value.filter(({ id }) => id !== session.id)]);
  }

  /** An event of a followed session: what it says is newer than what the list has. */
  moved(id: string, seq: number, change: Partial<SessionData>): void {
    const session = this.get(id);
    if (!session || seq <= session.last_seq) return;
    this.add({ ...session, ...change, last_seq: seq });
  }

  async rename(id: string, title: string): Promise<void> {
    this.add(await this.#account.call((token) => this.#rest.updateSession(token, id, { title })));
  }

  async remove(id: string): Promise<void> {
    await this.#account.call((token) => this.#rest.deleteSession(token, id));
    this.forget(id);
  }

  /** Leaves a session out of the list. */
  forget(id: string): void {
    this.list.value = this.list.value.filter((session) => session.id !== id);
  }

  team(name: string): TeamResult | undefined {
    return this.teams.value.find((team) => team.name === name);
  }

  isUnread(session: SessionData): boolean {
    return this.#marks.isUnread(session);
  }

  /** Up to which seq a session was read here; null: never. */
  readTo(id: string): number | null {
    return this.#marks.get(id);
  }

  markRead(id: string, seq: number): void {
    this.#marks.read(id, seq);
  }

  #show(sessions: SessionData[]): void {
    this.list.value = sessions.sort((a, b) => (a.updated_at < b.updated_at ? 1 : a.updated_at > b.updated_at ? -1 : 0));
  }
}
