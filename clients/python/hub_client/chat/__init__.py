"""`hub chat`: the chat in a terminal, and the same without one for scripts."""

from hub_client.chat.main import main
from hub_client.chat.options import Options

__all__ = ["Options", "main"]
