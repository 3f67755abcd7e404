"""The streamed answer of an OpenAI-compatible server."""

import orjson

from hub.domain.ids import new_id
from hub.engine.models.answer import Answer, StreamedCall, broke_off, malformed


class OpenAiAnswer(Answer):
    """Chunks of a chat completion, as OpenAI, Azure, llama.cpp and many others send them."""

    def __init__(self, sentence_after: int | None) -> None:
        super().__init__(sentence_after)
        self._latest: dict[int | None, StreamedCall] = {}  # by the number that the server gives it, if any

    def take(self, event: dict[str, object]) -> list[str]:
        if event.get("error"):
            raise broke_off(event["error"])
        self._take_usage(event)
        match event.get("choices"):
            case [{"delta": dict() | None as delta, **choice}, *_]:
                if isinstance(finish := choice.get("finish_reason"), str):
                    self._finish = finish
                return self._pieces(delta or {})
            case [] | None | [{"content_filter_offsets": _}, *_]:  # Azure: what a filter thinks of it, afterwards
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
        elif isinstance(said, list):  # Mistral, of models that think
            for block in said:
                pieces += self._block(block)
        if isinstance(calls := delta.get("tool_calls"), list):
            for call in calls:
                self._call(call)
        return pieces

    def _block(self, block: object) -> list[str]:
        match block:
            case {"type": "text", "text": str(text)}:
                return self._say(text)
            case {"type": "thinking", "thinking": list(parts)}:
                return [piece for part in parts if isinstance(part, dict) for piece in self._think(_text_of(part))]
            case _:
                return []

    def _call(self, delta: object) -> None:
        match delta:
            case dict() if isinstance(function := delta.get("function"), dict):
                name, arguments = function.get("name") or "", function.get("arguments") or ""
                if isinstance(arguments, dict):  # some servers send what they were to write
                    arguments = orjson.dumps(arguments).decode()
                if not isinstance(name, str) or not isinstance(arguments, str):
                    raise malformed("a tool call has a name and arguments that are no text")
                call = self._called(delta.get("index"), delta.get("id"), name)
                call.name += name if name != call.name else ""
                call.arguments += arguments
                self._count(len(name) + len(arguments))
            case _:
                raise malformed("a tool call has no function")

    def _called(self, index: object, given: object, name: str) -> StreamedCall:
        """The call that a piece belongs to. Where a server numbers no calls, a name begins the next one; where it gives
        all of them one number, a name with another id does."""
        number = index if isinstance(index, int) else None
        made = given if isinstance(given, str) else ""
        call = self._latest.get(number)
        if call is None or (name and call.name and (number is None or (made and made != call.id))):
            call = self._latest[number] = self._calls[len(self._calls)] = StreamedCall(id=made or new_id())
        return call


def _text_of(part: dict[str, object]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""
