"""A client of the bench: one connection, its commands, and what it sees of a session, judged."""

import asyncio
import itertools
import time
import uuid
from typing import Any

import orjson

from loadtests.judge import Frame, Judge
from loadtests.wire import Wire, open_wire

ANSWER_S = 60.0
_DELTA = b'{"type":"message.delta",'


class Watcher:
    """One connection to the hub. `acks` are the seconds from each `message.send` to its ok."""

    def __init__(self) -> None:
        self.judge = Judge()
        self.acks: list[float] = []
        self.hello: Frame = {}
        self._numbers = itertools.count(1)
        self._answers: dict[str, asyncio.Future[Frame]] = {}
        self._greeted = asyncio.Event()
        self._progress = asyncio.Event()
        self._wire: Wire | None = None

    async def connect(self, url: str, token: str) -> None:
        """Connect and wait for the hello."""
        self._wire = await open_wire(url, token, self._see)
        async with asyncio.timeout(ANSWER_S):
            await self._greeted.wait()

    @property
    def close_code(self) -> int | None:
        """The code this connection was closed with; None while it is open."""
        assert self._wire is not None
        return self._wire.closed.result() if self._wire.closed.done() else None

    def close(self) -> None:
        """Go."""
        if self._wire is not None:
            self._wire.close()

    async def ask(self, type_: str, **fields: Any) -> Frame:
        """Send a command and wait for its result. Raises `RuntimeError` with the error, `TimeoutError`."""
        assert self._wire is not None
        number = str(next(self._numbers))
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._wire.send(orjson.dumps({"id": number, "type": type_, **fields}))
        async with asyncio.timeout(ANSWER_S):
            reply = await answer
        if not reply["ok"]:
            raise RuntimeError(f"{type_}: {reply['error']['code']}: {reply['error']['message']}")
        result: Frame = reply["result"]
        return result

    async def join(self, session: str) -> None:
        """Follow a session from its beginning."""
        await self.ask("session.join", session=session, after_seq=0)

    async def say(self, session: str, text: str) -> str:
        """Send a message; the run it started."""
        started = time.perf_counter()
        sent = await self.ask("message.send", session=session, text=text, client_id=uuid.uuid4().hex)
        self.acks.append(time.perf_counter() - started)
        run: str = sent["run"]
        return run

    async def finished(self, run: str, timeout_s: float) -> bool:
        """Wait for the end of a run. False when it did not come in time or the connection ended before."""
        try:
            async with asyncio.timeout(timeout_s):
                while run not in self.judge.finished and self.close_code is None:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return run in self.judge.finished

    def _see(self, payload: bytes) -> None:
        for line in payload.split(b"\n"):
            if line.startswith(_DELTA):
                self.judge.see_line(line)
            else:
                self._take(orjson.loads(line))

    def _take(self, frame: Frame) -> None:
        match frame["type"]:
            case "reply":
                answer = self._answers.pop(frame["id"] or "", None)
                if answer is not None and not answer.done():
                    answer.set_result(frame)
            case "hello":
                self.hello = frame
                self._greeted.set()
            case "run.finished":
                self.judge.see(frame)
                self._progress.set()
            case _ if "session" in frame:
                self.judge.see(frame)
            case _:
                pass
