"""Tools as an operator might have them (HUB_TOOLS=tests.engine.some_tools). A script calls each with a `key`."""

from hub.engine.tools import ToolContext, tool


@tool("safe")
def echo(key: str) -> str:
    """Says it again."""
    return key


@tool("effect", approve_if='"large" in key')
async def pay(key: str, context: ToolContext) -> str:
    """Pays an amount.

    Args:
        key: The amount, in words.
    """
    return f"{context.user} paid {key} in call {context.call}"


@tool("approval", approvers=2, by_others=True)
async def launch(key: str, context: ToolContext) -> str:
    """Cannot be taken back."""
    return f"launched {key}"


@tool("safe")
def flood(key: int) -> str:
    """Says much."""
    return "é" * key


@tool("effect")
def flood_once(key: int) -> str:
    """Says much, once."""
    return "é" * key


@tool("safe", users=["ada"])
def adas(key: str = "") -> str:
    """For ada only."""
    return "for ada"


@tool("safe", teams=["bank"])
def banks(key: str = "") -> str:
    """For the team bank only."""
    return "for the bank"


_hidden = tool("safe", name="hidden")(lambda: "")
