import { useComputed, useSignal } from "@preact/signals";
import type { SessionData } from "agent-hub-client";
import { href } from "../store/route.ts";
import { when } from "../text/time.ts";
import { nameOf } from "../text/title.ts";
import { Avatar } from "./avatar.tsx";
import { useApp, useWorkspace } from "./context.ts";
import { SearchHits } from "./search_hits.tsx";
import { ManageDialog } from "./session_dialogs.tsx";
import { Close, Dots, Half, Leave, Moon, Plus, Search, Sun } from "./icons.tsx";

const THEMES = {
  system: { Icon: Half, word: "as the system" },
  light: { Icon: Sun, word: "light" },
  dark: { Icon: Moon, word: "dark" },
};

const WRITERS: readonly string[] = ["editor", "owner"];
const UNREAD = { class: "fresh", word: "unread" };
const STATES = {
  running: { class: "pulse", word: "running" },
  waiting: { class: "asks", word: "waits for an answer" },
  paused: { class: "rests", word: "paused" },
};

export function Sidebar({ onHelp, onDone }: { onHelp: () => void; onDone: () => void }) {
  const app = useApp();
  const { sessions, search, current } = useWorkspace();
  const filter = useSignal("");
  const shown = useComputed(() => {
    const wanted = filter.value.trim().toLowerCase();
    return sessions.list.value.filter((session) => `${nameOf(session)} ${session.team}`.toLowerCase().includes(wanted));
  });
  const look = (text: string) => {
    filter.value = text;
    search.ask(text);
  };
  return (
    <nav class="sidebar" aria-label="Sessions">
      <header>
        <img src="/favicon.svg" width="26" height="26" alt="" />
        <strong>Agent Hub</strong>
        <button type="button" class="quiet drawer-close" aria-label="Close" onClick={onDone}>
          <Close />
        </button>
      </header>
      <a
        class="new-session"
        href="#"
        title="Alt + N"
        aria-current={current.value === null ? "page" : undefined}
        onClick={onDone}
      >
        <Plus /> New session
      </a>
      <label class="filter">
        <Search />
        <span class="unseen">Search sessions and messages</span>
        <input
          id="session-filter"
          type="search"
          placeholder="Search"
          value={filter}
          onInput={(event) => look(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Escape" || filter.value === "") return;
            event.stopPropagation();
            look("");
          }}
        />
      </label>
      <div class="session-list">
        <ul>
          {shown.value.map((session) => (
            <SessionLink
              key={session.id}
              session={session}
              isCurrent={current.value?.id === session.id}
              onPick={onDone}
            />
          ))}
        </ul>
        {!sessions.loaded.value && <p class="nothing">Loading…</p>}
        {sessions.loaded.value && shown.value.length === 0 && (
          <p class="nothing">
            {filter.value === ""
              ? "No sessions yet."
              : sessions.hasMore.value
                ? "None of the newest sessions is called that."
                : "No session is called that."}
          </p>
        )}
        {sessions.hasMore.value && (
          <button
            type="button"
            class="more"
            onClick={() => void sessions.more().catch((error: unknown) => app.report(error))}
          >
            {filter.value === "" ? "Older sessions" : "Look through older sessions"}
          </button>
        )}
        {filter.value !== "" && <SearchHits onPick={onDone} />}
      </div>
      <Footer onHelp={onHelp} />
    </nav>
  );
}

function SessionLink({ session, isCurrent, onPick }: { session: SessionData; isCurrent: boolean; onPick: () => void }) {
  const { sessions } = useWorkspace();
  const isManaged = useSignal(false);
  const title = nameOf(session);
  const mayRename = WRITERS.includes(session.role ?? "");
  const isUnread = !isCurrent && sessions.isUnread(session);
  const state = session.status === "idle" ? (isUnread ? UNREAD : null) : STATES[session.status];
  return (
    <li>
      <a
        href={href(session.id)}
        class={isUnread ? "unread" : ""}
        aria-current={isCurrent ? "page" : undefined}
        onClick={onPick}
      >
        <span class="title">{title}</span>
        <time dateTime={session.updated_at}>{when(session.updated_at)}</time>
        <span class="team">{session.team}</span>
        {state && <span class={`mark ${state.class}`} role="img" aria-label={state.word} title={state.word} />}
      </a>
      {mayRename && (
        <button
          type="button"
          class="quiet manage"
          aria-haspopup="dialog"
          aria-label={`Manage “${title}”`}
          title="Rename or delete"
          onClick={() => (isManaged.value = true)}
        >
          <Dots />
        </button>
      )}
      {isManaged.value && <ManageDialog session={session} onClose={() => (isManaged.value = false)} />}
    </li>
  );
}

function Footer({ onHelp }: { onHelp: () => void }) {
  const app = useApp();
  const account = app.account.state.value;
  const { Icon, word } = THEMES[app.theming.theme.value];
  const connected = app.connection.value.kind === "open";
  if (account.kind !== "signed-in") return null;
  return (
    <footer>
      <Avatar name={account.user.name} kind="person" />
      <span class="who">
        <span class="name">{account.user.name}</span>
        <span class={`link-state ${connected ? "on" : ""}`}>{connected ? "connected" : "not connected"}</span>
      </span>
      <button type="button" class="quiet" title="Keys" aria-label="Keys" onClick={onHelp}>
        <kbd>?</kbd>
      </button>
      <button
        type="button"
        class="quiet"
        title={`Colours: ${word}`}
        aria-label={`Colours: ${word}`}
        onClick={() => app.theming.next()}
      >
        <Icon />
      </button>
      <button
        type="button"
        class="quiet"
        title="Sign out"
        aria-label="Sign out"
        onClick={() => void app.account.signOut()}
      >
        <Leave />
      </button>
    </footer>
  );
}
