import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Conversation } from "../store/conversation.ts";
import { useApp, useWorkspace } from "./context.ts";
import { Dots } from "./icons.tsx";
import { DeleteDialog, RenameDialog } from "./session_dialogs.tsx";

const FILES = {
  markdown: { ending: "md", type: "text/markdown" },
  json: { ending: "json", type: "application/json" },
};

type Open = "nothing" | "menu" | "rename" | "delete";

/** What can be done to a session as a whole. */
export function SessionMenu({ conversation, title }: { conversation: Conversation; title: string }) {
  const app = useApp();
  const workspace = useWorkspace();
  const open = useSignal<Open>("nothing");
  const element = useRef<HTMLDivElement>(null);
  const close = () => {
    open.value = "nothing";
  };
  const attempt = (what: Promise<unknown>) => {
    close();
    what.catch((error: unknown) => app.report(error));
  };

  useEffect(() => {
    const away = (event: Event) => {
      if (open.value === "menu" && !element.current?.contains(event.target as Node)) close();
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
    };
  }, []);

  const download = async (format: keyof typeof FILES) => {
    const text = await app.account.call((token) => app.rest.export(token, conversation.id, format));
    const { ending, type } = FILES[format];
    const url = URL.createObjectURL(new Blob([text], { type }));
    const anchor = Object.assign(document.createElement("a"), {
      href: url,
      download: `${title.replace(/[^\p{L}\p{N}]+/gu, "-")}.${ending}`,
    });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  return (
    <div
      class="menu"
      ref={element}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || open.value !== "menu") return;
        event.stopPropagation();
        close();
      }}
    >
      <button
        type="button"
        class="quiet"
        aria-label="More"
        aria-haspopup="true"
        aria-expanded={open.value === "menu"}
        onClick={() => (open.value = open.value === "menu" ? "nothing" : "menu")}
      >
        <Dots />
      </button>
      {open.value === "menu" && (
        <div class="menu-list">
          {conversation.maySend.value && (
            <button type="button" onClick={() => (open.value = "rename")}>
              Rename
            </button>
          )}
          <button type="button" onClick={() => attempt(download("markdown"))}>
            Save as Markdown
          </button>
          <button type="button" onClick={() => attempt(download("json"))}>
            Save as JSON
          </button>
          {conversation.maySend.value && conversation.transcript.lastSeq > 0 && (
            <button
              type="button"
              onClick={() => attempt(workspace.fork(conversation, conversation.transcript.lastSeq))}
            >
              Fork from here
            </button>
          )}
          {conversation.role.value === "owner" && (
            <button type="button" class="bad" onClick={() => (open.value = "delete")}>
              Delete
            </button>
          )}
        </div>
      )}
      {open.value === "rename" && <RenameDialog id={conversation.id} title={title} onClose={close} />}
      {open.value === "delete" && <DeleteDialog id={conversation.id} title={title} onClose={close} />}
    </div>
  );
}
