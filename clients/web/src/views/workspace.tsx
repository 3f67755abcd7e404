import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Banner } from "./banner.tsx";
import { useApp, useWorkspace } from "./context.ts";
import { ConversationView } from "./conversation.tsx";
import { Menu } from "./icons.tsx";
import { NewSession } from "./new_session.tsx";
import { Shortcuts } from "./shortcuts.tsx";
import { Sidebar } from "./sidebar.tsx";

export function WorkspaceView() {
  const app = useApp();
  const workspace = useWorkspace();
  const drawer = useSignal(false);
  const help = useSignal(false);
  const conversation = workspace.current.value;

  useEffect(() => {
    drawer.value = false;
  }, [conversation]);

  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
      if ((event.ctrlKey || event.metaKey) && event.key === "k") {
        event.preventDefault();
        drawer.value = true;
        const search = document.querySelector<HTMLElement>("#session-filter");
        search?.focus(); // at once, so that no letter goes elsewhere
        requestAnimationFrame(() => search?.focus()); // on a narrow screen it is not there before the drawer is
      } else if (event.altKey && event.code === "KeyN") {
        event.preventDefault();
        app.router.go({ kind: "new" });
      } else if (event.key === "Escape" && document.querySelector("dialog[open]") === null) {
        if (drawer.value) drawer.value = false;
        else void workspace.current.value?.stop().catch((error: unknown) => app.report(error));
      } else if (!typing && event.key === "/") {
        event.preventDefault();
        document.querySelector<HTMLElement>("#composer")?.focus();
      } else if (!typing && event.key === "?") {
        help.value = true;
      }
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);

  const opener = (
    <button
      type="button"
      class="quiet drawer-button"
      aria-label="Sessions"
      aria-expanded={drawer.value}
      onClick={() => (drawer.value = true)}
    >
      <Menu />
    </button>
  );
  return (
    <div class={`workspace ${drawer.value ? "drawer-open" : ""}`}>
      <Sidebar onHelp={() => (help.value = true)} onDone={() => (drawer.value = false)} />
      <div class="scrim" onClick={() => (drawer.value = false)} />
      <div class="main">
        <Banner />
        {conversation === null ? (
          <NewSession opener={opener} />
        ) : (
          <ConversationView key={conversation.id} conversation={conversation} opener={opener} />
        )}
      </div>
      {help.value && <Shortcuts onClose={() => (help.value = false)} />}
    </div>
  );
}
