"""REST reads at a steady rate over connections that stay open: how long each kind takes, measured from when it was due.

The client is as small as one can be, so that what is measured is the hub: it trusts the hub's HTTP.
"""

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from urllib.parse import urlsplit

# All reads of what one person may see that end by themselves. Not here: exports and the stream of events, which last as
# long as what they carry.
OF_A_SESSION = (
    "/v1/sessions/{session}", "/v1/sessions/{session}/members", "/v1/sessions/{session}/invites",
    "/v1/sessions/{session}/events?limit=100", "/v1/sessions/{session}/events?after_seq=2&limit=100",
    "/v1/sessions/{session}/transcript", "/v1/sessions/{session}/transcript?format=markdown",
    "/v1/sessions/{session}/usage", "/v1/sessions/{session}/budgets", "/v1/sessions/{session}/inputs",
)  # fmt: skip
OF_A_PERSON = (
    "/v1/me", "/v1/me/usage", "/v1/organisations", "/v1/organisations/{organisation}/members", "/v1/api-keys",
    "/v1/auth/sign-ins", "/v1/sessions?limit=50", "/v1/search?q=t1.7", "/v1/search?q=nowhere", "/v1/teams",
)  # fmt: skip
OF_A_RUN = ("/v1/runs/{run}",)
READS = (*OF_A_SESSION, *OF_A_PERSON, *OF_A_RUN)

ANSWER_S = 30.0


class Connection:
    """One connection that asks one thing at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host

    @classmethod
    async def open(cls, url: str) -> "Connection":
        """Connect. Raises `OSError`."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        return cls(reader, writer, parts.netloc)

    async def get(self, path: str, token: str) -> int:
        """The status; the body has been read to its end. Raises `OSError`, `TimeoutError`, `ValueError`."""
        self._writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        async with asyncio.timeout(ANSWER_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            if b"transfer-encoding: chunked" in head:
                while size := int(await self._reader.readline(), 16):
                    await self._reader.readexactly(size + 2)
                await self._reader.readexactly(2)
            else:
                await self._reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        return int(head[9:12])

    def close(self) -> None:
        """Go."""
        self._writer.close()


class Reads:
    """Reads of `paths` in turn. `took` are seconds by path, `wrong` the statuses other than 200."""

    def __init__(self, url: str, token: str, paths: Sequence[str], connections: int) -> None:
        self.took: defaultdict[str, list[float]] = defaultdict(list)
        self.wrong: Counter[str] = Counter()
        self._url, self._token = url, token
        self._paths = itertools.cycle(paths)
        self._connections = connections
        self.names: dict[str, list[str]] = {}
        self._turn = itertools.count()

    def fill(self, path: str) -> str:
        """The path with names of things that are there, in turn."""
        for name, values in self.names.items():
            if "{" + name + "}" in path:
                path = path.replace("{" + name + "}", values[next(self._turn) % len(values)])
        return path

    async def run(self, per_second: float, seconds: float) -> None:
        """Read so many a second. A read that finds all connections busy waits, and its time counts."""
        free: asyncio.Queue[Connection] = asyncio.Queue()
        every = [await Connection.open(self._url) for _ in range(self._connections)]
        for connection in every:
            free.put_nowait(connection)

        async def one(path: str, due: float) -> None:
            connection = await free.get()
            try:
                status = await connection.get(self.fill(path), self._token)
                self.took[path].append(time.perf_counter() - due)
                if status != 200:
                    self.wrong[f"{status} {path}"] += 1
            except (OSError, EOFError, ValueError) as error:
                self.wrong[f"{type(error).__name__} {path}"] += 1
                connection.close()
                connection = await Connection.open(self._url)
                every.append(connection)
            finally:
                free.put_nowait(connection)

        try:
            async with asyncio.TaskGroup() as tasks:
                started = time.perf_counter()
                for number in range(int(per_second * seconds)):
                    due = started + number / per_second
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    tasks.create_task(one(next(self._paths), due))
        finally:
            for connection in every:
                connection.close()
