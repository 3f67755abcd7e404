"""Tools that agents may call. What authors of tools need is here; the rest is in the modules."""

from hub.engine.tools.function import tool
from hub.engine.tools.outcome import ToolError
from hub.engine.tools.tool import Tool, ToolContext, ToolKind

__all__ = ["Tool", "ToolContext", "ToolError", "ToolKind", "tool"]
