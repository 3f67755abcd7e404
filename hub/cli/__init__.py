"""The command `hub`."""

import gc


def main() -> None:
    """Run it."""
    gc.disable()  # importing makes a million objects and no garbage: looking for it would take a sixth of a start
    from hub.cli import commands  # noqa: PLC0415

    gc.enable()
    commands.main()
