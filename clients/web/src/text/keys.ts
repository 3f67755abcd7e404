const COMPOSING = 229; // the key code of a key that an input method takes; Safari says so where `isComposing` does not

/** Whether this Enter means "send": with Shift it is a new line, and so it is where fingers have no Shift to hold. */
export function sends(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.shiftKey && !composes(event) && !byTouch();
}

/** Whether the key is part of a word that is still being put together. */
export function composes(event: KeyboardEvent): boolean {
  return event.isComposing || event.keyCode === COMPOSING;
}

function byTouch(): boolean {
  return matchMedia("(hover: none) and (pointer: coarse)").matches;
}
