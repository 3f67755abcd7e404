import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import type { Conversation } from "../store/conversation.ts";
import type { Item } from "../store/items.ts";
import { nameOf } from "../text/title.ts";
import { AgentStrip } from "./agent_strip.tsx";
import { Composer } from "./composer.tsx";
import { useApp, useWorkspace } from "./context.ts";
import { Pause, Play } from "./icons.tsx";
import { People } from "./people.tsx";
import { SessionMenu } from "./session_menu.tsx";
import { TranscriptView } from "./transcript.tsx";

const SPOKEN = 300; // characters of a message that are read out

export function ConversationView({ conversation, opener }: { conversation: Conversation; opener: ComponentChildren }) {
  const { sessions } = useWorkspace();
  const session = useComputed(() => sessions.list.value.find(({ id }) => id === conversation.id));
  const title = nameOf(session.value);
  useTitle(title, conversation);
  useAnnouncements(conversation);

  const phase = conversation.phase.value;
  if (phase.kind === "failed") {
    return (
      <main class="conversation">
        <div class="bar-top">{opener}</div>
        <div class="failed-view">
          <p>{phase.message}</p>
          <a href="#">Start a new session</a>
        </div>
      </main>
    );
  }
  return (
    <main class="conversation">
      <header class="bar-top">
        {opener}
        <h1 title={title}>{title}</h1>
        <People conversation={conversation} />
        <SessionMenu conversation={conversation} title={title} />
      </header>
      <AgentStrip conversation={conversation} />
      <TranscriptView conversation={conversation}>
        <Waiting conversation={conversation} />
      </TranscriptView>
      <div class="below">
        <Typing conversation={conversation} />
        <Paused conversation={conversation} />
        <Composer conversation={conversation} />
      </div>
    </main>
  );
}

/** Something has been asked and nothing shows yet what becomes of it. */
function Waiting({ conversation }: { conversation: Conversation }) {
  const { transcript } = conversation;
  const run = transcript.run.value;
  const isTold =
    transcript.waits.value ||
    conversation.status.value === "paused" ||
    transcript.items.value.some((item) => item.kind === "agent" && item.phase.value === "writing");
  if (run === null || isTold) return null;
  const thinking = [...transcript.activity.value]
    .filter(([, activity]) => activity === "thinking")
    .map(([name]) => conversation.displayName(name));
  const words =
    run.phase === "queued"
      ? "Waiting for a free hand…"
      : thinking.length > 0
        ? `${thinking.join(", ")} ${thinking.length > 1 ? "are" : "is"} thinking…`
        : "The team is at it…";
  return <p class="notice quiet shimmer">{words}</p>;
}

/** The team stands still until somebody lets it go on. */
function Paused({ conversation }: { conversation: Conversation }) {
  const app = useApp();
  const resume = () => void conversation.resume().catch((error: unknown) => app.report(error));
  if (conversation.status.value !== "paused") return null;
  return (
    <div class="paused" role="status">
      <Pause />
      <span class="grow">The team is paused.</span>
      {conversation.maySend.value && (
        <button type="button" class="primary" disabled={app.connection.value.kind !== "open"} onClick={resume}>
          <Play /> Resume
        </button>
      )}
    </div>
  );
}

function Typing({ conversation }: { conversation: Conversation }) {
  const account = useApp().account.state.value;
  const me = account.kind === "signed-in" ? account.user.id : "";
  const names = conversation.presence.value
    .filter(({ user, status }) => status === "typing" && user !== me)
    .map(({ name }) => name);
  return (
    <p class="others">{names.length === 0 ? "" : `${names.join(", ")} ${names.length > 1 ? "are" : "is"} typing…`}</p>
  );
}

function useTitle(title: string, conversation: Conversation): void {
  useSignalEffect(() => {
    const isBusy = conversation.transcript.run.value !== null;
    document.title = `${isBusy ? "● " : ""}${title} · Agent Hub`;
    return () => {
      document.title = "Agent Hub";
    };
  });
}

/** Reads finished messages out, and nothing of what is still being written. */
function useAnnouncements(conversation: Conversation): void {
  const app = useApp();
  const spoken = useRef<Set<string> | null>(null);
  const lines = useSignal(0);
  useSignalEffect(() => {
    const items = conversation.transcript.items.value;
    if (conversation.phase.value.kind !== "live") return;
    const known = spoken.current;
    spoken.current = new Set(
      items.filter((item) => item.kind !== "agent" || item.phase.value !== "writing").map(({ key }) => key),
    );
    if (known === null) return;
    const fresh = items.filter((item) => spoken.current?.has(item.key) && !known.has(item.key)).map(words);
    if (fresh.length === 0 || fresh.length > 8) return; // a replay is not news
    lines.value += 1;
    app.announcement.value = fresh.join(". ");
  });
}

function words(item: Item): string {
  switch (item.kind) {
    case "user":
      return `${item.author.name}: ${item.text.value.slice(0, SPOKEN)}`;
    case "agent":
      return `${item.author.display_name}: ${item.text.value.slice(0, SPOKEN)}`;
    case "tool":
      return `${item.agent} uses ${item.name}`;
    case "request":
      return `${item.request.agent} asks: ${item.request.prompt}`;
    case "notice":
      return item.text;
    case "branch":
      return "An earlier version was set aside";
  }
}
