"""An OpenAI-compatible server that behaves as the name of the model says, well or badly."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
SMALL_CHARACTERS = 350
ERRORS: dict[str, tuple[int, Json]] = {
    "limited": (429, {"error": {"message": "slow down"}}),
    "broken": (500, {"error": {"message": "boom"}}),
    "unpaid": (401, {"error": {"message": "bad key", "code": "invalid_api_key"}}),
    "long": (400, {"error": {"message": "maximum context length is 8", "code": "context_length_exceeded"}}),
    "prude": (400, {"error": {"message": "your request violates our policy"}}),
}


def delta(content: object = None, **more: object) -> Json:
    """A piece of an answer."""
    return {"choices": [{"index": 0, "delta": {"content": content, **more}, "finish_reason": None}]}


def finish(reason: str = "stop") -> Json:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def call(index: int | None, name: str, arguments: object, call_id: str = "call_1", content: str | None = None) -> Json:
    """A piece of an answer that calls a tool."""
    made: Json = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    if index is not None:
        made["index"] = index
    return delta(content, tool_calls=[made])


def more_arguments(index: int, arguments: str) -> Json:
    return delta(None, tool_calls=[{"index": index, "function": {"arguments": arguments}}])


ANSWERS: dict[str, list[Json | str]] = {
    "good": [delta("", role="assistant"), delta("Hello "), delta("from "), delta("fake"), finish()],
    "reasoning": [delta(None, reasoning_content="I "), delta(None, reasoning_content="think"), delta("so"), finish()],
    "blocks": [
        delta([{"type": "thinking", "thinking": [{"type": "text", "text": "I think"}, {"type": "reference"}]}]),
        delta([{"type": "text", "text": "s"}, {"type": "reference"}]),
        delta("o"),
        finish(),
    ],
    "aloud": [delta("<th"), delta("ink>hm"), delta("m</thi"), delta("nk>\n\nwell "), delta("yes"), finish()],
    "unclosed": [delta("<think>for ever"), finish("length")],
    "angle": [delta("<"), delta("b>bold"), finish()],
    "tools": [
        call(0, "counter", ""),
        more_arguments(0, '{"key"'),
        more_arguments(0, ':"a"}'),
        call(1, "clock", "{}", "call_2"),
        finish("tool_calls"),
    ],
    "both": [delta("Let me see. "), call(0, "counter", '{"key":"b"}', content="Now."), finish("tool_calls")],
    "whole-calls": [call(None, "counter", '{"key":"c"}'), call(None, "clock", "{}", "call_2"), finish("tool_calls")],
    "long-arguments": [
        call(0, "counter", '{"key":"'),
        *[more_arguments(0, "abcd")] * 600,
        more_arguments(0, '"}'),
        finish("tool_calls"),
    ],
    "one-number": [call(0, "counter", '{"key":"d"}'), call(0, "clock", "{}", "call_2"), finish("tool_calls")],
    "other-ids": [
        call(0, "counter", '{"key"'),
        delta(None, tool_calls=[{"index": 0, "id": "call_2", "function": {"arguments": ':"e"}'}}]),
        finish("tool_calls"),
    ],
    "no-ids": [call(None, "counter", {"key": "f"}, ""), call(None, "clock", "", ""), finish("tool_calls")],
    "said-again": [call(0, "counter", '{"key"'), call(0, "counter", ':"g"}'), finish("tool_calls")],
    "many-digits": [call(0, "clock", '{"n": ' + "1" * 5_000 + "}"), finish("tool_calls")],
    "deep": [call(0, "clock", "[" * 3_000), finish("tool_calls")],
    "list-arguments": [call(0, "counter", "[1]"), finish("tool_calls")],
    "handoff": [call(0, "transfer_to_beta", "{}"), finish("tool_calls")],
    "odd-handoff": [call(0, "transfer_to_beta", "[1]"), call(1, "transfer_to_gamma", "x", "call_2"), finish()],
    "handoff-and-tool": [call(0, "transfer_to_beta", "{}"), call(1, "clock", "{}", "call_2"), finish("tool_calls")],
    "broken-arguments": [call(0, "counter", '{"key"'), finish("tool_calls")],
    "unknown-tool": [call(0, "hammer", "{}"), finish("tool_calls")],
    "mixed": [
        call(0, "transfer", '{"key": "m"}'),
        call(1, "counter", '{"key":"m"}', "call_2"),
        call(2, "clock", "{}", "call_3"),
        call(3, "counter", '{"key":"m"}', "call_4"),
        finish("tool_calls"),
    ],
    "watching": [call(0, "clock", "{}"), finish("tool_calls")],
    "clock": [call(0, "clock", "{}"), finish("tool_calls")],
    "twins": [call(0, "clock", "{}"), call(1, "counter", '{"key":"t"}'), finish("tool_calls")],
    "unwilling": [call(0, "counter", '{"key":"u"}'), finish("tool_calls")],
    "empty": [delta("", role="assistant"), finish()],
    "filter-late": [
        delta("Hello "),
        {"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 6}}]},
        {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        delta("all"),
        finish(),
    ],
    "filtered": [delta("a "), finish("content_filter")],
    "cut": [delta("a "), delta("b"), finish("length")],
    "malformed": [delta("good "), "{not json", delta("after")],
    "malformed-at-once": [json.dumps(delta("good ")) + "\n\ndata: {not json", delta("after")],
    "no-delta": [{"choices": [{"text": "old style"}]}],
    "no-object": ["[1]"],
    "no-function": [delta(None, tool_calls=["x"])],
    "no-text": [call(0, "counter", 7)],
    "no-utf8": [delta("caf"), '{"choices": [{"delta": {"content": "\udce9!"}}]}', finish()],
    "error-with-key": [{"error": {"message": "no credit for sk-Secret"}}],
    "error-event": [delta("good "), {"error": {"message": "overloaded"}}],
    "early-usage": [{**delta("a "), "usage": USAGE}, delta("b"), finish()],
    "timings": [{**delta(word), "timings": {"prompt_n": 3, "cache_n": 4, "predicted_n": n}} for n, word in enumerate(
        ["One ", "two", ".", " Three", " four"], 1
    )],
    "selector": [delta("I think the "), delta("beta should go on."), finish()],
}  # fmt: skip


@dataclass
class FakeOpenAi:
    """What it was asked, in order; `closed` counts the streams that clients have left before their end. `more` is set
    when it is asked, `left` when one is left."""

    url: str = ""
    requests: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    closed: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (body := await self._receive(reader)) is not None:
                self.requests.append(body)
                self.more.set()
                await self._answer(body, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed += 1
            self.left.set()
        finally:
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader) -> Json | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        self.paths.append(head[0].split(" ")[1])
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        self.headers.append(headers)
        body: Json = json.loads(await reader.readexactly(int(headers["content-length"])))
        return body

    async def _answer(self, body: Json, writer: asyncio.StreamWriter) -> None:
        mode = body["model"]
        tried = sum(request["model"] == mode for request in self.requests)
        if mode == "silent":
            await asyncio.Event().wait()
        if mode == "small" and len(json.dumps(body["messages"])) > SMALL_CHARACTERS:
            mode = "long"
        if mode in ERRORS or (mode == "recovering" and tried < 3):
            status, error = ERRORS.get(mode, (503, {"error": "loading"}))
            sent = [self.headers[-1].get(name) for name in ("authorization", "x-api-key", "api-key")]
            text = json.dumps({**error, "you_sent": sent}).encode()
            retry = "retry-after: 0.01\r\n" if mode != "limited" else "retry-after: 3600\r\n"
            writer.write(f"HTTP/1.1 {status} X\r\n{retry}content-length: {len(text)}\r\n\r\n".encode() + text)
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await self._stream(body, mode, writer)

    async def _stream(self, body: Json, mode: str, writer: asyncio.StreamWriter) -> None:
        async def send(data: Json | str) -> None:
            line = self.frame(data)
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            await writer.drain()

        if mode in ("stalling", "dropped", "truncated", "pinging", "raving"):
            for begun in self.half:
                await send(begun)
        if mode == "calling":
            await send(call(0, "counter", '{"key"'))
        if mode in ("stalling", "calling"):
            await asyncio.Event().wait()
        if mode == "pinging":
            while True:
                writer.write(b"8\r\n: ping\n\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        if mode == "dropped":
            writer.transport.abort()
            return
        if mode == "raving":
            await send({"error": {"message": "overloaded"}})
        if mode in ("endless", "raving"):
            while True:
                await send(self.piece("on and on " * 100))
        if mode == "long-line":
            while True:
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
        if mode != "truncated":
            for data in self.script(body, mode):
                await send(data)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    @property
    def half(self) -> list[Json]:
        """The beginning of an answer."""
        return [self.piece("half ")]

    def piece(self, text: str) -> Json:
        return delta(text)

    def frame(self, data: Json | str) -> bytes:
        return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode(errors="surrogateescape")

    def script(self, body: Json, mode: str) -> list[Json | str]:
        """Everything of an answer."""
        if mode.startswith("leading") and (led := orchestrated(body, mode)) is not None:
            return [delta(led), finish(), {"choices": [], "usage": USAGE}, "[DONE]"]
        answered = body["messages"][-1]["role"] == "tool"
        played = ANSWERS["good"] if answered and mode not in ("unwilling", "watching") else ANSWERS.get(mode)
        usage: list[Json | str] = []
        if body.get("stream_options") and mode != "no-usage":
            usage = [{"choices": [], "usage": USAGE} if mode not in ("early-usage", "timings") else {"choices": []}]
        return [*(played or ANSWERS["good"]), *usage, "[DONE]"]


def orchestrated(body: Json, mode: str) -> str | None:
    """What answers an orchestrator's question: each agent is asked once, in turn. None for any other question.

    `leading-odd` first answers with no ledger, `leading-deep` with one that JSON gives up on, `leading-mad` never with
    one, `leading-stuck` sees no progress.
    """
    asked = str(body["messages"][-1]["content"])
    if "pre-survey" in asked or "rewrite the following fact sheet" in asked:
        return "FACTS"
    if "bullet-point" in asked:
        return "PLAN"
    if "provide the final answer" in asked:
        return "ANSWER"
    if "not the JSON object" not in asked and "select from: " not in asked:
        return None
    if mode == "leading-deep" and "not the JSON object" not in asked:
        return "[" * 3_000
    if mode == "leading-mad" or (mode == "leading-odd" and "not the JSON object" not in asked):
        return "I would say: alpha."
    prompt = next(m["content"] for m in reversed(body["messages"]) if "select from: " in str(m["content"]))
    names = prompt.split("select from: ")[1].split(")")[0].split(", ")
    spoken = sum("Hello from fake" in str(message["content"]) for message in body["messages"])
    done = mode != "leading-stuck" and spoken >= len(names)
    answers = {
        "is_request_satisfied": done,
        "is_in_loop": False,
        "is_progress_being_made": mode != "leading-stuck",
        "next_speaker": names[spoken % len(names)],
        "instruction_or_question": f"Do part {spoken}.",
    }
    return json.dumps({key: {"reason": "so", "answer": answer} for key, answer in answers.items()})


@asynccontextmanager
async def serving(fake: FakeOpenAi) -> AsyncIterator[None]:
    """Let a fake answer on loopback; its `url` is the server's, without a path."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(fake.serve(reader, writer), name="fake server"))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def fake_openai() -> AsyncIterator[FakeOpenAi]:
    """A server on loopback."""
    fake = FakeOpenAi()
    async with serving(fake):
        fake.url += "/v1"
        yield fake
