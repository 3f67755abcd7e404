import { useComputed, useSignal } from "@preact/signals";
import type { Conversation } from "../store/conversation.ts";
import type { Pending } from "../store/drafts.ts";
import type { AgentItem, BranchItem, Fate, Item, NoticeItem, Phase, UserItem } from "../store/items.ts";
import { moment, said } from "../text/time.ts";
import { Actions, EditBox } from "./actions.tsx";
import { Attachments } from "./attachments.tsx";
import { Avatar, lane } from "./avatar.tsx";
import { useApp } from "./context.ts";
import { Fold } from "./fold.tsx";
import { Markdown } from "./markdown.tsx";
import { Request } from "./request.tsx";
import { ToolCall } from "./tool_call.tsx";

interface ItemProps {
  item: Item;
  conversation: Conversation;
  /** What stands from here on was not read before. */
  isFirstNew: boolean;
}

/** One item of a transcript. Each renders by itself: what streams does not touch what stands. */
export function ItemView({ item, conversation, isFirstNew }: ItemProps) {
  if (!isFirstNew) return <OneItem item={item} conversation={conversation} />;
  return (
    <>
      <p class="new-line" role="separator">
        <span>New</span>
      </p>
      <OneItem item={item} conversation={conversation} />
    </>
  );
}

function OneItem({ item, conversation }: Omit<ItemProps, "isFirstNew">) {
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
      return <Notice item={item} conversation={conversation} />;
    case "branch":
      return <Branch item={item} conversation={conversation} />;
  }
}

function UserMessage({ item, conversation }: { item: UserItem; conversation: Conversation }) {
  const account = useApp().account.state.value;
  const editing = useSignal(false);
  const isMine = account.kind === "signed-in" && account.user.id === item.author.id;
  const fate = item.fate.value;
  return (
    <article
      class={`message user ${isMine ? "mine" : ""} ${fate.kind}`}
      aria-label={isMine ? "You" : item.author.name}
      data-message={item.key}
    >
      <header>
        {!isMine && <Avatar name={item.author.name} kind="person" />}
        {!isMine && <span class="name">{item.author.name}</span>}
        {item.to !== null && <span class="tag">to {conversation.displayName(item.to)}</span>}
        <FateTag fate={fate} conversation={conversation} />
        {fate.kind !== "redacted" && (
          <Actions
            item={item}
            conversation={conversation}
            {...(isMine ? { onEdit: () => (editing.value = true) } : {})}
          />
        )}
        <time dateTime={item.at} title={moment(item.at)}>
          {said(item.at)}
        </time>
      </header>
      {editing.value ? (
        <EditBox item={item} conversation={conversation} onDone={() => (editing.value = false)} />
      ) : fate.kind === "redacted" ? (
        <div class="bubble">
          <em class="gone">Removed by {fate.by}</em>
        </div>
      ) : (
        <>
          {item.text.value !== "" && <div class="bubble">{item.text.value}</div>}
          <Attachments session={conversation.id} attached={item.attached} />
        </>
      )}
    </article>
  );
}

/** What became of a message, where that is not plain from what follows it. */
function FateTag({ fate, conversation }: { fate: Fate; conversation: Conversation }) {
  const app = useApp();
  switch (fate.kind) {
    case "said":
    case "redacted":
      return null;
    case "steering":
      return <span class="tag">heard before the next turn</span>;
    case "steered":
      return <span class="tag">{fate.turn === null ? "taken in" : `taken in at turn ${fate.turn + 1}`}</span>;
    case "follow_up":
      return <span class="tag">answered next</span>;
    case "queued":
      return (
        <>
          <span class="tag">waits its turn</span>
          {conversation.maySend.value && (
            <button
              type="button"
              class="small"
              onClick={() => void conversation.withdraw(fate.run).catch((error: unknown) => app.report(error))}
            >
              Withdraw
            </button>
          )}
        </>
      );
  }
}

/** What was said but is not in the log yet. */
export function PendingMessage({ pending, conversation }: { pending: Pending; conversation: Conversation }) {
  const isConnected = useApp().connection.value.kind === "open";
  return (
    <article class="message user mine pending" aria-label="You, not sent yet">
      {pending.text !== "" && <div class="bubble">{pending.text}</div>}
      {(pending.attachments ?? []).map(({ id, name }) => (
        <p key={id} class="delivery">
          {name}
        </p>
      ))}
      {pending.error === null ? (
        <p class="delivery">
          {pending.acknowledged ? "Sent" : isConnected ? "Sending…" : "Sent when the hub is there again"}
        </p>
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
  const body =
    phase === "redacted" ? <p class="gone">Removed</p> : <Markdown text={text} grows={phase === "writing"} />;
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
          {phase !== "writing" && phase !== "redacted" && phase !== "superseded" && (
            <Actions item={item} conversation={conversation} />
          )}
          {item.at.value !== null && (
            <time
              dateTime={item.at.value}
              title={moment(item.at.value) + (usage ? ` · ${usage.completion_tokens} tokens` : "")}
            >
              {said(item.at.value)}
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

function Reasoning({ text, isLive }: { text: string; isLive: boolean }) {
  return (
    <Fold class="reasoning" summary={isLive ? "Thinking…" : "Thoughts"}>
      <p>{text}</p>
    </Fold>
  );
}

function Branch({ item, conversation }: { item: BranchItem; conversation: Conversation }) {
  const count = item.items.filter(({ kind }) => kind === "user" || kind === "agent").length;
  return (
    <Fold class="branch" summary={`Earlier version · ${count} ${count === 1 ? "message" : "messages"}`}>
      {item.items.map((inner) => (
        <OneItem key={inner.key} item={inner} conversation={conversation} />
      ))}
    </Fold>
  );
}

function Notice({ item, conversation }: { item: NoticeItem; conversation: Conversation }) {
  if (item.unanswered === undefined) return <p class={`notice ${item.tone}`}>{item.text}</p>;
  return (
    <div class={`notice ${item.tone}`}>
      <span>{item.text}</span>
      <Retry seq={item.unanswered} notice={item} conversation={conversation} />
    </div>
  );
}

/** Has the team try again, while nothing has come after what failed. */
function Retry({ seq, notice, conversation }: { seq: number; notice: NoticeItem; conversation: Conversation }) {
  const app = useApp();
  const busy = useSignal(false);
  const isLast = useComputed(() => conversation.transcript.items.value.at(-1) === notice);
  if (!isLast.value || !conversation.maySend.value || conversation.transcript.run.value !== null) return null;
  const retry = async () => {
    busy.value = true;
    await conversation.retryFrom(seq).catch((error: unknown) => app.report(error));
    busy.value = false;
  };
  return (
    <button
      type="button"
      class="small"
      disabled={busy.value || app.connection.value.kind !== "open"}
      onClick={() => void retry()}
    >
      Try again
    </button>
  );
}
