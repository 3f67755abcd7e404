import { Connection, type ConnectionOptions, type ConnectionState } from "./connection.ts";
import { connectionLost, HubError, refused, timedOut } from "./errors.ts";
import { Following, type SessionListener } from "./following.ts";
import { eventsOf } from "./stream.ts";
import type {
  AnyEvent,
  AuthResult,
  Command,
  Empty,
  Hello,
  InputRespond,
  JoinResult,
  MessageSend,
  OnBusy,
  PingResult,
  PresenceSet,
  RegisterResult,
  RunCommandResult,
  SendResult,
  SeqResult,
  SeqRunResult,
  ServerDraining,
  SessionCreate,
  SessionData,
  TurnOffered,
  TurnWithdrawn,
} from "./protocol.ts";

/** What each command is answered with. */
export interface ResultOf {
  auth: AuthResult;
  ping: PingResult;
  "session.create": SessionData;
  "session.join": JoinResult;
  "session.leave": Empty;
  "message.send": SendResult;
  "message.edit": SeqRunResult;
  "message.regenerate": SeqRunResult;
  "run.cancel": RunCommandResult;
  "run.pause": RunCommandResult;
  "run.resume": RunCommandResult;
  "input.respond": SeqResult;
  "session.fork": SessionData;
  "presence.set": Empty;
  "agent.register": RegisterResult;
  "turn.delta": Empty;
  "turn.complete": Empty;
  "turn.decline": Empty;
}

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

export interface HubOptions extends ConnectionOptions {
  onState?: (state: ConnectionState) => void;
  /** The hub is about to restart; connections come back by themselves. */
  onDraining?: (event: ServerDraining) => void;
  /** A turn of an agent that this connection has registered for with `agent.register`, or the end of such an offer. */
  onTurn?: (event: TurnOffered | TurnWithdrawn) => void;
}

/** A client of the hub: commands as promises, sessions as listeners, everything resumed by itself. */
export class Hub {
  readonly #connection: Connection;
  readonly #followed = new Map<string, Following>();
  readonly #url: string;
  readonly #awaiting = new Set<(state: ConnectionState) => void>();

  constructor(options: HubOptions) {
    this.#url = options.url;
    this.#connection = new Connection(options, {
      state: (state) => {
        options.onState?.(state);
        for (const wake of [...this.#awaiting]) wake(state);
      },
      open: () => this.#followed.forEach((following) => following.join()),
      frame: (frame) => {
        if (frame.type === "server.draining") options.onDraining?.(frame);
        else if (frame.type === "turn.offered" || frame.type === "turn.withdrawn") options.onTurn?.(frame);
        else if (frame.session) this.#followed.get(frame.session)?.receive(frame);
      },
    });
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  connect(): void {
    this.#connection.start();
  }

  /** Connects, unless that is done, and waits for the hub's hello. Throws `HubError` when it says no or stays away. */
  connected(timeoutMs = 10_000): Promise<Hello> {
    this.connect();
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#awaiting.delete(look);
        act();
      };
      const look = (state: ConnectionState) => {
        if (state.kind === "open") settle(() => resolve(state.hello));
        else if (state.kind === "idle") settle(() => reject(connectionLost()));
        else if (state.kind === "stopped") settle(() => reject(refused(state.code, state.reason)));
      };
      const timer = setTimeout(() => settle(() => reject(timedOut(this.#url))), timeoutMs);
      this.#awaiting.add(look);
      look(this.state);
    });
  }

  /** Does not wait for the next attempt to reconnect. */
  reconnectNow(): void {
    this.#connection.reconnectNow();
  }

  /** Finds out whether the connection still lives, as after a sleep or a change of network. */
  probe(): void {
    this.#connection.probe();
  }

  /** Ends the connection and everything that is followed. */
  close(): void {
    for (const following of this.#followed.values()) following.end();
    this.#followed.clear();
    this.#connection.close();
  }

  /**
   * Follows a session: its events after `afterSeq` (null: the last 50), then everything live, over reconnections,
   * until `leave()`. A session is followed once at a time: following it again replaces the listener before.
   */
  follow(session: string, afterSeq: number | null, listener: SessionListener): Following {
    this.#followed.get(session)?.leave();
    const following = new Following(this.#connection, session, afterSeq, listener);
    this.#followed.set(session, following);
    if (this.#connection.state.kind === "open") following.join();
    return following;
  }

  /**
   * What happens in a session as an async iterable: its events after `afterSeq` (null: the last 50), then live ones,
   * over reconnections. Pieces of a message come as they are; a snapshot or the completed message replaces the text.
   * Leaving the loop leaves the session; what cannot go on throws a `HubError`. A loop that falls far behind gets what
   * it missed from the log again, so that nothing durable is lost and memory stays bounded.
   */
  events(session: string, afterSeq: number | null = null): AsyncGenerator<AnyEvent, void, undefined> {
    return eventsOf(this, session, afterSeq);
  }

  /** Stops following a session. */
  leave(following: Following): void {
    following.leave();
    if (this.#followed.get(following.session) === following) this.#followed.delete(following.session);
  }

  /** Sends any command. `message.send` survives a lost connection: its `client_id` makes it safe to repeat. */
  command<T extends Command["type"]>(
    command: Without<Extract<Command, { type: T }>, "id"> & { type: T },
    timeoutMs: number | null = null,
  ): Promise<ResultOf[T]> {
    return new Promise((resolve, reject) => {
      this.#connection.request(command, timeoutMs, command.type === "message.send", (outcome) => {
        if (outcome instanceof HubError) reject(outcome);
        else resolve(outcome as unknown as ResultOf[T]);
      });
    });
  }

  createSession(
    team: string,
    options: Pick<SessionCreate, "title" | "metadata" | "on_busy"> = {},
  ): Promise<SessionData> {
    return this.command({ type: "session.create", team, ...options });
  }

  /**
   * Says something. Resolved: it is durable. With the same `clientId` it may be called again and is said once.
   * `attachments`: ids of what `Rest.upload` has given; with them the text may be empty.
   */
  send(
    session: string,
    text: string,
    options: { clientId?: string; to?: string; onBusy?: OnBusy; timeoutMs?: number; attachments?: string[] } = {},
  ): Promise<SendResult> {
    const command: Without<MessageSend, "id"> = {
      type: "message.send",
      session,
      client_id: options.clientId ?? newClientId(),
    };
    if (text !== "") command.text = text;
    if (options.attachments?.length)
      command.parts = options.attachments.map((id) => ({ type: "attachment" as const, id }));
    if (options.to !== undefined) command.to = options.to;
    if (options.onBusy !== undefined) command.on_busy = options.onBusy;
    return this.command(command, options.timeoutMs ?? null);
  }

  /** Replaces a message of one's own; the conversation is cut there and the team answers anew. */
  edit(session: string, message: string, text: string): Promise<SeqRunResult> {
    return this.command({ type: "message.edit", session, message, text });
  }

  /** Has the team answer again where this message stands. */
  regenerate(session: string, message: string): Promise<SeqRunResult> {
    return this.command({ type: "message.regenerate", session, message });
  }

  /** Stops a run, and keeps what it has said; without `run` the live one, else the next in the queue. */
  cancel(session: string, run?: string): Promise<RunCommandResult> {
    return this.command({ type: "run.cancel", session, ...(run === undefined ? {} : { run }) });
  }

  /** Lets the live run stop after its present turn, until `resume`. */
  pause(session: string): Promise<RunCommandResult> {
    return this.command({ type: "run.pause", session });
  }

  /** Lets a paused run go on. */
  resume(session: string): Promise<RunCommandResult> {
    return this.command({ type: "run.resume", session });
  }

  /** Answers an `input.requested`: a decision for an approval or a retry, a text for a question. */
  respond(session: string, request: string, answer: Pick<InputRespond, "decision" | "text">): Promise<SeqResult> {
    return this.command({ type: "input.respond", session, request, ...answer });
  }

  /** Makes a new session, owned by the caller, with the conversation up to and with event `atSeq`. */
  fork(session: string, atSeq: number): Promise<SessionData> {
    return this.command({ type: "session.fork", session, at_seq: atSeq });
  }

  setPresence(session: string, status: PresenceSet["status"]): Promise<Empty> {
    return this.command({ type: "presence.set", session, status });
  }

  ping(): Promise<PingResult> {
    return this.command({ type: "ping" });
  }
}

/** A key that makes one message safe to send again. Needs no secure context, unlike `crypto.randomUUID`. */
export function newClientId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
