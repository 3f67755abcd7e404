"""Whether a peer that has enough to read takes any of it."""

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable


class Progress:
    """Looks every `stall_s` seconds, from now on until `stop`, whether the peer has taken something since; calls
    `stalled` when it has not, and looks no more."""

    __slots__ = ("_loop", "_stall_s", "_stalled", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, stall_s: float, stalled: Callable[[], None]) -> None:
        self._transport = transport
        self._stall_s = stall_s
        self._stalled = stalled
        self._loop = asyncio.get_running_loop()
        self._timer = self._look_later(self._untaken())

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look_later(self, untaken: int) -> asyncio.TimerHandle:
        return self._loop.call_later(self._stall_s, self._look, untaken)

    def _look(self, before: int) -> None:
        untaken = self._untaken()
        if untaken < before:
            self._timer = self._look_later(untaken)
        else:
            self._stalled()

    def _untaken(self) -> int:
        """Bytes that the peer's kernel has not acknowledged yet. The transport's own buffer says too little: it
        shrinks in steps of a third of the kernel's, which a slow peer needs minutes for."""
        size = self._transport.get_write_buffer_size()
        sock = self._transport.get_extra_info("socket")
        try:
            return size + int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:  # not every system tells
            return size
