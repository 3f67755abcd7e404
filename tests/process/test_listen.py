"""The listening sockets."""

import socket
import sys

import pytest

from hub.process.exits import CannotStart, ExitCode
from hub.process.listen import listening_sockets, url_of


def close(sockets: list[socket.socket]) -> None:
    for listener in sockets:
        listener.close()


def test_each_worker_has_a_queue_of_its_own_on_one_port() -> None:
    sockets = listening_sockets("127.0.0.1", 0, 3, stall_s=15)
    try:
        assert len({s.getsockname()[1] for s in sockets}) == 1
        if sys.platform == "linux":
            assert len({s.fileno() for s in sockets}) == 3
            assert sockets[2].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
            assert sockets[2].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        port = sockets[0].getsockname()[1]
        assert url_of(sockets[0], "127.0.0.1") == f"http://127.0.0.1:{port}"
        assert url_of(sockets[0], "::1") == f"http://[::1]:{port}"
    finally:
        close(sockets)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_hub_cannot_slip_onto_the_same_port(workers: int) -> None:
    sockets = listening_sockets("127.0.0.1", 0, 2, stall_s=15)
    try:
        with pytest.raises(CannotStart, match="cannot listen on") as refused:
            listening_sockets("127.0.0.1", sockets[0].getsockname()[1], workers, stall_s=15)
        assert refused.value.code is ExitCode.UNAVAILABLE
    finally:
        close(sockets)


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(CannotStart, match="cannot listen"):
        listening_sockets("192.0.2.1", 0, 1, stall_s=15)
