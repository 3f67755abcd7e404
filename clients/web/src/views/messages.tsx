import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { Conversation } from "../store/conversation.ts";
import { describe } from "../store/conversation.ts";
import type { Pending } from "../store/drafts.ts";
import type { AgentItem, Item, NoticeItem, Phase, RequestItem, ToolItem, UserItem } from "../store/items.ts";
import { clock, moment } from "../text/time.ts";
import { Avatar, lane } from "./avatar.tsx";
import { useApp } from "./context.ts";
import { Chevron, Tool } from "./icons.tsx";
import { CopyButton, Markdown } from "./markdown.tsx";

/** One item of a transcript. Each renders by itself: what streams does not touch what stands. */
export function ItemView({ item, conversation }: { item: Item; conversation: Conversation }) {
  switch (item.kind) {
    case "user":
      return <UserMessage item={item} conversation={conversation} />;
    case "agent":
      return <AgentMessage item={item} conversation={conversation} />;
    case "tool":
      return <ToolCall item={item} conversation={conversation} />;
    case "request":
      return <Request item={item} conversation={conversation} />;
    case "notice":
      return <Notice item={item} />;
  }
}

function UserMessage({ item, conversation }: { item: UserItem; conversation: Conversation }) {
  const account = useApp().account.state.value;
  const isMine = account.kind === "signed-in" && account.user.id === item.author.id;
  const text = item.text.value;
  return (
    <article class={`message user ${isMine ? "mine" : ""}`} aria-label={isMine ? "You" : item.author.name}>
      <header>
        {!isMine && <Avatar name={item.author.name} kind="person" />}
        {!isMine && <span class="name">{item.author.name}</span>}
        {item.to !== null && <span class="tag">to {conversation.displayName(item.to)}</span>}
        <time dateTime={item.at} title={moment(item.at)}>
          {clock(item.at)}
        </time>
      </header>
      <div class="bubble">{text === null ? <em class="gone">Removed</em> : text}</div>
    </article>
  );
}

/** What was said but is not in the log yet. */
export function PendingMessage({ pending, conversation }: { pending: Pending; conversation: Conversation }) {
  return (
    <article class="message user mine pending" aria-label="You, not sent yet">
      <div class="bubble">{pending.text}</div>
      {pending.error === null ? (
        <p class="delivery">{pending.acknowledged ? "Sent" : "Sending…"}</p>
      ) : (
        <p class="delivery failed" role="alert">
          Not sent: {pending.error}
          <button type="button" onClick={() => conversation.retry(pending)}>
            Try again
          </button>
          <button type="button" onClick={() => conversation.discard(pending)}>
            Discard
          </button>
        </p>
      )}
    </article>
  );
}

const PHASES: Partial<Record<Phase, string>> = {
  interrupted: "stopped here",
  failed: "failed here",
  superseded: "done again",
};

function AgentMessage({ item, conversation }: { item: AgentItem; conversation: Conversation }) {
  const { author } = item;
  const phase = item.phase.value;
  const isConnected = useApp().connection.value.kind === "open";
  const text = item.text.value;
  const usage = item.usage.value;
  const body = phase === "redacted" ? <p class="gone">Removed</p> : <Markdown text={text} />;
  return (
    <article
      class={`message agent ${phase} ${lane(author.name, conversation.team.value?.agents ?? [])} ${isConnected ? "" : "apart"}`}
      aria-label={author.display_name}
      aria-busy={phase === "writing"}
      data-message={item.key}
    >
      <Avatar name={author.display_name} kind="agent" />
      <div class="content">
        <header>
          <span class="name">{author.display_name}</span>
          {phase === "writing" && <Writing />}
          {PHASES[phase] && <span class="tag">{PHASES[phase]}</span>}
          <span class="grow" />
          {phase !== "writing" && phase !== "redacted" && text !== "" && <CopyButton text={text} what="message" />}
          {item.at.value !== null && (
            <time
              dateTime={item.at.value}
              title={moment(item.at.value) + (usage ? ` · ${usage.completion_tokens} tokens` : "")}
            >
              {clock(item.at.value)}
            </time>
          )}
        </header>
        {item.reasoning.value !== "" && (
          <Reasoning text={item.reasoning.value} isLive={phase === "writing" && text === ""} />
        )}
        {phase === "superseded" ? <Fold summary="What had been written before">{body}</Fold> : body}
      </div>
    </article>
  );
}

export function Writing() {
  return (
    <span class="writing" role="img" aria-label="writing">
      <i />
      <i />
      <i />
    </span>
  );
}

function Fold({
  summary,
  children,
  class: extra = "",
}: {
  summary: ComponentChildren;
  children: ComponentChildren;
  class?: string;
}) {
  const open = useSignal(false);
  return (
    <details class={`fold ${extra}`} onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>
        <Chevron />
        {summary}
      </summary>
      {open.value && <div class="fold-body">{children}</div>}
    </details>
  );
}

function Reasoning({ text, isLive }: { text: string; isLive: boolean }) {
  return (
    <Fold class="reasoning" summary={isLive ? "Thinking…" : "Thoughts"}>
      <p>{text}</p>
    </Fold>
  );
}

function ToolCall({ item, conversation }: { item: ToolItem; conversation: Conversation }) {
  const outcome = item.outcome.value;
  const failed = typeof outcome === "object" && outcome.isError;
  const state = outcome === "pending" ? "running" : outcome === "unknown" ? "no answer" : failed ? "failed" : "done";
  const summary = (
    <>
      <Tool />
      <span>
        <b>{conversation.displayName(item.agent)}</b> uses <code>{item.name}</code>
      </span>
      <span class={`tag ${failed ? "bad" : ""}`}>{state}</span>
      {outcome === "pending" && <span class="spinner" aria-hidden="true" />}
    </>
  );
  return (
    <Fold class={`tool ${lane(item.agent, conversation.team.value?.agents ?? [])}`} summary={summary}>
      <h4>Arguments</h4>
      <pre>{JSON.stringify(item.arguments, null, 2)}</pre>
      {typeof outcome === "object" && (
        <>
          <h4>{outcome.isError ? "Error" : "Result"}</h4>
          <pre>{outcome.result}</pre>
        </>
      )}
    </Fold>
  );
}

const DECISIONS = { approve: "Approved", reject: "Rejected", expired: "Expired" };

/** A question to the people here. */
function Request({ item, conversation }: { item: RequestItem; conversation: Conversation }) {
  const error = useSignal<string | null>(null);
  const answer = useSignal("");
  const { request } = item;
  const resolved = item.resolved.value;
  const respond = async (decision: "approve" | "reject" | null, text: string | null) => {
    error.value = null;
    try {
      await conversation.respond(request.request, decision, text);
    } catch (cause) {
      error.value = describe(cause);
    }
  };
  return (
    <section class="request" aria-label="The team asks">
      <p>
        <b>{conversation.displayName(request.agent)}</b> asks: {request.prompt}
      </p>
      {resolved !== null ? (
        <p class="resolved">
          {resolved.decision ? DECISIONS[resolved.decision] : resolved.text}
          {resolved.by ? ` by ${resolved.by.name}` : ""}
        </p>
      ) : request.kind === "question" ? (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (answer.value.trim() !== "") void respond(null, answer.value);
          }}
        >
          <input aria-label="Answer" value={answer} onInput={(event) => (answer.value = event.currentTarget.value)} />
          <button type="submit" class="primary">
            Answer
          </button>
        </form>
      ) : (
        <p class="choices">
          <button type="button" class="primary" onClick={() => void respond("approve", null)}>
            {request.kind === "retry" ? "Try again" : "Approve"}
          </button>
          <button type="button" onClick={() => void respond("reject", null)}>
            {request.kind === "retry" ? "Give up" : "Reject"}
          </button>
          <span class="hint">until {clock(request.expires_at)}</span>
        </p>
      )}
      {error.value !== null && (
        <p class="form-error" role="alert">
          {error.value}
        </p>
      )}
    </section>
  );
}

function Notice({ item }: { item: NoticeItem }) {
  return <p class={`notice ${item.tone}`}>{item.text}</p>;
}
