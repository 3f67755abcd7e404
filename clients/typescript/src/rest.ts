import { HubError } from "./errors.ts";
import type {
  AttachmentResult,
  DurableEvent,
  MemberResult,
  RunResult,
  SearchHit,
  SessionData,
  TeamResult,
  TranscriptMessage,
} from "./protocol.ts";

export interface Tokens {
  access_token: string;
  token_type: "bearer";
  /** Seconds. */
  expires_in: number;
  refresh_token: string;
}

export interface Page<T> {
  items: T[];
  next: string | null;
}

export interface EventPage {
  items: DurableEvent[];
  last_seq: number;
}

export interface Account {
  id: string;
  name: string;
}

/** How one can sign in, beside name and password. */
export interface SignInMethods {
  password: true;
  /** The OpenID provider; `/v1/auth/oidc` leads there. */
  oidc: { name: string } | null;
  /** Whether strangers may register. */
  registration: boolean;
}

/** A line of an export; the first is of the kind `export`, the last `end`. */
export interface ExportLine {
  kind: string;
  [field: string]: unknown;
}

interface Request {
  body?: unknown;
  form?: Record<string, string>;
  content?: Blob;
  timeoutMs?: number;
  token?: string;
}

const TIMEOUT_MS = 15_000;
const UPLOAD_TIMEOUT_MS = 120_000; // and for downloads
const EXPORT_TIMEOUT_MS = 3_600_000;

/** The hub's REST interface. Every method throws `HubError`. `token` is an access token or an API key. */
export class Rest {
  readonly #base: string;

  /** `base`: the hub's origin, without a slash at its end. */
  constructor(base: string) {
    this.#base = base;
  }

  register(name: string, password: string): Promise<Account> {
    return this.#json("POST", "/v1/auth/register", { body: { name, password } });
  }

  signIn(name: string, password: string): Promise<Tokens> {
    return this.#json("POST", "/v1/auth/token", { form: { grant_type: "password", username: name, password } });
  }

  methods(): Promise<SignInMethods> {
    return this.#json("GET", "/v1/auth/methods", {});
  }

  /** Tokens for the code that a browser has come back with from the OpenID provider; in that browser only, once. */
  redeem(code: string): Promise<Tokens> {
    return this.#json("POST", "/v1/auth/oidc/token", { body: { code } });
  }

  refresh(refreshToken: string): Promise<Tokens> {
    return this.#json("POST", "/v1/auth/token", { form: { grant_type: "refresh_token", refresh_token: refreshToken } });
  }

  async revoke(refreshToken: string): Promise<void> {
    await this.#fetch("POST", "/v1/auth/revoke", { form: { token: refreshToken } });
  }

  async ticket(token: string): Promise<string> {
    const { ticket } = await this.#json<{ ticket: string }>("POST", "/v1/auth/tickets", { token });
    return ticket;
  }

  me(token: string): Promise<Account> {
    return this.#json("GET", "/v1/me", { token });
  }

  teams(token: string): Promise<Page<TeamResult>> {
    return this.#json("GET", "/v1/teams", { token });
  }

  sessions(token: string, options: { limit?: number; cursor?: string } = {}): Promise<Page<SessionData>> {
    const cursor = options.cursor === undefined ? "" : `&cursor=${encodeURIComponent(options.cursor)}`;
    return this.#json("GET", `/v1/sessions?limit=${options.limit ?? 50}${cursor}`, { token });
  }

  session(token: string, session: string): Promise<SessionData> {
    return this.#json("GET", `/v1/sessions/${encodeURIComponent(session)}`, { token });
  }

  updateSession(token: string, session: string, change: { title: string }): Promise<SessionData> {
    return this.#json("PATCH", `/v1/sessions/${encodeURIComponent(session)}`, { token, body: change });
  }

  async deleteSession(token: string, session: string): Promise<void> {
    await this.#fetch("DELETE", `/v1/sessions/${encodeURIComponent(session)}`, { token });
  }

  members(token: string, session: string): Promise<Page<MemberResult>> {
    return this.#json("GET", `/v1/sessions/${encodeURIComponent(session)}/members`, { token });
  }

  /** Adds a user (by id or name) or changes the role. */
  putMember(token: string, session: string, user: string, role: string): Promise<MemberResult> {
    const path = `/v1/sessions/${encodeURIComponent(session)}/members/${encodeURIComponent(user)}`;
    return this.#json("PUT", path, { token, body: { role } });
  }

  /** A link into a session for one person; its token is shown this once. */
  invite(token: string, session: string, role: string): Promise<{ token: string; role: string; expires_at: string }> {
    return this.#json("POST", `/v1/sessions/${encodeURIComponent(session)}/invites`, { token, body: { role } });
  }

  /** Makes the caller a member of the session that a link leads into. */
  acceptInvite(token: string, invite: string): Promise<SessionData> {
    return this.#json("POST", "/v1/invites/accept", { token, body: { token: invite } });
  }

  async removeMember(token: string, session: string, user: string): Promise<void> {
    await this.#fetch("DELETE", `/v1/sessions/${encodeURIComponent(session)}/members/${encodeURIComponent(user)}`, {
      token,
    });
  }

  events(token: string, session: string, afterSeq: number, limit: number): Promise<EventPage> {
    const path = `/v1/sessions/${encodeURIComponent(session)}/events?after_seq=${afterSeq}&limit=${limit}`;
    return this.#json("GET", path, { token });
  }

  transcript(token: string, session: string): Promise<{ session: string; messages: TranscriptMessage[] }> {
    return this.#json("GET", `/v1/sessions/${encodeURIComponent(session)}/transcript?format=json`, { token });
  }

  /** The transcript as text. */
  async export(token: string, session: string, format: "json" | "jsonl" | "markdown"): Promise<string> {
    const path = `/v1/sessions/${encodeURIComponent(session)}/transcript?format=${format}`;
    return (await this.#fetch("GET", path, { token })).text();
  }

  /** Messages of the caller's transcripts that hold these words, the newest first. */
  search(token: string, query: string, options: { limit?: number; cursor?: string } = {}): Promise<Page<SearchHit>> {
    const cursor = options.cursor === undefined ? "" : `&cursor=${encodeURIComponent(options.cursor)}`;
    return this.#json("GET", `/v1/search?q=${encodeURIComponent(query)}&limit=${options.limit ?? 20}${cursor}`, {
      token,
    });
  }

  run(token: string, run: string): Promise<RunResult> {
    return this.#json("GET", `/v1/runs/${encodeURIComponent(run)}`, { token });
  }

  /** Uploads a picture, a PDF or a text for a message to this session (`Hub.send` with `attachments`). */
  upload(token: string, session: string, content: Blob, name: string): Promise<AttachmentResult> {
    const path = `/v1/sessions/${encodeURIComponent(session)}/attachments?name=${encodeURIComponent(name)}`;
    return this.#json("POST", path, { token, content });
  }

  /** The content of an attachment. */
  async download(token: string, session: string, attachment: string): Promise<Blob> {
    const path = `/v1/sessions/${encodeURIComponent(session)}/attachments/${encodeURIComponent(attachment)}`;
    return (await this.#fetch("GET", path, { token, timeoutMs: UPLOAD_TIMEOUT_MS })).blob();
  }

  /** Removes what this user has uploaded and no message has; `conflict` when one has it. */
  async discard(token: string, session: string, attachment: string): Promise<void> {
    const path = `/v1/sessions/${encodeURIComponent(session)}/attachments/${encodeURIComponent(attachment)}`;
    await this.#fetch("DELETE", path, { token });
  }

  /** Everything about a session, one object after the other. Throws `unavailable` when it was cut off: only after the
   * line `end` it is whole. */
  exportSession(token: string, session: string): AsyncGenerator<ExportLine> {
    return this.#lines(`/v1/sessions/${encodeURIComponent(session)}/export`, token);
  }

  /** Everything about the caller, as `exportSession` gives that of a session. */
  exportMe(token: string): AsyncGenerator<ExportLine> {
    return this.#lines("/v1/me/export", token);
  }

  /** Erases the caller, for ever: the account, and all they have said. Who has a password gives it. From the answer, which
   * is the id that is left, on the credential has ended. */
  async eraseMe(token: string, password?: string): Promise<string> {
    const body = password === undefined ? {} : { password };
    return (await this.#json<{ user: string }>("DELETE", "/v1/me", { token, body })).user;
  }

  async *#lines(path: string, token: string): AsyncGenerator<ExportLine> {
    const response = await this.#fetch("GET", path, { token, timeoutMs: EXPORT_TIMEOUT_MS });
    const cutOff = () => new HubError("unavailable", "The export was cut off.", { retryable: true });
    if (response.body === null) throw cutOff();
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let begun = "";
    let between = -1;
    let whole = false;
    try {
      for (;;) {
        const { done, value } = await reader.read().catch(() => {
          throw cutOff();
        });
        if (done) break;
        const lines = (begun + decoder.decode(value, { stream: true })).split("\n");
        begun = lines.pop() ?? "";
        for (const text of lines) {
          const line = JSON.parse(text) as ExportLine;
          if (line.kind === "end") whole = line["lines"] === between;
          else between += 1;
          yield line;
        }
      }
    } finally {
      await reader.cancel().catch(() => undefined); // who has seen enough leaves
    }
    if (!whole) throw cutOff();
  }

  async #json<T>(method: string, path: string, request: Request): Promise<T> {
    return (await (await this.#fetch(method, path, request)).json()) as T;
  }

  async #fetch(method: string, path: string, request: Request): Promise<Response> {
    const headers: Record<string, string> = {};
    if (request.token !== undefined) headers["authorization"] = `Bearer ${request.token}`;
    if (request.body !== undefined) headers["content-type"] = "application/json";
    // A blob brings its own type along.
    const body = request.content ?? (request.form ? new URLSearchParams(request.form) : JSON.stringify(request.body));
    let response: Response;
    try {
      const usual = request.content ? UPLOAD_TIMEOUT_MS : TIMEOUT_MS;
      const signal = AbortSignal.timeout(request.timeoutMs ?? usual);
      response = await fetch(this.#base + path, { method, headers, body, signal, cache: "no-store" });
    } catch {
      throw new HubError("unavailable", "The hub cannot be reached.", { retryable: true });
    }
    if (!response.ok) throw await problem(response);
    return response;
  }
}

/** RFC 9457 problem details, as far as the answer holds them (a proxy's answer does not). */
async function problem(response: Response): Promise<HubError> {
  const body = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  const text = (key: string) => (typeof body[key] === "string" ? body[key] : undefined);
  const code = text("code") ?? (response.status === 401 ? "unauthenticated" : "unavailable");
  return new HubError(code, text("detail") ?? text("title") ?? `The hub answered ${response.status}.`, {
    retryable: typeof body["retryable"] === "boolean" ? body["retryable"] : response.status >= 500,
    retryAfter: typeof body["retry_after"] === "number" ? body["retry_after"] : null,
    details: (body["details"] ?? {}) as Record<string, unknown>,
  });
}
