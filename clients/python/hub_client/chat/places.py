"""Where the chat keeps things: XDG folders, made when something is put there."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """`config` holds the sign-ins, `state` the typed lines and the last session of each hub."""

    config: Path
    state: Path

    @classmethod
    def of_user(cls) -> "Places":
        """The folders of whoever runs this, as the XDG base directory specification has them."""
        environment = os.environ  # noqa: TID251 — the hub's settings are not a client's: this is its one look outside
        home = Path.home()
        config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        state = Path(environment.get("XDG_STATE_HOME") or home / ".local" / "state")
        return cls(config / "agent-hub", state / "agent-hub")

    @property
    def sign_ins(self) -> Path:
        return self.config / "sign-ins.json"

    @property
    def history(self) -> Path:
        return self.state / "history"

    def make(self) -> None:
        """Make both folders, for the user's eyes only."""
        for folder in (self.config, self.state):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
