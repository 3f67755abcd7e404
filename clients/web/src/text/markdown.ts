import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";

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

const UNSETTLED = 2; // what comes may still change so many blocks at the end of a text: a list goes on after a gap

/** A text in blocks, and what is needed to go on when it has grown. */
export class Blocks {
  #list: readonly Block[] = [];
  #text = "";
  #settled = { blocks: 0, characters: 0 };

  /**
   * The blocks of the text. Those whose source has not changed are kept as they are; while it `grows` only its end is
   * read again. A text that nests deeper than can be followed is shown as it was written.
   */
  of(text: string, grows: boolean): readonly Block[] {
    const goesOn = grows && text.startsWith(this.#text);
    const { blocks: kept, characters } = goesOn ? this.#settled : { blocks: 0, characters: 0 };
    try {
      this.#list = this.#read(text, kept, characters);
    } catch {
      this.#list = [{ kind: "html", raw: text, html: clean(`<p>${escape(text).replaceAll("\n", "<br>")}</p>`) }];
      this.#settled = { blocks: 0, characters: 0 };
    }
    this.#text = text;
    return this.#list;
  }

  #read(text: string, kept: number, from: number): Block[] {
    const list = this.#list.slice(0, kept);
    const ends = [{ blocks: kept, characters: from }];
    let characters = from;
    let hasLinks = false; // whose addresses stand elsewhere in the text, so that all of it is needed
    for (const token of marked.lexer(text.slice(from))) {
      characters += token.raw.length;
      hasLinks ||= token.type === "def";
      if (token.type === "space" || token.type === "def") continue;
      const known = this.#list[list.length];
      list.push(known?.raw === token.raw ? known : block(token));
      ends.push({ blocks: list.length, characters });
    }
    // Where the source was normalised (tabs, line ends) the sum of the parts says nothing about the whole.
    const isExact = characters === text.length && !text.includes("\r");
    this.#settled = isExact && !hasLinks ? (ends.at(-1 - UNSETTLED) ?? ends[0]!) : { blocks: 0, characters: 0 };
    return list;
  }
}

function block(token: Token): Block {
  if (token.type !== "code") return { kind: "html", raw: token.raw, html: clean(marked.parser([token])) };
  const { raw, text: code, lang } = token as Tokens.Code;
  return { kind: "code", raw, code, language: lang?.split(/\s/, 1)[0] ?? "", closed: isClosed(raw) };
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
