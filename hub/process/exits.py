"""How `hub` ends."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every `hub` command."""

    OK = 0
    """Done; for `serve`: drained after SIGTERM, SIGINT or SIGHUP."""
    FAILED = 1
    """It did not work out; for `serve`: workers or a service kept dying, or a second signal cut the drain short."""
    USAGE = 2
    """The command line or a setting is wrong, or a secret is missing or weak."""
    SCHEMA = 3
    """The database's schema is not the one this version needs: run `hub migrate`."""
    UNAVAILABLE = 4
    """Something needed at the start is not there: the data directory, the address, the database, a service."""


class CannotStart(Exception):
    """A command ends with `code`; the message is one sentence for the operator."""

    def __init__(self, message: str, code: ExitCode = ExitCode.UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code
