"""Ask a team, kill the worker that writes the answer, and see the answer go on.

python -m examples.takeover URL NAME PASSWORD [TEAM] [QUESTION]
"""

import asyncio
import os
import signal
import socket
import sys
import time

from hub.protocol.events import DurableEvent, MessageDelta, RunFinished, RunStarted, TurnStarted, TurnSuperseded
from hub_client import connect

PIECES = 25  # of the answer that are shown before its worker is killed
TEAM, QUESTION = "duo", "Why is the sky blue?"


async def main(url: str, name: str, password: str, team: str = TEAM, question: str = QUESTION) -> int:
    """0 when the answer was finished by another worker and the log has no gap."""
    async with connect(url, name=name, password=password) as hub:
        opened = await hub.create_session(team, title=question)
        print(f"watch it in the browser, too: {url}/#/s/{opened.id}\n\nYou: {question}", flush=True)
        session = await hub.join(opened.id, after_seq=0)
        await session.send(question)
        writer, killed_at, pieces = 0, 0.0, 0
        seqs: list[int] = []
        async for event in session.events():
            if isinstance(event, DurableEvent):
                seqs.append(event.seq)
            match event:
                case RunStarted():
                    writer = _pid(event.data.node)
                case TurnSuperseded():
                    waited = time.monotonic() - killed_at
                    print(f"\n\n>>> {waited:.1f} s later: worker {writer} is dead, another does the turn again", end="")
                case TurnStarted():
                    print(f"\n\n{event.data.agent}: ", end="", flush=True)
                case MessageDelta():
                    print(event.data.text, end="", flush=True)
                    pieces += 1
                    if pieces == PIECES:
                        killed_at = time.monotonic()
                        os.kill(writer, signal.SIGKILL)
                        print(f"\n\n>>> kill -9 {writer}: the worker that was writing this", end="", flush=True)
                case RunFinished():
                    return _verdict(event.data.status, event.data.reason, killed_at, seqs)
                case _:
                    pass
    return 1


def _pid(node: str) -> int:
    host, pid, _ = node.rsplit(":", 2)
    if host != socket.gethostname():
        raise SystemExit(f"the worker is on another machine, {host}: nothing of it can be killed from here")
    return int(pid)


def _verdict(status: str, reason: str, killed_at: float, seqs: list[int]) -> int:
    if not killed_at:
        print("\n\n>>> the answer was too short to be interrupted; ask something else")
        return 1
    whole = seqs == list(range(1, len(seqs) + 1))
    print(f"\n\n>>> {status} ({reason}); events 1 to {seqs[-1]}, {'each once, none missing' if whole else seqs}")
    return int(not whole or status != "completed")


if __name__ == "__main__":
    if not 4 <= len(sys.argv) <= 6:
        sys.exit("usage: python -m examples.takeover URL NAME PASSWORD [TEAM] [QUESTION]")
    sys.exit(asyncio.run(main(*sys.argv[1:])))
