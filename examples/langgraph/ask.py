"""Ask the example's team one thing, and print what it says as it comes.

python -m examples.langgraph.ask URL [QUESTION]
"""

import asyncio
import secrets
import sys

from hub.protocol.events import MessageDelta, RunFinished, ToolReturned, TurnStarted
from hub_client import Rest, connect


async def main(url: str, question: str) -> int:
    name, password = f"example-{secrets.token_hex(3)}", secrets.token_urlsafe(16)
    async with Rest(url) as rest:
        await rest.register(name, password)
    async with connect(url, name=name, password=password) as hub:
        session = await hub.create_session("research-graph")
        joined = await hub.join(session.id)
        await joined.send(question)
        async for event in joined.events():
            match event:
                case TurnStarted():
                    print(f"\n{event.data.agent}:", flush=True)
                case ToolReturned():
                    print(f"  [{event.data.name}: {event.data.result}]", flush=True)
                case MessageDelta():
                    print(event.data.text, end="", flush=True)
                case RunFinished():
                    print(f"\n({event.data.status})", flush=True)
                    return int(event.data.status != "completed")
                case _:
                    pass
    return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], " ".join(sys.argv[2:]) or "What is 6 * 7, and 2 ^ 10?")))
