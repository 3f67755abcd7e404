import { effect, signal } from "@preact/signals";

const STORED = "agent-hub.theme";

export type Theme = "system" | "light" | "dark";

/** The colours: those of the system, unless somebody has chosen. */
export class Theming {
  readonly theme = signal<Theme>(read());

  constructor() {
    effect(() => {
      document.documentElement.dataset["theme"] = this.theme.value;
      localStorage.setItem(STORED, this.theme.value);
    });
  }

  next(): void {
    this.theme.value = ({ system: "light", light: "dark", dark: "system" } as const)[this.theme.value];
  }
}

function read(): Theme {
  const stored = localStorage.getItem(STORED);
  return stored === "light" || stored === "dark" ? stored : "system";
}
