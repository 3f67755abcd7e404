"""A real-time WebSocket hub in which teams of AI agents talk live in durable sessions."""

__version__ = "0.1.0"
