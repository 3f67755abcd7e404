import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Conversation } from "../store/conversation.ts";
import type { Item } from "../store/items.ts";
import { useApp, useWorkspace } from "./context.ts";
import { Down } from "./icons.tsx";
import { ItemView, PendingMessage } from "./messages.tsx";

const NEAR_PX = 80; // this close to the end counts as reading the end
const SHOWN_MS = 2_500; // how long a message that was looked for stands out

/** The conversation, kept at its end as long as its end is what one reads. */
export function TranscriptView({
  conversation,
  children,
}: {
  conversation: Conversation;
  children: ComponentChildren;
}) {
  const app = useApp();
  const { sessions } = useWorkspace();
  const { transcript, pending } = conversation;
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const top = useRef<HTMLDivElement>(null);
  const lastTop = useRef(0);
  const wanted = useRef<number | null>(null);
  const follows = useSignal(true);
  const seen = useSignal(0); // how far one has read, while one reads further up
  const items = transcript.items.value;
  const hasEarlier = conversation.hasEarlier.value;

  const toEnd = () => {
    follows.value = true;
    const element = scroller.current;
    if (!element) return;
    element.scrollTop = element.scrollHeight;
    lastTop.current = element.scrollTop;
  };

  useEffect(() => {
    const grown = new ResizeObserver(() => follows.peek() && toEnd());
    if (content.current) grown.observe(content.current);
    if (scroller.current) grown.observe(scroller.current);
    return () => grown.disconnect();
  }, []);

  // What one has just asked for is always shown.
  const asked = conversation.asked.value;
  useLayoutEffect(() => {
    if (asked > 0) toEnd();
  }, [asked]);

  useEffect(() => {
    const element = top.current;
    if (!element || !hasEarlier) return undefined;
    const near = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) void loadEarlier();
      },
      { root: scroller.current, rootMargin: "600px 0px 0px" },
    );
    near.observe(element);
    return () => near.disconnect();
  }, [hasEarlier, transcript.firstSeq]);

  /** What is on the screen stays where it is while older items come in above it. */
  const loadEarlier = async () => {
    const [element, column] = [scroller.current, content.current];
    if (!element || !column) return;
    const anchor = [...column.children].find((child) => child.getBoundingClientRect().bottom > 0);
    const before = anchor?.getBoundingClientRect().top ?? 0;
    try {
      await conversation.loadEarlier();
    } catch (error) {
      return app.report(error);
    }
    requestAnimationFrame(() => {
      if (!follows.peek() && anchor?.isConnected) element.scrollTop += anchor.getBoundingClientRect().top - before;
    });
  };

  /** Shows what was asked for as soon as it is there: it may be loaded, but not drawn yet. */
  const showWanted = () => {
    const seq = wanted.current;
    if (seq === null || (transcript.firstSeq ?? Infinity) > seq) return;
    if (show(content.current, transcript.items.peek(), seq)) wanted.current = null;
  };
  useLayoutEffect(showWanted);

  // An event that was asked for by its address.
  useSignalEffect(() => {
    const seq = conversation.target.value;
    if (seq === null || transcript.items.value.length === 0) return;
    conversation.target.value = null;
    follows.value = false;
    void conversation
      .reach(seq)
      .then(() => {
        wanted.current = seq;
        showWanted();
      })
      .catch((error: unknown) => app.report(error));
  });

  useSignalEffect(() => {
    transcript.items.value; // read: with everything new that is shown
    if (!follows.value) return;
    seen.value = transcript.lastSeq;
    if (document.visibilityState === "visible") sessions.markRead(conversation.id, transcript.lastSeq);
  });

  const isEmpty = useComputed(() => transcript.items.value.length === 0 && pending.value.length === 0);
  const fresh = useComputed(() => {
    if (follows.value) return 0;
    return transcript.items.value.filter((item) => spokenSeq(item) > seen.value).length;
  });
  /** Only a move upwards is somebody's wish to read there: content that grows moves the end, not the reader. */
  const scrolled = () => {
    const element = scroller.current;
    if (!element) return;
    const isNear = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX;
    if (isNear) follows.value = true;
    else if (element.scrollTop < lastTop.current - 1) follows.value = false;
    lastTop.current = element.scrollTop;
  };
  const line = firstNew(items, conversation.readTo.value);
  return (
    <div class="transcript">
      <div
        class={`scroller ${follows.value ? "follows" : ""}`}
        ref={scroller}
        onScroll={scrolled}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label="Conversation"
      >
        <div class="column" ref={content}>
          <div ref={top} class="top">
            {hasEarlier && (conversation.loadingEarlier.value ? "Loading earlier messages…" : "")}
          </div>
          {conversation.phase.value.kind === "loading" && isEmpty.value && <Skeleton />}
          {conversation.phase.value.kind === "live" && isEmpty.value && (
            <p class="notice quiet">Nothing has been said here yet.</p>
          )}
          {items.map((item) => (
            <ItemView key={item.key} item={item} conversation={conversation} isFirstNew={item === line} />
          ))}
          {children}
          {pending.value.map((one) => (
            <PendingMessage key={one.clientId} pending={one} conversation={conversation} />
          ))}
        </div>
      </div>
      {!follows.value && (
        <button
          type="button"
          class="to-end"
          aria-label={fresh.value > 0 ? `To the end, ${fresh.value} new` : "To the end"}
          onClick={toEnd}
        >
          <Down />
          {fresh.value > 0 && <span>{fresh.value} new</span>}
        </button>
      )}
    </div>
  );
}

/** What there will be, while it is on its way. */
function Skeleton() {
  return (
    <div class="skeleton" role="status" aria-label="Opening the session">
      <i />
      <i />
      <i />
    </div>
  );
}

/** The seq of something that somebody has said; 0 for everything else. */
function spokenSeq(item: Item): number {
  return item.kind === "user" ? item.seq : item.kind === "agent" ? (item.seq.peek() ?? 0) : 0;
}

/** Where what is new begins, if there is something that was read before. */
function firstNew(items: readonly Item[], readTo: number | null): Item | null {
  if (!readTo) return null;
  const place = items.findIndex((item) => spokenSeq(item) > readTo);
  return place > 0 ? (items[place] ?? null) : null;
}

/** Brings what was said at an event to the middle of the screen and lets it stand out for a moment. False: not there. */
function show(column: HTMLElement | null, items: readonly Item[], seq: number): boolean {
  const item = items.find((one) => spokenSeq(one) === seq) ?? items.find((one) => spokenSeq(one) >= seq);
  const element = item && column?.querySelector<HTMLElement>(`[data-message="${CSS.escape(item.key)}"]`);
  if (!element) return false;
  element.scrollIntoView({ block: "center" });
  element.classList.add("found");
  element.tabIndex = -1;
  element.focus({ preventScroll: true });
  setTimeout(() => element.classList.remove("found"), SHOWN_MS);
  return true;
}
