import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { App, Workspace } from "../store/app.ts";

export const AppContext = createContext<App | null>(null);
export const WorkspaceContext = createContext<Workspace | null>(null);

export function useApp(): App {
  return present(useContext(AppContext));
}

export function useWorkspace(): Workspace {
  return present(useContext(WorkspaceContext));
}

function present<T>(value: T | null): T {
  if (value === null) throw new Error("rendered outside of its provider");
  return value;
}
