import DOMPurify from "dompurify";
import { Marked, type Tokens } from "marked";

/** A top-level piece of a Markdown text, ready to be shown. */
export type Block =
  | { kind: "html"; raw: string; html: string }
  | { kind: "code"; raw: string; language: string; code: string; closed: boolean };

const TAGS = [
  "a",
  "blockquote",
  "br",
  "code",
  "del",
  "div",
  "em",
  "h1",
  "h2",
  "h3",
  "h4",
  "h5",
  "h6",
  "hr",
  "li",
  "ol",
  "p",
  "pre",
  "span",
  "strong",
  "table",
  "tbody",
  "td",
  "th",
  "thead",
  "tr",
  "ul",
];
const ATTRIBUTES = ["align", "class", "href", "rel", "start", "tabindex", "target", "title"];

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // Markup inside a message is what an agent wrote, not what this page is made of: it is shown, not followed.
    html: ({ text }) => escape(text),
    // A picture would tell its host who reads this, and when.
    image: ({ href, text }) => link(href, `↗ ${escape(text || href)}`),
    link({ href, tokens }) {
      return link(href, this.parser.parseInline(tokens));
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    table(token) {
      const row = (cells: Tokens.TableCell[]) =>
        `<tr>${cells
          .map((cell) => {
            const tag = cell.header ? "th" : "td";
            const align = cell.align ? ` align="${cell.align}"` : "";
            return `<${tag}${align}>${this.parser.parseInline(cell.tokens)}</${tag}>`;
          })
          .join("")}</tr>`;
      const body = token.rows.map(row).join("");
      return `<div class="table" tabindex="0"><table><thead>${row(token.header)}</thead><tbody>${body}</tbody></table></div>`;
    },
  },
});

/**
 * Splits a text into blocks. Blocks of `before` whose source has not changed are kept as they are, so that a text that
 * grows costs its last block only.
 */
export function blocks(text: string, before: readonly Block[] = []): Block[] {
  const tokens = marked.lexer(text).filter((token) => token.type !== "space" && token.type !== "def");
  return tokens.map((token, index) => {
    const known = before[index];
    if (known?.raw === token.raw) return known;
    if (token.type !== "code") return { kind: "html", raw: token.raw, html: clean(marked.parser([token])) };
    const { raw, text: code, lang } = token as Tokens.Code;
    return { kind: "code", raw, code, language: lang?.split(/\s/, 1)[0] ?? "", closed: isClosed(raw) };
  });
}

/** Lets through what Markdown is made of, and nothing that runs, loads or styles. */
export function clean(html: string): string {
  return DOMPurify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
    ADD_URI_SAFE_ATTR: ["align", "rel", "start", "tabindex", "target"], // hold no address, so the expression is not for them
  });
}

function link(href: string, inner: string): string {
  if (!/^(?:https?|mailto):/i.test(href)) return inner;
  return `<a href="${escape(href)}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
}

function isClosed(raw: string): boolean {
  const fence = /^ {0,3}(`{3,}|~{3,})/.exec(raw)?.[1];
  return fence === undefined || raw.trimEnd().split("\n").slice(1).at(-1)?.trim().startsWith(fence) === true;
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
