import { computed, effect, signal, untracked } from "@preact/signals";
import { Hub, HubError, Rest, type ConnectionState } from "agent-hub-client";
import { titleOf } from "../text/title.ts";
import { Account } from "./account.ts";
import { arrive } from "./arrival.ts";
import { Beginning } from "./beginning.ts";
import { Conversation } from "./conversation.ts";
import { describe } from "./words.ts";
import { Router } from "./route.ts";
import { Search } from "./search.ts";
import { Sessions } from "./sessions.ts";
import { Theming } from "./theme.ts";

const KEPT_OPEN = 6; // sessions that stay followed after one has turned to another, so that turning back is instant

/** Everything behind the page, built once. */
export class App {
  readonly #arrival = arrive(); // before the router looks at the address
  readonly rest = new Rest(location.origin);
  readonly account = new Account(this.rest);
  readonly router = new Router();
  readonly theming = new Theming();
  readonly connection = signal<ConnectionState>({ kind: "idle" });
  /** Whether there was a connection before: then a missing one is an interruption. */
  readonly wasConnected = signal(false);
  readonly online = signal(navigator.onLine);
  readonly workspace = signal<Workspace | null>(null);
  readonly problem = signal<string | null>(null);
  /** Said to screen readers, politely. */
  readonly announcement = signal("");

  constructor() {
    const user = computed(() => this.account.user);
    effect(() => {
      const id = user.value;
      const workspace = untracked(() => (id === null ? null : new Workspace(this, id)));
      this.workspace.value = workspace;
      untracked(() => workspace?.start());
      return () => untracked(() => workspace?.stop());
    });
    if (this.#arrival) void this.account.arrive(this.#arrival);
    addEventListener("online", () => this.#woke());
    addEventListener("offline", () => {
      this.online.value = false;
      this.workspace.value?.hub.probe();
    });
    addEventListener("pageshow", (event) => event.persisted && this.#woke());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#woke());
  }

  /** Shows what went wrong with something a person has asked for. */
  report(error: unknown): void {
    this.problem.value = describe(error);
  }

  #woke(): void {
    this.online.value = navigator.onLine;
    this.workspace.value?.hub.probe();
  }
}

/** What there is for one user who is signed in: the connection, the sessions, and those that are open. */
export class Workspace {
  readonly hub: Hub;
  readonly sessions: Sessions;
  readonly beginning: Beginning;
  readonly search: Search;
  readonly current = signal<Conversation | null>(null);
  readonly #app: App;
  readonly #open = new Map<string, Conversation>();
  readonly #removing = new Set<string>();
  #stopFollowingRoute: (() => void) | undefined;

  constructor(app: App, user: string) {
    this.#app = app;
    this.beginning = new Beginning(user);
    this.sessions = new Sessions(user, app.account, app.rest);
    this.search = new Search(app.account, app.rest);
    const url = location.origin.replace(/^http/, "ws") + "/v1/ws";
    this.hub = new Hub({
      url,
      credential: async (expired) => {
        if (expired) await app.account.renew();
        return { ticket: await app.account.call((token) => app.rest.ticket(token)) };
      },
      renew: () => app.account.renew(),
      onState: (state) => this.#connection(state),
    });
  }

  start(): void {
    this.hub.connect();
    const loading = this.sessions.start().catch((error: unknown) => this.#app.report(error));
    this.#stopFollowingRoute = effect(() => {
      const route = this.#app.router.route.value;
      if (route.kind === "invite") untracked(() => void this.#accept(route.token));
      const conversation = untracked(() => (route.kind === "session" ? this.#conversation(route.id, loading) : null));
      this.current.value = conversation;
      if (conversation && route.kind === "session") conversation.target.value = route.seq ?? null;
    });
  }

  stop(): void {
    this.#stopFollowingRoute?.();
    this.sessions.stop();
    for (const conversation of this.#open.values()) conversation.leave();
    this.hub.close();
    this.#app.wasConnected.value = false;
  }

  /** Opens a session and says the first thing in it. */
  async begin(team: string, text: string): Promise<void> {
    const session = await this.hub.createSession(team, { title: titleOf(text) });
    this.sessions.add(session);
    this.beginning.choose(team);
    this.beginning.write("");
    this.#app.router.go({ kind: "session", id: session.id });
    this.#conversation(session.id, Promise.resolve()).send(text, null);
  }

  /** Opens a session with what was said in another up to `seq`. */
  async fork(conversation: Conversation, seq: number): Promise<void> {
    const session = await conversation.fork(seq);
    this.sessions.add(session);
    this.#app.router.go({ kind: "session", id: session.id });
  }

  /** Goes where a link leads. */
  async #accept(invite: string): Promise<void> {
    try {
      const session = await this.#app.account.call((token) => this.#app.rest.acceptInvite(token, invite));
      this.sessions.add(session);
      this.#app.router.replace({ kind: "session", id: session.id });
    } catch (error) {
      const isGone = error instanceof HubError && error.code === "not_found";
      this.#app.report(isGone ? new HubError("not_found", "this link does not lead anywhere any more") : error);
      this.#app.router.replace({ kind: "new" });
    }
  }

  async remove(id: string): Promise<void> {
    this.#removing.add(id);
    try {
      await this.sessions.remove(id);
    } finally {
      this.#removing.delete(id);
    }
    this.#open.get(id)?.leave();
    this.#open.delete(id);
    this.#app.announcement.value = "The session is deleted.";
    if (this.current.value?.id === id) this.#app.router.go({ kind: "new" });
  }

  /** Somebody else has deleted the session, or has taken us out of it. */
  #ended(id: string): void {
    if (this.#removing.has(id)) return;
    const conversation = this.#open.get(id);
    conversation?.leave();
    conversation?.fail(new HubError("not_found", "you are no member any more"));
    this.#open.delete(id);
    this.sessions.forget(id);
  }

  #conversation(id: string, loading: Promise<void>): Conversation {
    const known = this.#open.get(id);
    if (known && known !== this.current.peek()) known.readTo.value = this.sessions.readTo(id);
    this.#open.delete(id);
    const conversation = known ?? this.#opened(id, loading);
    this.#open.set(id, conversation); // the last is the one used last
    for (const [old, other] of this.#open) {
      if (this.#open.size <= KEPT_OPEN) break;
      if (other.pending.value.length > 0) continue;
      other.leave();
      this.#open.delete(old);
    }
    return conversation;
  }

  #opened(id: string, loading: Promise<void>): Conversation {
    const { rest, account } = this.#app;
    const readTo = this.sessions.readTo(id);
    const conversation = new Conversation(id, readTo, {
      hub: this.hub,
      rest,
      account,
      team: (name) => this.sessions.team(name),
      moved: (session, seq, change) => this.sessions.moved(session, seq, change),
      ended: (session) => this.#ended(session),
    });
    void loading
      .then(() => this.sessions.get(id) ?? this.sessions.fetch(id))
      .then((session) => conversation.open(session))
      .catch((error: unknown) => conversation.fail(error));
    return conversation;
  }

  #connection(state: ConnectionState): void {
    this.#app.connection.value = state;
    if (state.kind !== "open") return;
    if (this.#app.wasConnected.value) void this.sessions.refresh().catch(() => undefined); // its timer tries again
    this.#app.wasConnected.value = true;
  }
}
