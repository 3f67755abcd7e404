import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Blocks, type Block } from "../text/markdown.ts";
import { Check, Copy } from "./icons.tsx";

const COPIED_MS = 1_500;

/** A Markdown text, sanitised. While it grows only its last blocks are parsed and drawn anew. */
export function Markdown({ text, grows }: { text: string; grows: boolean }) {
  const blocks = useRef<Blocks | null>(null);
  blocks.current ??= new Blocks();
  return (
    <div class="prose">
      {blocks.current.of(text, grows).map((block, index) => (
        <BlockView key={index} block={block} />
      ))}
    </div>
  );
}

function BlockView({ block }: { block: Block }) {
  if (block.kind === "code") return <Code code={block.code} language={block.language} isClosed={block.closed} />;
  return <div class="block" dangerouslySetInnerHTML={{ __html: block.html }} />;
}

function Code({ code, language, isClosed }: { code: string; language: string; isClosed: boolean }) {
  const marked = useSignal<string | null>(null);
  useEffect(() => {
    let current = true;
    marked.value = null;
    if (!isClosed || language === "") return undefined;
    void import("../text/highlighter.ts").then(({ highlight }) => {
      if (current) marked.value = highlight(code, language.toLowerCase());
    });
    return () => {
      current = false;
    };
  }, [code, language, isClosed]);
  return (
    <div class="block code">
      <div class="code-bar">
        <span>{language || "text"}</span>
        <CopyButton text={code} what="code" />
      </div>
      <pre tabIndex={0} aria-label="Code">
        {marked.value === null ? <code>{code}</code> : <code dangerouslySetInnerHTML={{ __html: marked.value }} />}
      </pre>
    </div>
  );
}

export function CopyButton({ text, what }: { text: string; what: string }) {
  const copied = useSignal(false);
  const copy = async () => {
    await writeClipboard(text);
    copied.value = true;
    setTimeout(() => (copied.value = false), COPIED_MS);
  };
  return (
    <button
      type="button"
      class="quiet copy"
      aria-label={copied.value ? "Copied" : `Copy ${what}`}
      title={`Copy ${what}`}
      onClick={() => void copy()}
    >
      {copied.value ? <Check /> : <Copy />}
    </button>
  );
}

/** `navigator.clipboard` is there in secure contexts only; a hub in the local network is none. */
async function writeClipboard(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
