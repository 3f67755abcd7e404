"""What the chat was asked for on its command line."""

from dataclasses import dataclass

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Options:
    """Everything is optional but the address. `message` is set: say this, print the answers, leave.

    `resume`: go on with the last session; `session` names one (an id). `as_json`: events as JSON lines. `plain`: no
    drawing, line by line.
    """

    url: str = DEFAULT_URL
    name: str | None = None
    password: str | None = None
    token: str | None = None
    api_key: str | None = None
    session: str | None = None
    team: str | None = None
    message: str | None = None
    resume: bool = False
    as_json: bool = False
    plain: bool = False
