"""A stderr that never makes its writer wait.

Whoever reads a hub's log may stop reading: a log collector that hangs, a pager, a full disk behind a pipe. A write to
such a pipe would stop the event loop, and with it every socket of the worker. Here lines are dropped instead, and
counted.
"""

import os
import select
import socket
import stat
from collections.abc import Callable
from functools import partial
from typing import TextIO

SURE = 4096  # bytes that a pipe takes wholly or not at all (POSIX's PIPE_BUF on Linux)


class Stderr:
    """Takes whole lines. What cannot be written now is lost; the next line that can be is preceded by `lost(n)`."""

    def __init__(self, stream: TextIO) -> None:
        """`stream` is a file of the process, or something that stands for it, which is then used as it is."""
        self._stream = stream
        self._write = _writer(stream)
        self._cut = False
        self._unreported = 0
        self.dropped = 0
        self.lost: Callable[[int], str] | None = None

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, line: str) -> int:
        """Write a line with its end, if that is possible at once."""
        data = line.encode(errors="backslashreplace")
        if self._unreported and self.lost is not None:
            data = self.lost(self._unreported).encode() + data
        if self._cut:
            data = b"\n" + data
        written = self._write(data)
        if written == len(data):
            self._cut, self._unreported = False, 0
        else:
            self._cut = self._cut or written > 0
            self.dropped += 1
            self._unreported += 1
        return len(line)

    def flush(self) -> None:
        """Nothing is held back."""


def _writer(stream: TextIO) -> Callable[[bytes], int]:
    """What writes as much as is possible at once, and tells how much that was."""
    try:
        fd = stream.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError):
        return partial(_as_text, stream)
    if stat.S_ISSOCK(mode):
        journal = socket.socket(fileno=os.dup(fd))  # systemd's
        return partial(_all, lambda data: journal.send(data, socket.MSG_DONTWAIT))
    if not stat.S_ISFIFO(mode):  # a file, on a disk that may be full, or a terminal
        return partial(_all, partial(os.write, fd))
    try:
        # A description of our own: to make the one that is shared with other processes non-blocking would break them.
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return partial(_all, partial(_if_ready, fd))
    return partial(_all, partial(os.write, own))


def _as_text(stream: TextIO, data: bytes) -> int:
    stream.write(data.decode())
    stream.flush()
    return len(data)


def _all(write: Callable[[bytes], int], data: bytes) -> int:
    done = 0
    try:
        while done < len(data):
            done += write(data[done:])
    except OSError:  # it would have to wait, or nobody is there any more
        pass
    return done


def _if_ready(fd: int, data: bytes) -> int:
    if not select.select([], [fd], [], 0)[1]:
        raise BlockingIOError
    return os.write(fd, data[:SURE])
