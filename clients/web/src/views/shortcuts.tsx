import { Dialog } from "./dialog.tsx";

const KEYS: readonly (readonly [string, string])[] = [
  ["Enter", "send"],
  ["Shift + Enter", "new line"],
  ["↑", "what was said last, when the box is empty"],
  ["Esc", "stop the team"],
  ["/", "write a message"],
  ["Ctrl + K", "search sessions and messages"],
  ["Alt + N", "new session"],
  ["?", "this list"],
];

export function Shortcuts({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="keys">
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
