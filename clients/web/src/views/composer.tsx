import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Conversation } from "../store/conversation.ts";
import { useApp } from "./context.ts";
import { Send, Stop } from "./icons.tsx";

const MAX_TEXT = 32_000;

interface TextBoxProps {
  value: string;
  placeholder: string;
  autofocus?: boolean;
  disabled?: boolean;
  onText: (text: string) => void;
  onEnter: () => void;
  onUp?: () => void;
}

/** A text area that is as high as its text. Enter sends, Shift + Enter does not. */
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
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
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
      rows={1}
      value={value}
      placeholder={placeholder}
      aria-label={placeholder}
      maxLength={MAX_TEXT}
      disabled={disabled}
      onInput={(event) => onText(event.currentTarget.value)}
      onKeyDown={keys}
    />
  );
}

export function Composer({ conversation, onSent }: { conversation: Conversation; onSent: () => void }) {
  const app = useApp();
  const to = useSignal("");
  const { transcript, draft, maySend, stopping, phase } = conversation;
  const agents = conversation.team.value?.agents ?? [];
  const run = transcript.run.value;
  const ready = useComputed(() => draft.value.trim() !== "" && maySend.value);
  const send = () => {
    if (!ready.value) return;
    conversation.send(draft.value, to.value || null);
    onSent();
  };
  const recall = () => {
    const account = app.account.state.value;
    const me = account.kind === "signed-in" ? account.user.id : "";
    const said = transcript.items.value.findLast((item) => item.kind === "user" && item.author.id === me);
    const last = conversation.pending.value.at(-1)?.text ?? (said?.kind === "user" ? said.text.value : null);
    if (last !== null) conversation.write(last);
  };
  if (phase.value.kind === "live" && !maySend.value)
    return <p class="read-only">You are here to read: your role is {conversation.role.value}.</p>;
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <TextBox
        value={draft.value}
        placeholder={run ? "Say more; the team answers it next" : "Message the team"}
        autofocus
        onText={(text) => conversation.write(text)}
        onEnter={send}
        onUp={recall}
      />
      <div class="tools">
        {agents.length > 1 && (
          <label class="to">
            <span>to</span>
            <select value={to} onChange={(event) => (to.value = event.currentTarget.value)}>
              <option value="">everyone</option>
              {agents.map((agent) => (
                <option key={agent.name} value={agent.name}>
                  {agent.display_name}
                </option>
              ))}
            </select>
          </label>
        )}
        <span class="grow" />
        {run && (
          <button
            type="button"
            class="stop"
            disabled={stopping.value}
            title="Esc"
            onClick={() => void conversation.stop().catch((error: unknown) => app.report(error))}
          >
            <Stop /> {stopping.value ? "Stopping…" : "Stop"}
          </button>
        )}
        <button type="submit" class="send" aria-label="Send" title="Enter" disabled={!ready.value}>
          <Send />
        </button>
      </div>
    </form>
  );
}
