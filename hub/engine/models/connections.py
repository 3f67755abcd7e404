"""Connections to models: shared by all calls of a worker."""

import httpx2


class Connections:
    """HTTP clients of one process and its event loop; to be closed by its owner.

    A client of one's own would cost each call 30 ms and a new connection.
    """

    def __init__(self) -> None:
        self._clients: dict[bool, httpx2.AsyncClient] = {}

    def to(self, url: str) -> httpx2.AsyncClient:
        """The client for an address: one for https, one for plain http."""
        https = url.startswith("https:")
        if (client := self._clients.get(https)) is None:
            client = self._clients[https] = _client(https=https)
        return client

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()


def _client(*, https: bool) -> httpx2.AsyncClient:
    """Plain http is for servers nearby: no certificates are loaded (that takes 0.1 s), no proxy is used."""
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(connect=5, write=10, pool=10, read=None),  # reading has the deadlines of each call
        limits=httpx2.Limits(max_connections=1_000, max_keepalive_connections=100),
        verify=https,
        trust_env=https,
    )
