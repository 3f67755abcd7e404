"""What can go wrong with a model."""

from hub.engine.base import Failure


class ModelError(Exception):
    """A model call that gave no answer. `failure` may be shown to clients; the text is for the log only.

    `cause` is what happened, in a word or two and without anybody's words: `HTTP 429`, `ConnectError`. `again` tells
    whether the same call may succeed soon, `after_s` when, if the server said so.
    """

    def __init__(
        self, failure: Failure, detail: str, cause: str = "", *, again: bool = False, after_s: float | None = None
    ) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.cause = cause or failure.value
        self.again = again
        self.after_s = after_s
