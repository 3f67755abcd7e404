import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Close } from "./icons.tsx";

/** A modal dialog; Escape, the button and a click beside it close it. Then one is where one was before. */
export function Dialog({
  title,
  class: extra = "",
  onClose,
  children,
}: {
  title: string;
  class?: string;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const opener = document.activeElement;
    const menu = opener?.closest(".menu");
    element.current?.showModal();
    return () => {
      const back = opener?.isConnected
        ? opener
        : (menu?.querySelector("button") ?? document.querySelector(".new-session"));
      if (back instanceof HTMLElement) back.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={extra}
      aria-label={title}
      onClose={onClose}
      onClick={(event) => event.target === element.current && element.current?.close()}
    >
      <header>
        <h2>{title}</h2>
        <button type="button" class="quiet" aria-label="Close" onClick={() => element.current?.close()}>
          <Close />
        </button>
      </header>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}
