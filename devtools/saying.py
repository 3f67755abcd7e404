"""What the commands say to whoever called them."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def complain(text: str) -> int:
    say(text)
    return 1
