"""The embedded services of one hub: started for what has no address, kept alive, stopped last."""

import time
from pathlib import Path

import structlog

from hub.embedded.model import EmbeddedModel
from hub.embedded.postgres import EmbeddedPostgres
from hub.embedded.process import EmbeddedError
from hub.embedded.server import EmbeddedServer
from hub.embedded.valkey import EmbeddedValkey
from hub.process.restarts import Restarts

log = structlog.get_logger("hub.process")


class Services:
    """Servers of our own in `data_dir`. Every method blocks and belongs to the main thread."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._running: list[tuple[str, EmbeddedServer, Restarts]] = []

    def postgres(self) -> str:
        """The address of a PostgreSQL that takes connections. Raises EmbeddedError."""
        server = EmbeddedPostgres(self._data_dir / "postgres")
        address = self._launch("PostgreSQL", server)
        server.wait_ready()
        return address

    def valkey(self) -> str:
        """The address of a Valkey that answers. Raises EmbeddedError."""
        server = EmbeddedValkey(self._data_dir / "valkey")
        address = self._launch("Valkey", server)
        server.wait_ready()
        return address

    def model(self) -> str:
        """The address of a small local model, which answers about a second later. Raises EmbeddedError."""
        return self._launch("the local model", EmbeddedModel(self._data_dir / "model"))

    def revive(self, now: float) -> None:
        """Start again what has died. Raises EmbeddedError when something keeps dying."""
        for name, server, restarts in self._running:
            if server.alive:
                continue
            if restarts.died(now):
                log.error("service_died", service=name)
            if restarts.hopeless:
                raise EmbeddedError(f"{name} keeps dying; its log is below {self._data_dir}.")
            if restarts.due(now):
                server.launch()
                restarts.started(now)
                log.warning("service_restarted", service=name)

    def stop(self) -> None:
        """End them all, the last started first."""
        while self._running:
            _, server, _ = self._running.pop()
            server.stop()

    def _launch(self, name: str, server: EmbeddedServer) -> str:
        restarts = Restarts()
        self._running.append((name, server, restarts))  # first: it is stopped even if its start is interrupted
        address = server.launch()
        restarts.started(time.monotonic())
        return address
