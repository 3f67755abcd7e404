import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Conversation } from "../store/conversation.ts";
import { useApp, useWorkspace } from "./context.ts";
import { Down } from "./icons.tsx";
import { ItemView, PendingMessage } from "./messages.tsx";

const NEAR_PX = 80; // this close to the end counts as reading the end

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
  const follows = useSignal(true);
  const items = transcript.items.value;
  const hasEarlier = conversation.hasEarlier.value;

  const toEnd = () => {
    follows.value = true;
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  };

  useEffect(() => {
    const grown = new ResizeObserver(() => follows.value && toEnd());
    if (content.current) grown.observe(content.current);
    if (scroller.current) grown.observe(scroller.current);
    return () => grown.disconnect();
  }, []);

  // What was just sent by oneself is always shown.
  const sent = pending.value.length;
  useLayoutEffect(() => {
    if (sent > 0) toEnd();
  }, [sent]);

  useEffect(() => {
    const element = top.current;
    if (!element || !hasEarlier) return undefined;
    const seen = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) void loadEarlier();
      },
      { root: scroller.current, rootMargin: "400px 0px 0px" },
    );
    seen.observe(element);
    return () => seen.disconnect();
  }, [hasEarlier, transcript.firstSeq]);

  /** What is on the screen stays where it is while older items come in above it. */
  const loadEarlier = async () => {
    const element = scroller.current;
    if (!element) return;
    const fromEnd = element.scrollHeight - element.scrollTop;
    try {
      await conversation.loadEarlier();
    } catch (error) {
      return app.report(error);
    }
    requestAnimationFrame(() => {
      if (!follows.value) element.scrollTop = element.scrollHeight - fromEnd;
    });
  };

  useSignalEffect(() => {
    transcript.items.value; // read: with everything new that is shown
    if (follows.value && document.visibilityState === "visible") sessions.markRead(conversation.id, transcript.lastSeq);
  });

  const isEmpty = useComputed(() => transcript.items.value.length === 0 && pending.value.length === 0);
  const scrolled = () => {
    const element = scroller.current;
    if (element) follows.value = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX;
  };
  return (
    <div class="transcript">
      <div
        class="scroller"
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
          {conversation.phase.value.kind === "loading" && isEmpty.value && <p class="notice quiet">Opening…</p>}
          {items.map((item) => (
            <ItemView key={item.key} item={item} conversation={conversation} />
          ))}
          {children}
          {pending.value.map((one) => (
            <PendingMessage key={one.clientId} pending={one} conversation={conversation} />
          ))}
        </div>
      </div>
      {!follows.value && (
        <button type="button" class="to-end" aria-label="To the end" onClick={toEnd}>
          <Down />
        </button>
      )}
    </div>
  );
}
