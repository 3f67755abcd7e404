"""What can go wrong with a model."""

from hub.engine.base import Failure


class ModelError(Exception):
    """A model call that gave no answer. `failure` may be shown to clients; the text is for the log only."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
