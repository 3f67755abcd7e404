import { useSignal, useSignalEffect } from "@preact/signals";
import type { ConnectionState } from "agent-hub-client";
import { useEffect } from "preact/hooks";
import { useApp, useWorkspace } from "./context.ts";

const CALM_MS = 700; // an interruption shorter than this is not worth a word
const RECOVERED_MS = 2_500;

/** `again`: it was connected before the trouble, so that there is something to come back to. */
type Shown = { kind: "nothing" } | { kind: "trouble"; again: boolean } | { kind: "recovered" };

/** Says when the page does not show what the hub has, and what is being done about it. */
export function Banner() {
  const app = useApp();
  const shown = useSignal<Shown>({ kind: "nothing" });

  useSignalEffect(() => {
    const open = app.connection.value.kind === "open";
    const before = shown.peek();
    if (open) {
      if (before.kind === "nothing") return undefined;
      shown.value = before.kind === "trouble" && before.again ? { kind: "recovered" } : { kind: "nothing" };
      const timer = setTimeout(() => (shown.value = { kind: "nothing" }), RECOVERED_MS);
      return () => clearTimeout(timer);
    }
    if (before.kind === "trouble") return undefined;
    const again = app.wasConnected.peek();
    const timer = setTimeout(() => (shown.value = { kind: "trouble", again }), CALM_MS);
    return () => clearTimeout(timer);
  });

  if (shown.value.kind === "nothing") return <div class="banner hidden" role="status" />;
  if (shown.value.kind === "recovered") {
    return (
      <div class="banner good" role="status">
        Connected again. Nothing was lost.
      </div>
    );
  }
  const state = app.connection.value;
  return (
    <div class={`banner ${state.kind === "stopped" ? "bad" : "waiting"}`} role="status">
      {state.kind !== "stopped" && <span class="spinner" aria-hidden="true" />}
      <Words state={state} />
      <Action state={state} />
    </div>
  );
}

function Words({ state }: { state: ConnectionState }) {
  const app = useApp();
  if (state.kind === "stopped") return <span>{stopWords(state.code)}</span>;
  if (!app.online.value) return <span>You are offline. The team goes on; you will see it all when you are back.</span>;
  const lost = app.wasConnected.value ? "Connection lost." : "The hub cannot be reached.";
  if (state.kind === "waiting") {
    return (
      <span>
        {lost} Trying again <Countdown until={state.until} />
      </span>
    );
  }
  return <span>{app.wasConnected.value ? "Resuming where you were…" : "Connecting…"}</span>;
}

function stopWords(code: number): string {
  switch (code) {
    case 4501:
      return "Your sign-in has ended.";
    case 4503:
      return "Your access was revoked.";
    case 4510:
      return "The hub speaks another version. Reload the page.";
    default:
      return "The hub has ended the connection.";
  }
}

function Action({ state }: { state: ConnectionState }) {
  const app = useApp();
  const { hub } = useWorkspace();
  if (state.kind === "waiting") {
    return (
      <button type="button" onClick={() => hub.reconnectNow()}>
        Now
      </button>
    );
  }
  if (state.kind !== "stopped") return null;
  if (state.code === 4501 || state.code === 4503) {
    return (
      <button type="button" onClick={() => void app.account.signOut()}>
        Sign in again
      </button>
    );
  }
  if (state.code === 4510) {
    return (
      <button type="button" onClick={() => location.reload()}>
        Reload
      </button>
    );
  }
  return (
    <button type="button" onClick={() => hub.connect()}>
      Reconnect
    </button>
  );
}

function Countdown({ until }: { until: number }) {
  const now = useSignal(Date.now());
  useEffect(() => {
    now.value = Date.now();
    const timer = setInterval(() => (now.value = Date.now()), 500);
    return () => clearInterval(timer);
  }, [until]);
  const seconds = Math.max(0, Math.ceil((until - now.value) / 1000));
  return <>{seconds <= 1 ? "now…" : `in ${seconds} s.`}</>;
}
