"""Structured logs on stderr."""

import logging
import sys
from typing import Literal

import structlog

from hub.telemetry.stderr import Stderr

# Their records hold message texts (AutoGen), queries with tickets (uvicorn) or a line per model call (openai).
_SILENCED = {
    "autogen_core": logging.CRITICAL,
    "autogen_core.events": logging.CRITICAL,
    "autogen_agentchat": logging.CRITICAL,
    "autogen_agentchat.events": logging.CRITICAL,
    "alembic": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "uvicorn.error": logging.WARNING,
    "httpx2": logging.WARNING,
    "openai": logging.WARNING,
    "asyncio": logging.ERROR,
}


def configure(level: Literal["debug", "info", "warning", "error"], format_: Literal["json", "console"]) -> Stderr:
    """Set up logging for this process, and give what it is written to. Called once, before anything logs."""
    stderr = Stderr(sys.stderr)
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if format_ == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # the default one prints local variables
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stderr),  # type: ignore[arg-type]  # a line at a time
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.INFO))
    for name, at in _SILENCED.items():
        logging.getLogger(name).setLevel(at)

    def lost(lines: int) -> str:
        told: structlog.typing.EventDict = {"event": "log_lines_lost", "lines": lines}
        for processor in (*shared, renderer):
            told = processor(None, "warning", told)  # type: ignore[assignment]  # the last one gives text
        return f"{told}\n"

    stderr.lost = lost
    return stderr
