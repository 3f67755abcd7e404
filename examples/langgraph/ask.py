"""Ask the example's team one thing, and print what it says as it comes.

python -m examples.langgraph.ask URL [QUESTION]
"""

import asyncio
import secrets
import sys

from examples.asking import ask
from hub_client import Rest


async def main(url: str, question: str) -> int:
    name, password = f"example-{secrets.token_hex(3)}", secrets.token_urlsafe(16)
    async with Rest(url) as rest:
        await rest.register(name, password)
    return await ask(url, name, password, "research-graph", question)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m examples.langgraph.ask URL [QUESTION]")
    sys.exit(asyncio.run(main(sys.argv[1], " ".join(sys.argv[2:]) or "What is 6 * 7, and 2 ^ 10?")))
