"""Why somebody could not sign in with the provider."""

from enum import StrEnum


class Reason(StrEnum):
    """What the page is told, and has a sentence for: only these words ever stand in its address."""

    CANCELLED = "cancelled"  # the person, or the provider, said no
    EXPIRED = "expired"  # too late, done already, or begun in another browser
    PROVIDER = "provider"  # the provider's answer is not to be believed
    UNAVAILABLE = "unavailable"  # the provider, or something of the hub, does not answer
    BUSY = "busy"  # too many tries
    CLOSED = "closed"  # a stranger, and registration is closed
    NOT_ALLOWED = "not-allowed"  # the provider does not say what this hub requires
    SUSPENDED = "suspended"
    ADDRESS = "address"  # the hub does not know under which address it is reached


class SignInRefused(Exception):
    """`why` is for the log: a word of ours, nothing that was sent."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(f"{reason.value}: {why}")
        self.reason = reason
        self.why = why
