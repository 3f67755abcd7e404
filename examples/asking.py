"""Asking a team one thing, and printing what it says as it comes."""

from hub.protocol.events import MessageDelta, RunFinished, ToolReturned, TurnStarted
from hub_client import connect


async def ask(url: str, name: str, password: str, team: str, question: str) -> int:
    """0 when the team has answered."""
    async with connect(url, name=name, password=password) as hub:
        opened = await hub.create_session(team)
        session = await hub.join(opened.id)
        await session.send(question)
        async for event in session.events():
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
