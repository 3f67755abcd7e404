"""What the servers from wheels have in common."""

from abc import ABC, abstractmethod
from typing import ClassVar

from hub.embedded.process import ServerProcess


class EmbeddedServer(ABC):
    """A server of our own: `EmbeddedPostgres`, `EmbeddedValkey`, `EmbeddedModel`. Launched first and waited for later,
    so that several start at once."""

    stop_timeout_s: ClassVar[float] = 10

    def __init__(self) -> None:
        self._server: ServerProcess | None = None

    @property
    def alive(self) -> bool:
        return self._server is not None and self._server.alive

    @abstractmethod
    def launch(self) -> str:
        """Start it without waiting, also again after a death, and return its address, which stays the same. Raises
        EmbeddedError."""

    @abstractmethod
    def wait_ready(self) -> None:
        """Wait until what was launched answers. Raises EmbeddedError when it ends or time is up."""

    def start(self) -> str:
        """`launch`, then `wait_ready`."""
        address = self.launch()
        self.wait_ready()
        return address

    def stop(self) -> None:
        """End it: what PostgreSQL has committed is kept. Fine at any time."""
        if self._server is not None:
            self._server.stop(self.stop_timeout_s)
