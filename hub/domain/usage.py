"""What runs spend."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens, what they cost in millionths of the operator's currency, finished turns, tool calls, and the time that
    turns took, in milliseconds (without the time that people take)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micros: int = 0
    turns: int = 0
    tool_calls: int = 0
    duration_ms: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def tokens(self) -> int:
        """All tokens, of what was sent and what was answered."""
        return self.prompt_tokens + self.completion_tokens
