import { useSignal } from "@preact/signals";
import type { SessionData } from "agent-hub-client";
import { nameOf } from "../text/title.ts";
import { useApp, useWorkspace } from "./context.ts";
import { Dialog } from "./dialog.tsx";

interface DialogProps {
  id: string;
  title: string;
  onClose: () => void;
}

/** Another title for a session. */
export function RenameDialog(props: DialogProps) {
  return (
    <Dialog title="Rename" onClose={props.onClose}>
      <RenameForm {...props} />
    </Dialog>
  );
}

/** Asks before a session is deleted, and says what follows. */
export function DeleteDialog(props: DialogProps) {
  return (
    <Dialog title="Delete this session?" onClose={props.onClose}>
      <Consequences {...props} />
    </Dialog>
  );
}

/** What the list offers for a session: another title for who may write in it, its end for who owns it. */
export function ManageDialog({ session, onClose }: { session: SessionData; onClose: () => void }) {
  const isAsked = useSignal(false);
  const props = { id: session.id, title: nameOf(session), onClose };
  if (isAsked.value) return <DeleteDialog {...props} />;
  return (
    <Dialog title="Rename or delete" onClose={onClose}>
      <RenameForm {...props} />
      {session.role === "owner" && (
        <button type="button" class="bad" onClick={() => (isAsked.value = true)}>
          Delete…
        </button>
      )}
    </Dialog>
  );
}

/** Whoever stood at what is gone goes on from the beginning of the list, and not of the page. */
function goOn(): void {
  if (document.activeElement === document.body) document.querySelector<HTMLElement>(".new-session")?.focus();
}

function RenameForm({ id, title, onClose }: DialogProps) {
  const app = useApp();
  const { sessions } = useWorkspace();
  return (
    <form
      class="row"
      onSubmit={(event) => {
        event.preventDefault();
        const name = String(new FormData(event.currentTarget).get("title")).trim();
        onClose();
        sessions.rename(id, name).catch((error: unknown) => app.report(error));
      }}
    >
      <input name="title" aria-label="Title" defaultValue={title} maxLength={200} required autofocus />
      <button type="submit" class="primary">
        Rename
      </button>
    </form>
  );
}

function Consequences({ id, title, onClose }: DialogProps) {
  const app = useApp();
  const workspace = useWorkspace();
  return (
    <>
      <p>“{title}” goes away for everybody who is a member of it. This cannot be undone.</p>
      <div class="row">
        <button
          type="button"
          class="danger"
          onClick={() => {
            onClose();
            workspace
              .remove(id)
              .then(() => requestAnimationFrame(goOn))
              .catch((error: unknown) => app.report(error));
          }}
        >
          Delete
        </button>
        <button type="button" autofocus onClick={onClose}>
          Keep it
        </button>
      </div>
    </>
  );
}
