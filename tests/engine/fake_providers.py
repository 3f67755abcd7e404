"""Servers that speak as Azure, Anthropic and Ollama do, well or badly, as the name of the model says."""

import json
from typing import Any

from tests.engine.fake_openai import FakeOpenAi

Json = dict[str, Any]


def _block(index: int, **block: object) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, kind: str, **delta: object) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **delta}}


def _text(index: int, *pieces: str) -> list[Json]:
    begin = _block(index, type="text", text="")
    return [begin, *(_delta(index, "text_delta", text=piece) for piece in pieces), _end(index)]


def _end(index: int) -> Json:
    return {"type": "content_block_stop", "index": index}


def _stop(reason: str = "end_turn", output_tokens: int = 7) -> list[Json]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}},
        {"type": "message_stop"},
    ]


def _tool_use(index: int, name: str, call_id: str, *parts: str) -> list[Json]:
    begin = _block(index, type="tool_use", id=call_id, name=name, input={})
    return [begin, *(_delta(index, "input_json_delta", partial_json=part) for part in parts), _end(index)]


START: Json = {
    "type": "message_start",
    "message": {"id": "m", "usage": {"input_tokens": 8, "cache_read_input_tokens": 3, "output_tokens": 1}},
}
PING: Json = {"type": "ping"}
ANSWERS: dict[str, list[Json | str]] = {
    "good": [*_text(0, "Hello ", "from ", "fake"), *_stop()],
    "reasoning": [
        _block(0, type="thinking", thinking="", signature=""),
        _delta(0, "thinking_delta", thinking="I think"),
        _delta(0, "signature_delta", signature="abc"),
        _end(0),
        *_text(1, "so"),
        *_stop(),
    ],
    "tools": [
        *_text(0, "Let me see."),
        *_tool_use(1, "counter", "toolu_1", '{"key"', ': "a"}'),
        *_tool_use(2, "clock", "toolu_2"),
        *_stop("tool_use"),
    ],
    "cut": [*_text(0, "a ", "b"), *_stop("max_tokens")],
    "empty": [*_stop()],
    "filtered": [*_text(0, "a "), *_stop("refusal")],
    "malformed": [*_text(0, "good ")[:2], "{not json", *_text(1, "after")],
    "error-event": [*_text(0, "good ")[:2], {"type": "error", "error": {"type": "overloaded_error"}}],
    "early-error": [{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}],
}


class FakeAnthropic(FakeOpenAi):
    """The Messages interface."""

    @property
    def half(self) -> list[Json]:
        return [START, *_text(0, "half ")[:2]]

    def piece(self, text: str) -> Json:
        return _delta(0, "text_delta", text=text)

    def frame(self, data: Json | str) -> bytes:
        kind = data["type"] if isinstance(data, dict) else "content_block_delta"
        return f"event: {kind}\ndata: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()

    def script(self, body: Json, mode: str) -> list[Json | str]:
        if mode == "early-error" and sum(request["model"] == mode for request in self.requests) > 1:
            mode = "good"
        return [START, PING, *ANSWERS.get(mode, ANSWERS["good"])]


class FakeOllama(FakeOpenAi):
    """The chat interface: a JSON object a line."""

    def piece(self, text: str) -> Json:
        return {"model": "m", "message": {"role": "assistant", "content": text}, "done": False}

    def frame(self, data: Json | str) -> bytes:
        return f"{data if isinstance(data, str) else json.dumps(data)}\n".encode()

    def script(self, body: Json, mode: str) -> list[Json | str]:
        end: Json = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
        end |= {"prompt_eval_count": 11, "eval_count": 7}
        calls = [
            {"function": {"name": "counter", "arguments": {"key": "a"}}},
            {"function": {"name": "clock", "arguments": {}}},
        ]
        thought = {"message": {"role": "assistant", "content": "", "thinking": "I think"}, "done": False}
        called = {"message": {"role": "assistant", "content": "", "tool_calls": calls}, "done": False}
        answers: dict[str, list[Json | str]] = {
            "good": [self.piece("Hello "), self.piece("from "), self.piece("fake"), end],
            "reasoning": [thought, self.piece("so"), end],
            "tools": [self.piece("Let me see."), called, end],
            "cut": [self.piece("a "), self.piece("b"), {**end, "done_reason": "length"}],
            "empty": [end],
            "malformed": [self.piece("good "), "{not json", self.piece("after")],
            "error-event": [self.piece("good "), {"error": "model runner has unexpectedly stopped"}],
            "early-error": [{"error": "model runner has unexpectedly stopped"}],
        }
        if mode == "early-error" and sum(request["model"] == mode for request in self.requests) > 1:
            mode = "good"
        return answers.get(mode, answers["good"])
