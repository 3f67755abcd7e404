import { useComputed, useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Conversation } from "../store/conversation.ts";
import type { AgentItem, UserItem } from "../store/items.ts";
import { composes, sends } from "../text/keys.ts";
import { MAX_TEXT, TooLong } from "./composer.tsx";
import { useApp, useWorkspace } from "./context.ts";
import { Again, Fork, Pencil } from "./icons.tsx";
import { CopyButton } from "./markdown.tsx";

interface ActionsProps {
  item: UserItem | AgentItem;
  conversation: Conversation;
  /** Begins to change the message; absent where it cannot be changed. */
  onEdit?: () => void;
}

/** What can be done with one message. */
export function Actions({ item, conversation, onEdit }: ActionsProps) {
  const app = useApp();
  const workspace = useWorkspace();
  const busy = useSignal(false);
  const off = busy.value || app.connection.value.kind !== "open";
  const seq = item.kind === "user" ? item.seq : item.seq.value;
  const attempt = async (what: () => Promise<void>) => {
    busy.value = true;
    try {
      await what();
    } catch (error) {
      app.report(error);
    } finally {
      busy.value = false;
    }
  };
  return (
    <span class="actions">
      {item.text.value !== "" && <CopyButton text={item.text.value} what="message" />}
      {onEdit && conversation.maySend.value && (
        <Act label="Edit and send again" off={off} onAct={onEdit}>
          <Pencil />
        </Act>
      )}
      {item.kind === "agent" && conversation.maySend.value && (
        <Act label="Answer again" off={off} onAct={() => void attempt(() => conversation.regenerate(item.key))}>
          <Again />
        </Act>
      )}
      {conversation.maySend.value && seq !== null && (
        <Act
          label="Fork a new session from here"
          off={off}
          onAct={() => void attempt(() => workspace.fork(conversation, seq))}
        >
          <Fork />
        </Act>
      )}
    </span>
  );
}

interface ActProps {
  label: string;
  off: boolean;
  onAct: () => void;
  children: preact.ComponentChildren;
}

function Act({ label, off, onAct, children }: ActProps) {
  return (
    <button type="button" class="quiet act" aria-label={label} title={label} disabled={off} onClick={onAct}>
      {children}
    </button>
  );
}

/** Another text for a message of one's own. Escape leaves everything as it is. */
export function EditBox({
  item,
  conversation,
  onDone,
}: {
  item: UserItem;
  conversation: Conversation;
  onDone: () => void;
}) {
  const app = useApp();
  const text = useSignal(item.text.value);
  const busy = useSignal(false);
  const off = useComputed(() => busy.value || text.value.trim() === "" || text.value.length > MAX_TEXT);
  const area = useRef<HTMLTextAreaElement>(null);
  // Before anybody can type into it: the cursor is not moved later.
  useLayoutEffect(() => {
    area.current?.focus();
    area.current?.setSelectionRange(text.value.length, text.value.length);
  }, []);
  const save = async () => {
    if (off.value) return;
    busy.value = true;
    try {
      await conversation.edit(item.key, text.value);
      onDone();
    } catch (error) {
      app.report(error);
    } finally {
      busy.value = false;
    }
  };
  return (
    <form
      class="edit-box"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <textarea
        ref={area}
        dir="auto"
        aria-label="Edit your message"
        rows={Math.min(12, text.value.split("\n").length + 1)}
        value={text}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape" && !composes(event)) {
            event.stopPropagation();
            onDone();
          } else if (sends(event)) {
            event.preventDefault();
            void save();
          }
        }}
      />
      <TooLong text={text.value} />
      <div class="choices">
        <span class="hint grow">The team answers it anew; what follows here is set aside.</span>
        <button type="button" onClick={onDone}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={off.value}>
          Send again
        </button>
      </div>
    </form>
  );
}
