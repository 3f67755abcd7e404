"""The tool `clock`: safe, without effects."""

from collections.abc import Mapping
from datetime import UTC, datetime

from hub.engine.tools.registry import ToolKind


class Clock:
    """Tells the time in UTC."""

    name = "clock"
    description = "Tells the present date and time in UTC."
    parameters: Mapping[str, object] = {"type": "object", "properties": {}, "required": []}
    kind = ToolKind.SAFE

    async def run(self, _arguments: Mapping[str, object], /) -> str:
        """RFC 3339, to the second. Arguments are ignored."""
        return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
