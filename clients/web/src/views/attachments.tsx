import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { AttachingFiles } from "../store/attaching.ts";
import type { Attached } from "../store/items.ts";
import { bytes } from "../store/words.ts";
import { useApp } from "./context.ts";
import { Dialog } from "./dialog.tsx";
import { Close, Paper } from "./icons.tsx";

/** What goes with the next message. */
export function Attachings({ attaching }: { attaching: AttachingFiles }) {
  if (attaching.files.value.length === 0) return null;
  return (
    <ul class="attaching" aria-label="Attachments">
      {attaching.files.value.map(({ key, name, size, state }) => (
        <li key={key} class={state.kind}>
          <Paper />
          <span class="name">{name}</span>
          <span class="size" role={state.kind === "failed" ? "alert" : undefined}>
            {state.kind === "failed" ? state.why : state.kind === "uploading" ? "uploading…" : bytes(size)}
          </span>
          <button type="button" class="small" aria-label={`Remove ${name}`} onClick={() => attaching.remove(key)}>
            <Close />
          </button>
        </li>
      ))}
    </ul>
  );
}

/** What a message has beside its words: pictures are shown, everything can be saved. */
export function Attachments({ session, attached }: { session: string; attached: readonly Attached[] }) {
  if (attached.length === 0) return null;
  return (
    <ul class="attachments">
      {attached.map((one, place) => (
        <li key={place}>
          {one.mediaType.startsWith("image/") && <Picture session={session} attached={one} />}
          <SaveButton session={session} attached={one} />
        </li>
      ))}
    </ul>
  );
}

/** Fetched when it comes near the screen, with one's own credential: its address alone gives nobody anything. */
function Picture({ session, attached }: { session: string; attached: Attached }) {
  const { account, rest } = useApp();
  const place = useRef<HTMLDivElement>(null);
  const url = useSignal<string | null>(null);
  const enlarged = useSignal(false);
  useEffect(() => {
    let isGone = false;
    const near = new IntersectionObserver(
      (entries) => {
        if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
        near.disconnect();
        account
          .call((token) => rest.download(token, session, attached.id))
          .then((content) => {
            if (!isGone) url.value = URL.createObjectURL(content);
          })
          .catch(() => undefined); // its name and size are there
      },
      { rootMargin: "400px" },
    );
    if (place.current) near.observe(place.current);
    return () => {
      isGone = true;
      near.disconnect();
      if (url.value !== null) URL.revokeObjectURL(url.value);
    };
  }, []);
  return (
    <>
      <div ref={place} class="picture">
        {url.value !== null && (
          <button type="button" aria-label={`Enlarge ${attached.name}`} onClick={() => (enlarged.value = true)}>
            <img src={url.value} alt={attached.name} />
          </button>
        )}
      </div>
      {url.value !== null && enlarged.value && (
        <Dialog title={attached.name} class="wide" onClose={() => (enlarged.value = false)}>
          <img src={url.value} alt="" />
        </Dialog>
      )}
    </>
  );
}

function SaveButton({ session, attached }: { session: string; attached: Attached }) {
  const app = useApp();
  const save = async () => {
    const content = await app.account.call((token) => app.rest.download(token, session, attached.id));
    const url = URL.createObjectURL(content);
    const link = document.createElement("a");
    link.href = url;
    link.download = attached.name;
    link.click();
    URL.revokeObjectURL(url);
  };
  return (
    <button
      type="button"
      class="small"
      title="Save"
      onClick={() => void save().catch((error: unknown) => app.report(error))}
    >
      <Paper /> <span class="name">{attached.name}</span> <span class="size">{bytes(attached.size)}</span>
    </button>
  );
}
