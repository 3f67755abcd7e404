import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { Chevron } from "./icons.tsx";

interface FoldProps {
  summary: ComponentChildren;
  children: ComponentChildren;
  class?: string;
}

/** Something that can be opened; what is in it is drawn only while it is. */
export function Fold({ summary, children, class: extra = "" }: FoldProps) {
  const open = useSignal(false);
  return (
    <details class={`fold ${extra}`} onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>
        <Chevron />
        {summary}
      </summary>
      {open.value && <div class="fold-body">{children}</div>}
    </details>
  );
}
