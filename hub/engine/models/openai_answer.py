"""The streamed answer of an OpenAI-compatible server."""

from hub.domain.ids import new_id
from hub.engine.models.answer import Answer, StreamedCall, broke_off, malformed


class OpenAiAnswer(Answer):
    """Chunks of a chat completion, as OpenAI, Azure, llama.cpp and many others send them."""

    def take(self, event: dict[str, object]) -> list[str]:
        if event.get("error"):
            raise broke_off(event["error"])
        self._take_usage(event)
        match event.get("choices"):
            case [{"delta": dict(delta), **choice}, *_]:
                if isinstance(finish := choice.get("finish_reason"), str):
                    self._finish = finish
                return self._pieces(delta)
            case [] | None:
                return []
            case _:
                raise malformed("an event has no delta")

    def _take_usage(self, event: dict[str, object]) -> None:
        """Usage comes in an event of its own; llama.cpp tells it with every token, and so also of answers cut short."""
        match event:
            case {"usage": {"prompt_tokens": int(prompt), "completion_tokens": int(completion)}}:
                self._used(prompt, completion)
            case {"timings": {"prompt_n": int(prompt), "cache_n": int(cached), "predicted_n": int(completion)}}:
                self._used(prompt + cached, completion)
            case _:
                pass

    def _pieces(self, delta: dict[str, object]) -> list[str]:
        pieces: list[str] = []
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str):
            pieces += self._think(reasoning)
        said = delta.get("content") or delta.get("refusal")
        if isinstance(said, str):
            pieces += self._say(said)
        if isinstance(calls := delta.get("tool_calls"), list):
            for call in calls:
                self._call(call)
        return pieces

    def _call(self, delta: object) -> None:
        match delta:
            case dict() if isinstance(function := delta.get("function"), dict):
                given = delta.get("id")
                index = delta.get("index")
                if not isinstance(index, int):  # some servers send whole calls, without an index
                    index = len(self._calls) if given or not self._calls else len(self._calls) - 1
                call = self._calls.setdefault(index, StreamedCall(id=given or new_id()))
                call.name += function.get("name") or ""
                call.arguments += function.get("arguments") or ""
                self._count(len(call.arguments))
            case _:
                raise malformed("a tool call has no function")
