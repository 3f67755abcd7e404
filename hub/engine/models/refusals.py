"""What it means when a server answers with a status other than 200, or not at all."""

from http import HTTPStatus

import httpx2

from hub.engine.base import Failure
from hub.engine.models.errors import ModelError

MAX_ERROR_BYTES = 65_536
MAX_DETAIL = 500

_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_TOO_LONG = (
    "context_length",
    "context length",
    "context size",
    "context window",
    "exceed_context",
    "too many tokens",
    "too long",
)


async def refusal(response: httpx2.Response, key: str) -> ModelError:
    """What a status other than 200 means. The response is closed. Servers that repeat the key they refuse are known."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ERROR_BYTES:
            break
    await response.aclose()
    words = hidden(body.decode(errors="replace"), key)
    status = response.status_code
    return ModelError(
        _meaning(status, words.lower()),
        f"HTTP {status}: {words[:MAX_DETAIL]}",
        f"HTTP {status}",
        again=status in _AGAIN,
        after_s=_told(response),
    )


def broken(error: httpx2.HTTPError) -> ModelError:
    """No connection, or one that broke."""
    name = type(error).__name__
    return ModelError(Failure.MODEL_UNAVAILABLE, f"the connection broke: {error!r}", name, again=True)


def hidden(words: str, key: str) -> str:
    """Words without the key."""
    return words.replace(key, "…") if key else words


def _meaning(status: int, words: str) -> Failure:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failure.MODEL_RATE_LIMITED
    if status in (400, 413, 422):
        return Failure.CONTEXT_TOO_LONG if any(phrase in words for phrase in _TOO_LONG) else Failure.MODEL_REFUSED
    return Failure.MODEL_UNAVAILABLE  # wrong key, wrong address, or a fault of the server: no model to be had


def _told(response: httpx2.Response) -> float | None:
    """Seconds that the server wants to be left alone. A date is not read: clocks differ."""
    told = response.headers.get("retry-after", "")
    return float(told) if told.replace(".", "", 1).isdecimal() else None
