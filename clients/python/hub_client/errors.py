"""What can go wrong between a client and a hub."""

from collections.abc import Mapping


class HubClientError(Exception):
    """The base of every error this package raises on purpose. `str()` is a sentence for people."""


class RequestFailed(HubClientError):
    """The hub answered, with an error. `code` is one of the protocol's error codes; `retry_after` is in seconds."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class NotSignedIn(HubClientError):
    """The credential is wrong or has ended, and there is no way to get a new one."""


class Unreachable(HubClientError):
    """No hub answers at this address."""


class ConnectionLost(HubClientError):
    """The connection ended before the hub answered: the command may or may not have been carried out."""


class NoAnswer(HubClientError):
    """The hub did not answer a command within its deadline; it may or may not have been carried out."""


class Stopped(HubClientError):
    """The hub closed the connection for good. `close_code` tells why (protocol, section 6); None: this side closed."""

    def __init__(self, message: str, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code
