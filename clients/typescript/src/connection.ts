import { afterClose } from "./backoff.ts";
import { connectionLost, HubError, timedOut } from "./errors.ts";
import { PROTOCOL, type Command, type Hello, type Reply, type ServerFrame } from "./protocol.ts";

/** How to say who is connecting: a one-time ticket for the URL, or a token for the first frame. */
export type Credential = { ticket: string } | { token: string };

export type ConnectionState =
  | { kind: "idle" }
  | { kind: "connecting"; attempt: number }
  | { kind: "open"; hello: Hello }
  | { kind: "waiting"; attempt: number; until: number; code: number }
  | { kind: "stopped"; code: number; reason: string };

export interface ConnectionOptions {
  /** `ws(s)://host/v1/ws`. */
  url: string;
  /** Called before every attempt; `expired` says that the last credential ended. May throw `HubError`. */
  credential: (expired: boolean) => Promise<Credential>;
  /** A fresh access token for the open connection, when the hub says the present one is about to end. */
  renew?: () => Promise<string>;
  /** The WebSocket class, where the platform has none of its own. */
  webSocket?: new (url: string, protocols?: string | string[]) => WebSocket;
}

/** What a connection tells its owner. Frames arrive in the hub's order, one call each. */
export interface ConnectionEvents {
  frame: (frame: Exclude<ServerFrame, Hello | Reply>) => void;
  state: (state: ConnectionState) => void;
  open: () => void;
}

interface Pending {
  frame: { id: string };
  resend: boolean;
  settle: (outcome: Record<string, unknown> | HubError) => void;
  timer: ReturnType<typeof setTimeout> | undefined;
}

const CONNECT_MS = 10_000; // from the first byte to hello
const REPLY_MS = 15_000;
const PROBE_MS = 5_000;
const STABLE_MS = 5_000; // a connection that lived this long starts the backoff anew
const MAX_PENDING = 256;
const ABNORMAL = 1006;
const NO_WEBSOCKET =
  'This platform has no WebSocket (Node has one from version 22 on): npm install ws, import { WebSocket } from "ws", ' +
  "and pass new Hub({ …, webSocket: WebSocket }).";
const NOT_AUTHENTICATED = 4501;
const NO_ADDRESS = 1008; // as if a hub had said so: coming back as we are does not help

/** One WebSocket at a time, kept up for as long as the close codes allow. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #events: ConnectionEvents;
  readonly #webSocket: NonNullable<ConnectionOptions["webSocket"]>;
  readonly #pending = new Map<string, Pending>();
  #state: ConnectionState = { kind: "idle" };
  #socket: WebSocket | null = null;
  #attempt = 0;
  #generation = 0; // of the socket: what an abandoned one still says is ignored
  #expired = false;
  #momentMs = 0; // after a hub that goes away has closed: when it wants us back
  #commands = 0;
  #timers = new Set<ReturnType<typeof setTimeout>>();
  #liveness: ReturnType<typeof setTimeout> | undefined;

  /** Throws a `TypeError` where the platform has no WebSocket and none is handed over. */
  constructor(options: ConnectionOptions, events: ConnectionEvents) {
    const webSocket = options.webSocket ?? (globalThis as { WebSocket?: ConnectionOptions["webSocket"] }).WebSocket;
    if (webSocket === undefined) throw new TypeError(NO_WEBSOCKET);
    this.#webSocket = webSocket;
    this.#options = options;
    this.#events = events;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Connects, or connects again after a stop. Does nothing while a connection is there or under way. */
  start(): void {
    if (this.#state.kind === "idle" || this.#state.kind === "stopped") void this.#connect();
  }

  /** Does not wait for the next attempt. */
  reconnectNow(): void {
    if (this.#state.kind === "waiting") void this.#connect();
  }

  /** Asks the hub for a sign of life, and reconnects when none comes in time. */
  probe(): void {
    const generation = this.#generation;
    if (this.#state.kind !== "open") return this.reconnectNow();
    this.request({ type: "ping" }, PROBE_MS, false, (outcome) => {
      const dead = outcome instanceof HubError && outcome.code === "timeout";
      if (dead && generation === this.#generation) this.#lost(ABNORMAL, "");
    });
  }

  /** Ends the connection; what was not answered fails with `connection_lost`. */
  close(): void {
    this.#abandon(1000);
    this.#fail(() => true);
    this.#enter({ kind: "idle" });
  }

  /**
   * Sends a command; `settle` is called once, in the order of the frames, with the result or a `HubError`.
   * A command that is safe to repeat (`resend`) waits for a connection and survives the loss of one.
   */
  request(
    command: { type: Command["type"]; [field: string]: unknown },
    timeoutMs: number | null,
    resend: boolean,
    settle: (outcome: Record<string, unknown> | HubError) => void,
  ): void {
    const isOpen = this.#state.kind === "open";
    if ((!isOpen && !resend) || this.#state.kind === "stopped") return settle(connectionLost());
    if (this.#pending.size >= MAX_PENDING) {
      return settle(new HubError("rate_limited", "Too many commands wait for an answer.", { retryable: true }));
    }
    const id = String(++this.#commands);
    const pending: Pending = { frame: { ...command, id }, resend, settle, timer: undefined };
    this.#pending.set(id, pending);
    const deadline = timeoutMs ?? REPLY_MS;
    pending.timer = setTimeout(() => this.#settle(id, timedOut()), deadline);
    if (isOpen) this.#send(pending.frame);
    // A command that may wait for long must not wait on a socket that died without a word.
    if (isOpen && deadline > REPLY_MS) this.#after(PROBE_MS, () => this.#pending.has(id) && this.probe());
  }

  async #connect(): Promise<void> {
    const generation = ++this.#generation;
    this.#clearTimers();
    this.#enter({ kind: "connecting", attempt: this.#attempt });
    let credential: Credential;
    try {
      credential = await this.#options.credential(this.#expired);
    } catch (error) {
      if (generation !== this.#generation) return;
      const denied = error instanceof HubError && ["unauthenticated", "forbidden"].includes(error.code);
      return this.#lost(denied ? NOT_AUTHENTICATED : ABNORMAL, denied ? error.message : "");
    }
    if (generation !== this.#generation) return;
    this.#expired = false;
    this.#open(generation, credential);
  }

  #open(generation: number, credential: Credential): void {
    const query = "ticket" in credential ? `?ticket=${encodeURIComponent(credential.ticket)}` : "";
    let socket: WebSocket;
    try {
      socket = new this.#webSocket(this.#options.url + query, [PROTOCOL]);
    } catch {
      return this.#lost(NO_ADDRESS, `${this.#options.url} is not the address of a hub: ws(s)://host/v1/ws`);
    }
    this.#socket = socket;
    const current = () => generation === this.#generation;
    socket.onopen = () => {
      if (current() && "token" in credential) this.#send({ id: "auth", type: "auth", token: credential.token });
    };
    socket.onmessage = (message) => {
      if (current()) this.#receive(String(message.data));
    };
    socket.onclose = (closed) => {
      if (current()) this.#lost(closed.code, closed.reason);
    };
    this.#after(CONNECT_MS, () => {
      if (current() && this.#state.kind === "connecting") this.#lost(ABNORMAL, "");
    });
  }

  #receive(data: string): void {
    let frames: ServerFrame[];
    try {
      frames = data.split("\n").map((line) => JSON.parse(line) as ServerFrame);
    } catch {
      return this.#lost(NO_ADDRESS, `${this.#options.url} does not speak ${PROTOCOL}`);
    }
    for (const frame of frames) {
      if (frame.type === "server.draining") this.#momentMs = frame.data.reconnect_after_ms;
      if (frame.type === "hello") this.#welcome(frame);
      else if (frame.type === "reply") this.#answer(frame);
      else if (frame.type === "auth.expiring") void this.#renew();
      else this.#events.frame(frame);
    }
    this.#watch();
  }

  #welcome(hello: Hello): void {
    this.#enter({ kind: "open", hello });
    this.#momentMs = 0;
    this.#after(STABLE_MS, () => {
      this.#attempt = 0;
    });
    const unanswered = [...this.#pending.values()];
    this.#events.open();
    for (const pending of unanswered) this.#send(pending.frame);
  }

  #answer(reply: Reply): void {
    if (reply.id === null) return;
    this.#settle(reply.id, reply.ok ? (reply.result ?? {}) : HubError.fromReply(reply.error));
  }

  #settle(id: string, outcome: Record<string, unknown> | HubError): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    pending.settle(outcome);
  }

  #fail(which: (pending: Pending) => boolean): void {
    for (const [id, pending] of [...this.#pending]) if (which(pending)) this.#settle(id, connectionLost());
  }

  async #renew(): Promise<void> {
    if (!this.#options.renew) return;
    const generation = this.#generation;
    try {
      const token = await this.#options.renew();
      if (generation !== this.#generation) return;
      this.request({ type: "auth", token }, null, false, () => undefined);
    } catch {
      // The connection goes on until the hub ends it with 4100; the next attempt asks for a new credential.
    }
  }

  /** The socket is gone, or as good as gone. */
  #lost(code: number, reason: string): void {
    this.#abandon(code === ABNORMAL ? 4000 : 1000);
    const next = afterClose(code, this.#attempt, Math.random, this.#momentMs);
    this.#fail((pending) => next.kind === "stop" || !pending.resend);
    if (next.kind === "stop") return this.#enter({ kind: "stopped", code, reason });
    this.#expired = next.newCredential;
    this.#attempt += 1;
    this.#after(next.delayMs, () => void this.#connect());
    this.#enter({ kind: "waiting", attempt: this.#attempt, until: Date.now() + next.delayMs, code });
  }

  #abandon(code: number): void {
    this.#generation += 1;
    this.#clearTimers();
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => undefined; // of a socket closed before it was open
    socket.close(code);
  }

  /** A browser does not show pings: silence for a heartbeat is answered with one of our own. */
  #watch(): void {
    if (this.#state.kind !== "open") return;
    clearTimeout(this.#liveness);
    this.#liveness = setTimeout(() => this.probe(), this.#state.hello.heartbeat_s * 1000);
  }

  #send(frame: object): void {
    this.#socket?.send(JSON.stringify(frame));
  }

  #after(delayMs: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, delayMs);
    this.#timers.add(timer);
  }

  #clearTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    clearTimeout(this.#liveness);
  }

  #enter(state: ConnectionState): void {
    this.#state = state;
    this.#events.state(state);
  }
}
