import { batch, computed, signal } from "@preact/signals";
import {
  HubError,
  newClientId,
  type DurableEvent,
  type Following,
  type Hub,
  type JoinResult,
  type OnBusy,
  type OpenMessage,
  type PresenceData,
  type Rest,
  type SessionData,
  type TeamResult,
} from "agent-hub-client";
import type { Account } from "./account.ts";
import { AttachingFiles } from "./attaching.ts";
import { Drafts, type Pending } from "./drafts.ts";
import { Frames } from "./frames.ts";
import { Transcript } from "./transcript.ts";
import { describe } from "./words.ts";

const FIRST_EVENTS = 200; // how much of the log is loaded when a session is opened, and again on the way up
const FAR_EVENTS = 1_000; // loaded at once on the way to an event that was asked for
const TYPING_MS = 4_000;
const MAY_ANSWER = ["owner", "editor", "approver"];

export type ConversationPhase = { kind: "loading" } | { kind: "live" } | { kind: "failed"; message: string };

export interface ConversationEnvironment {
  hub: Hub;
  rest: Rest;
  account: Account;
  team: (name: string) => TeamResult | undefined;
  /** The session has moved on: its last seq and, where the event tells, its new state. */
  moved: (session: string, seq: number, change: Partial<SessionData>) => void;
  /** Whoever is here is no member any more. */
  ended: (session: string) => void;
}

/** One session that is open on the page. */
export class Conversation {
  readonly id: string;
  readonly phase = signal<ConversationPhase>({ kind: "loading" });
  readonly transcript: Transcript;
  readonly pending = signal<readonly Pending[]>([]);
  readonly draft = signal("");
  readonly presence = signal<readonly PresenceData[]>([]);
  readonly role = signal<string | null>(null);
  readonly loadingEarlier = signal(false);
  readonly stopping = signal(false);
  readonly status = signal<SessionData["status"]>("idle");
  /** The run stops after its present turn. */
  readonly pausing = signal(false);
  /** What the session does with a message while a run is live, unless the message says otherwise. */
  readonly onBusy = signal<OnBusy>("queue");
  /** Up to which seq this was read when it was opened; what stands behind it is new. */
  readonly readTo = signal<number | null>(null);
  /** How often one has asked the team for something here: what comes of it is to be seen. */
  readonly asked = signal(0);
  /** An event that shall be shown. */
  readonly target = signal<number | null>(null);
  readonly hasEarlier = computed(() => this.transcript.items.value.length > 0 && (this.transcript.firstSeq ?? 1) > 1);
  readonly maySend = computed(() => this.role.value === "owner" || this.role.value === "editor");
  readonly mayAnswer = computed(() => this.role.value !== null && MAY_ANSWER.includes(this.role.value));
  /** What is to go with the next message. */
  readonly attaching: AttachingFiles;
  readonly #environment: ConversationEnvironment;
  readonly #drafts: Drafts;
  readonly #frames = new Frames((messages: Iterable<OpenMessage>) => {
    const open = new Set(this.#following?.openMessages); // what ended since then has its final text already
    for (const message of messages) if (open.has(message)) this.transcript.write(message);
  });
  #following: Following | null = null;
  #loading: Promise<void> | null = null;
  #left = false;
  #joinedAt = 0; // the end of the log then
  #typing: ReturnType<typeof setTimeout> | null = null;

  /** `readTo`: up to which seq it was read before. */
  constructor(id: string, readTo: number | null, environment: ConversationEnvironment) {
    this.id = id;
    this.readTo.value = readTo;
    this.#environment = environment;
    this.#drafts = new Drafts(environment.account.user ?? "", id);
    this.attaching = new AttachingFiles(id, environment.rest, environment.account);
    this.draft.value = this.#drafts.text();
    this.pending.value = this.#drafts.pending();
    this.transcript = new Transcript((name) => this.displayName(name));
  }

  /** The team as the hub describes it; known after `open`. */
  readonly team = signal<TeamResult | undefined>(undefined);

  displayName(agent: string): string {
    return this.team.value?.agents.find(({ name }) => name === agent)?.display_name ?? agent;
  }

  /** Follows the session from near its end, and sends what was not sent before a reload. */
  open(session: SessionData): void {
    this.role.value = session.role;
    this.status.value = session.status;
    this.onBusy.value = session.on_busy;
    this.team.value = this.#environment.team(session.team);
    const after = Math.max(0, session.last_seq - FIRST_EVENTS);
    if (this.#left) return;
    this.#following = this.#environment.hub.follow(this.id, after, {
      joined: (join) => this.#joined(join),
      event: (event) => {
        this.transcript.apply(event);
        if (event.type === "message.created") this.#confirm(event.data.client_id, event.data.author.id);
        this.#environment.moved(this.id, event.seq, { updated_at: event.ts, ...this.#changes(event) });
        if (event.type === "member.removed" && event.data.user === this.#me) this.#ended(event.seq);
      },
      writing: (message) => this.#frames.mark(message),
      presence: (event) => this.#seen(event.data),
      status: (event) => this.transcript.setActivity(event.data.agent, event.data.status),
      reset: () => this.transcript.reset(),
      failed: (error) => this.fail(error),
    });
    for (const pending of this.pending.value) if (pending.error === null) void this.#deliver(pending);
  }

  fail(error: unknown): void {
    const message =
      error instanceof HubError && error.code === "not_found"
        ? "This session does not exist, or you are not a member of it."
        : describe(error);
    this.phase.value = { kind: "failed", message };
  }

  leave(): void {
    this.#left = true;
    this.#frames.stop();
    if (this.#typing) clearTimeout(this.#typing);
    if (this.#following) this.#environment.hub.leave(this.#following);
  }

  /** Says something; what is not acknowledged stays visible and can be sent again. */
  send(text: string, to: string | null, onBusy: OnBusy | null = null): void {
    const attachments = this.attaching.take();
    const clientId = newClientId();
    const pending: Pending = { clientId, text, attachments, to, onBusy, error: null, acknowledged: false };
    this.#keep([...this.pending.value, pending]);
    this.write("");
    this.asked.value += 1;
    this.readTo.value = null;
    this.#stopTyping();
    void this.#deliver(pending);
  }

  retry(pending: Pending): void {
    void this.#deliver(pending);
  }

  discard(pending: Pending): void {
    this.#keep(this.pending.value.filter(({ clientId }) => clientId !== pending.clientId));
  }

  /** Stops the live run. */
  async stop(): Promise<void> {
    if (!this.transcript.run.value || this.stopping.value) return;
    this.stopping.value = true;
    try {
      await this.#environment.hub.cancel(this.id);
    } catch (error) {
      this.stopping.value = false;
      if (!isOver(error)) throw error;
    }
  }

  /** Takes back a run that waits in the queue. */
  async withdraw(run: string): Promise<void> {
    await this.#environment.hub.cancel(this.id, run).catch((error: unknown) => {
      if (!isOver(error)) throw error;
    });
  }

  /** Lets the live run stop after its present turn. */
  async pause(): Promise<void> {
    this.pausing.value = true;
    try {
      await this.#environment.hub.pause(this.id);
    } catch (error) {
      this.pausing.value = false;
      if (!isOver(error)) throw error;
    }
  }

  /** Lets a paused run go on, or takes the pause back that has not begun. */
  async resume(): Promise<void> {
    await this.#environment.hub.resume(this.id);
    this.pausing.value = false;
  }

  async respond(request: string, decision: "approve" | "reject" | null, text: string | null): Promise<void> {
    const answer = { ...(decision === null ? {} : { decision }), ...(text === null ? {} : { text }) };
    await this.#environment.hub.respond(this.id, request, answer);
  }

  async edit(message: string, text: string): Promise<void> {
    await this.#environment.hub.edit(this.id, message, text);
    this.asked.value += 1;
  }

  async regenerate(message: string): Promise<void> {
    await this.#environment.hub.regenerate(this.id, message);
    this.asked.value += 1;
  }

  /** Has the team answer the message with this seq again. */
  async retryFrom(seq: number): Promise<void> {
    await this.reach(seq);
    const message = this.transcript.items.value.find((item) => item.kind === "user" && item.seq === seq);
    if (message) await this.regenerate(message.key);
  }

  /** A new session with what was said up to `seq`. */
  fork(seq: number): Promise<SessionData> {
    return this.#environment.hub.fork(this.id, seq);
  }

  /** Keeps what is being written, and lets the others know. */
  write(text: string): void {
    this.draft.value = text;
    this.#drafts.keepText(text);
    if (text === "" || !this.maySend.value) return;
    if (this.#typing) clearTimeout(this.#typing);
    else this.#tell("typing");
    this.#typing = setTimeout(() => this.#stopTyping(), TYPING_MS);
  }

  /** Makes sure that an event is loaded. */
  async reach(seq: number): Promise<void> {
    while (this.transcript.firstSeq !== null && this.transcript.firstSeq > seq) {
      const wanted = this.transcript.firstSeq - Math.max(0, seq - FIRST_EVENTS / 4);
      const before = this.transcript.firstSeq;
      await this.loadEarlier(Math.min(FAR_EVENTS, wanted));
      if (this.transcript.firstSeq === before) return; // there is no more
    }
  }

  /** Loads older events; a load that is under way is waited for instead. */
  loadEarlier(count = FIRST_EVENTS): Promise<void> {
    this.#loading ??= this.#loadEarlier(count).finally(() => {
      this.#loading = null;
      this.loadingEarlier.value = false;
    });
    return this.#loading;
  }

  async #loadEarlier(count: number): Promise<void> {
    const first = this.transcript.firstSeq;
    if (first === null || first <= 1) return;
    this.loadingEarlier.value = true;
    const { account, rest } = this.#environment;
    const after = Math.max(0, first - 1 - count);
    const page = await account.call((token) => rest.events(token, this.id, after, first - 1 - after));
    this.transcript.prepend(page.items.filter((event) => event.seq < first));
  }

  /** What an event says about the session as a whole. */
  #changes(event: DurableEvent): Partial<SessionData> {
    const change: Partial<SessionData> = {};
    switch (event.type) {
      case "session.updated":
        this.onBusy.value = event.data.on_busy;
        change.title = event.data.title;
        change.status = event.data.status;
        break;
      case "run.started":
      case "turn.started":
        change.status = "running";
        break;
      case "input.requested":
        change.status = "waiting";
        break;
      case "input.resolved":
        change.status = this.transcript.waits.value ? "waiting" : "running";
        break;
      case "run.finished":
        this.stopping.value = false;
        change.status = "idle";
        break;
      case "member.updated":
        if (event.data.user === this.#me) this.role.value = event.data.role;
        break;
      default:
        break;
    }
    if (change.status !== undefined) {
      this.status.value = change.status;
      if (change.status !== "running") this.pausing.value = false;
    }
    return change;
  }

  /** One was taken out, unless that was long ago and one was added again. */
  #ended(seq: number): void {
    if (this.phase.value.kind === "live" && seq > this.#joinedAt) this.#environment.ended(this.id);
  }

  get #me(): string | null {
    return this.#environment.account.user;
  }

  #joined(join: JoinResult): void {
    batch(() => {
      this.#joinedAt = join.last_seq;
      this.role.value = join.role;
      this.presence.value = join.presence;
      this.phase.value = { kind: "live" };
    });
  }

  #seen(person: PresenceData): void {
    const others = this.presence.value.filter(({ user }) => user !== person.user);
    this.presence.value = person.status === "offline" ? others : [...others, person];
  }

  async #deliver(pending: Pending): Promise<void> {
    this.#mark(pending, { error: null });
    try {
      await this.#environment.hub.send(this.id, pending.text, {
        clientId: pending.clientId,
        timeoutMs: 60_000,
        attachments: (pending.attachments ?? []).map(({ id }) => id),
        ...(pending.to === null ? {} : { to: pending.to }),
        ...(pending.onBusy ? { onBusy: pending.onBusy } : {}),
      });
      this.#mark(pending, { acknowledged: true });
    } catch (error) {
      this.#mark(pending, { error: describe(error) });
    }
  }

  #mark(pending: Pending, change: Partial<Pending>): void {
    this.#keep(this.pending.value.map((one) => (one.clientId === pending.clientId ? { ...one, ...change } : one)));
  }

  #confirm(clientId: string, author: string): void {
    if (this.#me !== null && this.#me !== author) return;
    const rest = this.pending.value.filter((pending) => pending.clientId !== clientId);
    if (rest.length < this.pending.value.length) this.#keep(rest);
  }

  #keep(pending: readonly Pending[]): void {
    this.pending.value = pending;
    this.#drafts.keepPending(pending);
  }

  #stopTyping(): void {
    if (!this.#typing) return;
    clearTimeout(this.#typing);
    this.#typing = null;
    this.#tell("active");
  }

  #tell(status: "typing" | "active"): void {
    this.#environment.hub.setPresence(this.id, status).catch(() => undefined); // a courtesy, never an error
  }
}

/** What was to be stopped had ended by itself, which is what was wanted. */
function isOver(error: unknown): boolean {
  return error instanceof HubError && ["not_found", "conflict"].includes(error.code);
}
