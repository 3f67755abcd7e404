// Made by generate_protocol.py from the hub's own models. Change those, then run it again.

/** The WebSocket subprotocol. */
export const PROTOCOL = "hub.v1";

export interface HelloLimits {
  frame_bytes: number;
  commands_per_minute: number;
  sessions: number;
}

export interface Person {
  id: string;
  name: string;
}

/** The first frame after authentication. */
export interface Hello {
  type: "hello";
  connection: string;
  user: Person;
  node: string;
  expires_at: string;
  heartbeat_s: number;
  limits: HelloLimits;
}

/** Why a command failed. `retry_after` is in seconds. */
export interface ReplyError {
  code: string;
  message: string;
  retryable: boolean;
  retry_after?: number | null;
  details: Record<string, unknown>;
}

/** The one answer to a command: `result` when `ok`, else `error`. */
export interface Reply {
  type: "reply";
  id: string | null;
  ok: boolean;
  result?: Record<string, unknown> | null;
  error?: ReplyError | null;
}

/** The session a conversation was copied from, and the place in its log. */
export interface ForkedFromData {
  session: string;
  at_seq: number;
}

export interface SessionCreatedData {
  id: string;
  title: string;
  team: string;
  role: "owner" | "editor" | "approver" | "viewer" | null;
  status: "idle" | "running" | "waiting" | "paused";
  last_seq: number;
  on_busy: "queue" | "reject" | "interrupt" | "steer";
  created_at: string;
  updated_at: string;
  metadata: Record<string, unknown>;
  organisation?: string | null;
  forked_from?: ForkedFromData | null;
  preview?: string | null;
}

export interface SessionCreated {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "session.created";
  data: SessionCreatedData;
}

export interface SessionUpdatedData {
  id: string;
  title: string;
  team: string;
  role: "owner" | "editor" | "approver" | "viewer" | null;
  status: "idle" | "running" | "waiting" | "paused";
  last_seq: number;
  on_busy: "queue" | "reject" | "interrupt" | "steer";
  created_at: string;
  updated_at: string;
  metadata: Record<string, unknown>;
  organisation?: string | null;
  forked_from?: ForkedFromData | null;
  preview?: string | null;
}

export interface SessionUpdated {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "session.updated";
  data: SessionUpdatedData;
}

export interface MemberAddedData {
  user: string;
  name: string;
  role: "owner" | "editor" | "approver" | "viewer";
}

export interface MemberAdded {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "member.added";
  data: MemberAddedData;
}

export interface MemberRemovedData {
  user: string;
  name: string;
  role: "owner" | "editor" | "approver" | "viewer";
}

export interface MemberRemoved {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "member.removed";
  data: MemberRemovedData;
}

export interface MemberUpdatedData {
  user: string;
  name: string;
  role: "owner" | "editor" | "approver" | "viewer";
}

export interface MemberUpdated {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "member.updated";
  data: MemberUpdatedData;
}

/** `replaces` is the message in whose place this one stands, `steers` the run that it is to steer. */
export interface MessageCreatedData {
  message: string;
  author: UserAuthor;
  text: string;
  parts: Record<string, unknown>[];
  client_id: string;
  to: string | null;
  replaces?: string | null;
  steers?: string | null;
}

export interface UserAuthor {
  kind: "user";
  id: string;
  name: string;
}

export interface MessageCreated {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "message.created";
  data: MessageCreatedData;
}

export interface RunQueuedData {
  input_seq: number;
}

export interface RunQueued {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "run.queued";
  data: RunQueuedData;
}

/** `team_version` is that of a team which was imported; the run keeps it. */
export interface RunStartedData {
  team: string;
  attempt: number;
  node: string;
  team_version?: number | null;
}

export interface RunStarted {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "run.started";
  data: RunStartedData;
}

export interface TurnStartedData {
  turn: number;
  agent: string;
  attempt: number;
}

export interface TurnStarted {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "turn.started";
  data: TurnStartedData;
}

/** What this turn showed so far is void; it is done again. */
export interface TurnSupersededData {
  turn: number;
  attempt: number;
  messages: string[];
  reason: string;
}

export interface TurnSuperseded {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "turn.superseded";
  data: TurnSupersededData;
}

export interface AgentAuthor {
  kind: "agent";
  name: string;
  display_name: string;
}

/** The whole text of an agent's message; it replaces whatever was streamed. */
export interface MessageCompletedData {
  message: string;
  author: AgentAuthor;
  text: string;
  reasoning?: string | null;
  turn: number;
  status: "complete" | "interrupted" | "failed";
  usage: UsageData;
}

/** `cost` is in the operator's currency, and there only where a price is known. */
export interface UsageData {
  prompt_tokens: number;
  completion_tokens: number;
  cost?: number | null;
}

export interface MessageCompleted {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "message.completed";
  data: MessageCompletedData;
}

export interface ToolCalledData {
  call: string;
  agent: string;
  name: string;
  arguments: Record<string, unknown>;
  turn: number;
}

export interface ToolCalled {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "tool.called";
  data: ToolCalledData;
}

/** What a call came to. Of a large result `result` is the beginning and `characters` tells how large it is: `GET /v1/sessions/{id}/calls/{call}` has all of it. */
export interface ToolReturnedData {
  call: string;
  name: string;
  result: string;
  is_error: boolean;
  characters?: number | null;
}

export interface ToolReturned {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "tool.returned";
  data: ToolReturnedData;
}

export interface AgentHandoffData {
  from: string;
  to: string;
  reason: string;
}

export interface AgentHandoff {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "agent.handoff";
  data: AgentHandoffData;
}

/** A run asks a person. `arguments_sha256` is of the call's `arguments` as canonical JSON. Open until it is resolved or its run has finished. `approvers` people have to approve (absent: one); the user `not_by` may not. */
export interface InputRequestedData {
  request: string;
  kind: "approval" | "question" | "retry";
  agent: string;
  prompt: string;
  call?: string | null;
  tool?: string | null;
  arguments?: Record<string, unknown> | null;
  arguments_sha256?: string | null;
  expires_at: string;
  approvers?: number | null;
  not_by?: string | null;
}

export interface InputRequested {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "input.requested";
  data: InputRequestedData;
}

/** One of several yeses that a request needs: `approvals` of `approvers` are there now. The last one is `input.resolved`. */
export interface InputApprovedData {
  request: string;
  text: string | null;
  by: Person;
  approvals: number;
  approvers: number;
}

export interface InputApproved {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "input.approved";
  data: InputApprovedData;
}

/** The answer. `by` has the id `hub` when the hub gave it itself, because nobody did in time. `approved_by` are all who have approved, when it took several. */
export interface InputResolvedData {
  request: string;
  decision: "approve" | "reject" | null;
  text: string | null;
  by: Person;
  approved_by?: Person[] | null;
}

export interface InputResolved {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "input.resolved";
  data: InputResolvedData;
}

export interface MessageSteeredData {
  message: string;
  outcome: "consumed" | "follow_up";
  turn?: number | null;
}

export interface MessageSteered {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "message.steered";
  data: MessageSteeredData;
}

/** The message is not part of the conversation any more: it was `edited`, or stood behind one that was, or is to be `regenerated`, or belongs to a person who was `erased`: then its text is gone from the log, too. */
export interface MessageRedactedData {
  message: string;
  by: Person;
  reason?: "edited" | "regenerated" | "erased" | null;
}

export interface MessageRedacted {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "message.redacted";
  data: MessageRedactedData;
}

export interface ErrorData {
  code: string;
  message: string;
}

export interface RunFinishedData {
  status: "completed" | "failed" | "cancelled";
  reason: string;
  error?: ErrorData | null;
  usage: UsageData;
  input_seq: number;
  turns: number;
  duration_ms: number;
}

export interface RunFinished {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "run.finished";
  data: RunFinishedData;
}

/** `limit` and `used` are of `quantity`; a cost is in the operator's currency. */
export interface BudgetReachedData {
  scope: string;
  quantity: string;
  limit: number;
  used: number;
}

export interface BudgetReached {
  session: string;
  run?: string | null;
  ts: string;
  seq: number;
  type: "budget.reached";
  data: BudgetReachedData;
}

/** The next piece of an open message. `n` (absent: 1): how many pieces are merged in it; next is `index + n`. */
export interface MessageDeltaData {
  message: string;
  turn: number;
  author: AgentAuthor;
  index: number;
  text: string;
  n?: number | null;
}

export interface MessageDelta {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "message.delta";
  data: MessageDeltaData;
}

/** The whole text so far of an open message; the next delta is `index`. */
export interface MessageSnapshotData {
  message: string;
  turn: number;
  author: AgentAuthor;
  index: number;
  text: string;
}

export interface MessageSnapshot {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "message.snapshot";
  data: MessageSnapshotData;
}

export interface ReasoningDeltaData {
  message: string;
  turn: number;
  author: AgentAuthor;
  index: number;
  text: string;
}

export interface ReasoningDelta {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "reasoning.delta";
  data: ReasoningDeltaData;
}

export interface PresenceChangedData {
  user: string;
  name: string;
  status: "active" | "idle" | "typing" | "offline";
  connections: number;
}

export interface PresenceChanged {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "presence.changed";
  data: PresenceChangedData;
}

export interface AgentStatusData {
  agent: string;
  status: "thinking" | "writing" | "calling" | "idle";
}

export interface AgentStatus {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "agent.status";
  data: AgentStatusData;
}

/** Events after `from_seq` follow again from the log. */
export interface ResyncData {
  from_seq: number;
  reason: string;
}

export interface Resync {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "resync";
  data: ResyncData;
}

export interface AuthExpiringData {
  expires_at: string;
}

export interface AuthExpiring {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "auth.expiring";
  data: AuthExpiringData;
}

export interface ServerDrainingData {
  reconnect_after_ms: number;
}

export interface ServerDraining {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "server.draining";
  data: ServerDrainingData;
}

/** What a message has beside its words; its content is at `/v1/sessions/{session}/attachments/{id}`. */
export interface HeardAttachment {
  id: string;
  name: string;
  media_type: string;
  size: number;
  sha256: string;
}

/** Something that was said before, as the agent knows it. An agent's `name` is that of the team's file. */
export interface HeardData {
  kind: "user" | "agent";
  name: string;
  text: string;
  attachments?: HeardAttachment[] | null;
}

/** A turn for a registered agent, to this connection alone. `attempt` is that of `turn.started`, `retry` how often the turn was offered before in it. `context` is what the agent has heard, the newest last; `prompt` is the message that asked for the run. Seconds count from now. */
export interface TurnOfferedData {
  offer: string;
  agent: string;
  team: string;
  turn: number;
  attempt: number;
  retry: number;
  instructions: string;
  prompt: string;
  context: HeardData[];
  handoffs: string[];
  accept_s: number;
  silence_s: number;
  timeout_s: number;
}

export interface TurnOffered {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "turn.offered";
  data: TurnOfferedData;
}

/** The offer does not stand any more: nothing is taken from it. */
export interface TurnWithdrawnData {
  offer: string;
  reason: "superseded" | "not_accepted" | "silent" | "timed_out" | "cancelled" | "lost";
}

export interface TurnWithdrawn {
  session?: string | null;
  run?: string | null;
  ts?: string | null;
  type: "turn.withdrawn";
  data: TurnWithdrawnData;
}

/** A session; `role` is the viewer's, and null in events, which are the same for everybody. `preview` is there in lists, of sessions without a title: how the first message begins. */
export interface SessionData {
  id: string;
  title: string;
  team: string;
  role: "owner" | "editor" | "approver" | "viewer" | null;
  status: "idle" | "running" | "waiting" | "paused";
  last_seq: number;
  on_busy: "queue" | "reject" | "interrupt" | "steer";
  created_at: string;
  updated_at: string;
  metadata: Record<string, unknown>;
  organisation?: string | null;
  forked_from?: ForkedFromData | null;
  preview?: string | null;
}

export interface AuthResult {
  user: Person;
  expires_at: string;
}

export interface PingResult {
  time: string;
}

/** `{}`: done, nothing to say. */
export interface Empty {}

export interface PresenceData {
  user: string;
  name: string;
  status: "active" | "idle" | "typing" | "offline";
  connections: number;
}

/** `session` is the id; `replay_from` the seq of the first event of the replay (`last_seq + 1`: there is none). */
export interface JoinResult {
  session: string;
  role: string;
  last_seq: number;
  replay_from: number;
  presence: PresenceData[];
}

/** `run` is null when the message neither started nor queued a run. */
export interface SendResult {
  seq: number;
  message: string;
  run: string | null;
}

export interface RunCommandResult {
  run: string;
  status: string;
}

export interface SeqResult {
  seq: number;
}

export interface SeqRunResult {
  seq: number;
  run: string | null;
}

/** What this connection takes turns of; null: wherever the caller may. */
export interface RegisterResult {
  agent: string;
  session: string | null;
  team: string | null;
  turns: number;
}

export interface MemberResult {
  user: string;
  name: string;
  role: string;
}

export interface RunResult {
  id: string;
  session: string;
  status: string;
  team: string;
  attempt: number;
  input_seq: number;
  turns: number;
  usage: UsageData;
  created_at: string;
  finished_at: string | null;
}

/** `kind` is what speaks as the agent: a model, a program over the wire, a person who is asked, a runnable, or a team. */
export interface AgentResult {
  name: string;
  display_name: string;
  kind: "model" | "bot" | "human" | "runnable" | "team";
}

/** `version` is that of a team which was imported; null for one that comes with the hub or out of a file. */
export interface TeamResult {
  name: string;
  description: string;
  model: string;
  agents: AgentResult[];
  version?: number | null;
}

/** One message of a transcript; `run` is null where it belongs to none. `parts` is there when it has attachments. */
export interface TranscriptMessage {
  message: string;
  seq: number;
  run: string | null;
  author: Record<string, unknown>;
  text: string;
  status: string;
  created_at: string;
  parts?: Record<string, unknown>[] | null;
}

/** What was uploaded. `sha256` is in lower-case hex, `size` in bytes. */
export interface AttachmentResult {
  id: string;
  session: string;
  name: string;
  media_type: string;
  size: number;
  sha256: string;
  created_at: string;
}

/** A message in which the words were found. `snippet` is plain text around them, `title` the session's. */
export interface SearchHit {
  session: string;
  title: string;
  message: string;
  seq: number;
  author: Record<string, unknown>;
  snippet: string;
  created_at: string;
}

/** Authenticate, as first frame, or replace the credential of the open connection (same user). */
export interface Auth {
  id: string;
  type: "auth";
  token: string;
}

/** Is anybody there; answered with the hub's time. */
export interface Ping {
  id: string;
  type: "ping";
}

/** What a message does when a run is already live in its session. */
export type OnBusy = "queue" | "reject" | "interrupt" | "steer";

/** Open a session with a team; the caller becomes its owner. */
export interface SessionCreate {
  id: string;
  type: "session.create";
  team: string;
  title?: string;
  metadata?: Record<string, unknown>;
  on_busy?: OnBusy;
  organisation?: string;
}

/** Follow a session: its events after `after_seq` (absent: the last 50), then everything live. */
export interface SessionJoin {
  id: string;
  type: "session.join";
  session: string;
  after_seq?: number;
}

/** Stop following a session. */
export interface SessionLeave {
  id: string;
  type: "session.leave";
  session: string;
}

/** Something that the author has uploaded to the session (`POST /v1/sessions/{id}/attachments`). */
export interface AttachmentPart {
  type: "attachment";
  id: string;
}

/** A piece of a message's content. */
export interface TextPart {
  type: "text";
  text: string;
}

/** Say something in a session. `client_id` is the idempotency key of the author in this session. */
export interface MessageSend {
  id: string;
  type: "message.send";
  session: string;
  client_id: string;
  text?: string;
  parts?: (TextPart | AttachmentPart)[];
  to?: string;
  on_busy?: OnBusy;
}

/** Replace a message of the caller, cut the conversation there and run again. */
export interface MessageEdit {
  id: string;
  type: "message.edit";
  session: string;
  message: string;
  text: string;
}

/** Have the team answer again. */
export interface MessageRegenerate {
  id: string;
  type: "message.regenerate";
  session: string;
  message: string;
}

/** Stop a run; without `run`, the live one (or else the one that is next in the queue). */
export interface RunCancel {
  id: string;
  type: "run.cancel";
  session: string;
  run?: string;
}

/** Let the run stop after its present turn. */
export interface RunPause {
  id: string;
  type: "run.pause";
  session: string;
}

/** Let a paused run go on. */
export interface RunResume {
  id: string;
  type: "run.resume";
  session: string;
}

/** Answer a question or an approval of a run. With `arguments_sha256` the answer is for these arguments only. */
export interface InputRespond {
  id: string;
  type: "input.respond";
  session: string;
  request: string;
  decision?: "approve" | "reject";
  text?: string;
  arguments_sha256?: string;
}

/** A new session with this one's conversation up to `at_seq`. */
export interface SessionFork {
  id: string;
  type: "session.fork";
  session: string;
  at_seq: number;
}

/** Tell the others in a session what the caller is doing. */
export interface PresenceSet {
  id: string;
  type: "presence.set";
  session: string;
  status: "active" | "idle" | "typing";
}

/** Take turns of the agent `agent` from now on, on this connection: of one session, of one team's sessions, or wherever the caller may. `turns`: how many at once; 0 takes no new ones. */
export interface AgentRegister {
  id: string;
  type: "agent.register";
  agent: string;
  session?: string;
  team?: string;
  turns?: number;
}

/** The next piece of an offered turn's text, `index` 0, 1, 2 …; an empty one says that the bot is at work. */
export interface TurnDelta {
  id: string;
  type: "turn.delta";
  offer: string;
  index: number;
  text: string;
}

/** An offered turn is done. Without `text` it is that of its deltas; in a swarm it may hand over. */
export interface TurnComplete {
  id: string;
  type: "turn.complete";
  offer: string;
  text?: string;
  handoff?: string;
}

/** Somebody else is to take an offered turn. */
export interface TurnDecline {
  id: string;
  type: "turn.decline";
  offer: string;
  reason?: string;
}

export type DurableEvent =
  | SessionCreated
  | SessionUpdated
  | MemberAdded
  | MemberRemoved
  | MemberUpdated
  | MessageCreated
  | RunQueued
  | RunStarted
  | TurnStarted
  | TurnSuperseded
  | MessageCompleted
  | ToolCalled
  | ToolReturned
  | AgentHandoff
  | InputRequested
  | InputApproved
  | InputResolved
  | MessageSteered
  | MessageRedacted
  | RunFinished
  | BudgetReached;

export type LiveEvent =
  | MessageDelta
  | MessageSnapshot
  | ReasoningDelta
  | PresenceChanged
  | AgentStatus
  | Resync
  | AuthExpiring
  | ServerDraining
  | TurnOffered
  | TurnWithdrawn;

export type AnyEvent = DurableEvent | LiveEvent;

export type ServerFrame = Hello | Reply | AnyEvent;

export type Command =
  | Auth
  | Ping
  | SessionCreate
  | SessionJoin
  | SessionLeave
  | MessageSend
  | MessageEdit
  | MessageRegenerate
  | RunCancel
  | RunPause
  | RunResume
  | InputRespond
  | SessionFork
  | PresenceSet
  | AgentRegister
  | TurnDelta
  | TurnComplete
  | TurnDecline;
