import { useEffect } from "preact/hooks";
import type { App } from "../store/app.ts";
import { AppContext, WorkspaceContext } from "./context.ts";
import { Close } from "./icons.tsx";
import { SignIn } from "./sign_in.tsx";
import { WorkspaceView } from "./workspace.tsx";

const PROBLEM_MS = 8_000;

export function Page({ app }: { app: App }) {
  const workspace = app.workspace.value;
  return (
    <AppContext.Provider value={app}>
      {workspace === null ? (
        <SignIn />
      ) : (
        <WorkspaceContext.Provider value={workspace}>
          <WorkspaceView />
        </WorkspaceContext.Provider>
      )}
      <Problem app={app} />
      <div class="unseen" aria-live="polite">
        {app.announcement}
      </div>
    </AppContext.Provider>
  );
}

/** What went wrong with the last thing that was asked for; it goes by itself. */
function Problem({ app }: { app: App }) {
  const problem = app.problem.value;
  const dismiss = () => {
    app.problem.value = null;
  };
  useEffect(() => {
    if (problem === null) return undefined;
    const timer = setTimeout(dismiss, PROBLEM_MS);
    return () => clearTimeout(timer);
  }, [problem]);
  if (problem === null) return null;
  return (
    <div class="problem" role="alert">
      {problem}
      <button type="button" class="quiet" aria-label="Dismiss" onClick={dismiss}>
        <Close />
      </button>
    </div>
  );
}
