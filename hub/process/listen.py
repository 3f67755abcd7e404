"""The listening sockets, which the supervisor holds: a worker that dies resets no waiting connection."""

import errno
import socket
import sys

from hub.process.exits import CannotStart

BACKLOG = 2048
SEND_BUFFER_BYTES = 256 * 1024  # left alone, the kernel takes 4 MB for a reader that has stopped reading


def listening_sockets(host: str, port: int, count: int, stall_s: float) -> list[socket.socket]:
    """`count` sockets on one address, port 0 picks a free one. Raises CannotStart when it is taken or not ours.

    On Linux each is a queue of its own, among which the kernel spreads new connections; elsewhere all are the same
    socket. Connections inherit the bounds: the kernel drops a peer that acknowledges nothing for `stall_s` seconds.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        balanced = sys.platform == "linux" and count > 1
        # SO_REUSEPORT would let a second hub of the same user share the port without a word.
        first = _bound(family, address, reuse_port=False)
        if not balanced:
            return [_listening(first, stall_s)] * count
        address = first.getsockname()
        first.close()
        return [_listening(_bound(family, address, reuse_port=True), stall_s) for _ in range(count)]
    except OSError as e:
        taken = " Another port: --port N, or 0 for a free one." if e.errno == errno.EADDRINUSE else ""
        raise CannotStart(f"The hub cannot listen on {host}:{port}: {e.strerror or e}.{taken}") from e


def url_of(listener: socket.socket, host: str) -> str:
    """The address to show, with the port that was really taken."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _bound(family: socket.AddressFamily, address: object, *, reuse_port: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)  # type: ignore[arg-type]  # whatever getaddrinfo gave
    except OSError:
        listener.close()
        raise
    return listener


def _listening(listener: socket.socket, stall_s: float) -> socket.socket:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    # Inherited, too: not every event loop sets it, and an answer in two writes then waits 40 ms for the peer's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_s * 1000))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
