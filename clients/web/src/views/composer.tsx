import { useComputed, useSignal } from "@preact/signals";
import type { OnBusy } from "agent-hub-client";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { AttachingFiles } from "../store/attaching.ts";
import type { Conversation } from "../store/conversation.ts";
import { Attachings } from "./attachments.tsx";
import { sends } from "../text/keys.ts";
import { useApp } from "./context.ts";
import { Clip, Pause, Send, Stop } from "./icons.tsx";

/** What the hub takes as one message. */
export const MAX_TEXT = 32_000;

interface TextBoxProps {
  value: string;
  placeholder: string;
  autofocus?: boolean;
  disabled?: boolean;
  onText: (text: string) => void;
  onEnter: () => void;
  onUp?: () => void;
}

/** A text area that is as high as its text. Enter sends, Shift + Enter does not. Nothing that is pasted is cut off. */
export function TextBox({
  value,
  placeholder,
  autofocus = false,
  disabled = false,
  onText,
  onEnter,
  onUp,
}: TextBoxProps) {
  const element = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const area = element.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [value]);
  useEffect(() => {
    // On a touch screen the focus would open the keyboard over what one came to read.
    if (autofocus && matchMedia("(pointer: fine)").matches) element.current?.focus();
  }, []);
  const keys = (event: KeyboardEvent) => {
    if (sends(event)) {
      event.preventDefault();
      onEnter();
    } else if (event.key === "ArrowUp" && value === "" && onUp) {
      event.preventDefault();
      onUp();
    }
  };
  return (
    <textarea
      ref={element}
      id="composer"
      dir="auto"
      rows={1}
      value={value}
      placeholder={placeholder}
      aria-label={placeholder}
      disabled={disabled}
      onInput={(event) => onText(event.currentTarget.value)}
      onKeyDown={keys}
    />
  );
}

/** Says that a text is more than the hub takes as one message. */
export function TooLong({ text, children }: { text: string; children?: ComponentChildren }) {
  if (text.length <= MAX_TEXT) return null;
  const [is, most] = [text.length, MAX_TEXT].map((count) => count.toLocaleString("en"));
  return (
    <div class="too-long">
      <span class="form-error" role="alert">
        Too long for one message:
      </span>
      <span class="form-error">
        {is} of {most} characters.
      </span>
      {children}
    </div>
  );
}

const MODES: readonly { value: OnBusy; label: string; placeholder: string }[] = [
  { value: "queue", label: "answered next", placeholder: "Say more; the team answers it next" },
  { value: "steer", label: "steers the team", placeholder: "Steer the team; it hears this before its next turn" },
  {
    value: "interrupt",
    label: "interrupts",
    placeholder: "Say something else; the team stops and answers it",
  },
];

export function Composer({ conversation }: { conversation: Conversation }) {
  const app = useApp();
  const to = useSignal("");
  const chosen = useSignal<OnBusy | null>(null);
  const { transcript, draft, maySend, phase, role } = conversation;
  const agents = conversation.team.value?.agents ?? [];
  const run = transcript.run.value;
  const mode = MODES.find(({ value }) => value === (chosen.value ?? conversation.onBusy.value)) ?? MODES[0]!;
  const { attaching } = conversation;
  const ready = useComputed(
    () =>
      maySend.value &&
      attaching.settled.value &&
      draft.value.length <= MAX_TEXT &&
      (draft.value.trim() !== "" || attaching.files.value.length > 0),
  );
  const attach = (event: Event, files: FileList | null | undefined) => {
    if (!files || files.length === 0) return; // words are pasted and dropped as ever
    event.preventDefault();
    attaching.add(files);
  };
  const send = () => {
    if (!ready.value) return;
    conversation.send(draft.value, to.value || null, run ? mode.value : null);
  };
  const recall = () => {
    const account = app.account.state.value;
    const me = account.kind === "signed-in" ? account.user.id : "";
    const said = transcript.items.value.findLast((item) => item.kind === "user" && item.author.id === me);
    const last = conversation.pending.value.at(-1)?.text ?? (said?.kind === "user" ? said.text.value : null);
    if (last) conversation.write(last);
  };
  if (phase.value.kind === "live" && !maySend.value)
    return (
      <p class="read-only">
        {role.value === "approver"
          ? "You are here to read and to answer what the team asks: your role is approver."
          : `You are here to read: your role is ${role.value}.`}
      </p>
    );
  return (
    <form
      class="composer"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => attach(event, event.dataTransfer?.files)}
      onPaste={(event) => {
        // What comes as text and as a picture of it, as from office programs, is meant as text.
        if (event.clipboardData?.getData("text/plain") === "") attach(event, event.clipboardData.files);
      }}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <TextBox
        value={draft.value}
        placeholder={run ? mode.placeholder : "Message the team"}
        autofocus
        onText={(text) => conversation.write(text)}
        onEnter={send}
        onUp={recall}
      />
      <TooLong text={draft.value}>
        <button
          type="button"
          class="small"
          onClick={() => {
            attaching.add([new File([draft.value], "message.txt", { type: "text/plain" })]);
            conversation.write("");
          }}
        >
          Attach it as a file
        </button>
      </TooLong>
      <Attachings attaching={attaching} />
      <div class="tools">
        <AttachButton attaching={attaching} />
        {agents.length > 1 && (
          <label class="pick">
            <span>to</span>
            <select aria-label="To" value={to} onChange={(event) => (to.value = event.currentTarget.value)}>
              <option value="">everyone</option>
              {agents.map((agent) => (
                <option key={agent.name} value={agent.name}>
                  {agent.display_name}
                </option>
              ))}
            </select>
          </label>
        )}
        {run && (
          <label class="pick">
            <select
              aria-label="What a message does while the team is at work"
              value={mode.value}
              onChange={(event) => (chosen.value = event.currentTarget.value as OnBusy)}
            >
              {MODES.map(({ value, label }) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          </label>
        )}
        <span class="grow" />
        {run && <RunButtons conversation={conversation} />}
        <button type="submit" class="send" aria-label="Send" title="Enter" disabled={!ready.value}>
          <Send />
        </button>
      </div>
    </form>
  );
}

function AttachButton({ attaching }: { attaching: AttachingFiles }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        aria-label="Files"
        onChange={(event) => {
          attaching.add(event.currentTarget.files ?? []);
          event.currentTarget.value = ""; // the same file may be chosen again
        }}
      />
      <button
        type="button"
        class="attach"
        aria-label="Attach"
        title="Attach pictures, PDF or text"
        onClick={() => input.current?.click()}
      >
        <Clip />
      </button>
    </>
  );
}

/** Pause and stop. */
function RunButtons({ conversation }: { conversation: Conversation }) {
  const app = useApp();
  const { stopping, pausing, status, transcript } = conversation;
  const attempt = (what: Promise<void>) => void what.catch((error: unknown) => app.report(error));
  const isApart = app.connection.value.kind !== "open";
  return (
    <>
      {transcript.run.value?.phase === "running" && status.value === "running" && (
        <button
          type="button"
          class="round-text"
          disabled={isApart || stopping.value}
          aria-pressed={pausing.value}
          title={pausing.value ? "It pauses after this turn; press to let it go on" : "Pause after this turn"}
          onClick={() => attempt(pausing.value ? conversation.resume() : conversation.pause())}
        >
          <Pause /> <span class="word">{pausing.value ? "Pausing…" : "Pause"}</span>
        </button>
      )}
      <button
        type="button"
        class="round-text"
        disabled={isApart || stopping.value}
        title="Esc"
        onClick={() => attempt(conversation.stop())}
      >
        <Stop /> <span class="word">{stopping.value ? "Stopping…" : "Stop"}</span>
      </button>
    </>
  );
}
