"""LangChain runnables and LangGraph graphs as agents and as engines. What their authors need is here; nothing of
LangChain is imported before a team needs it."""

from hub.engine.langchain.registry import Runnable, runnable

__all__ = ["Runnable", "runnable"]
