"""What the commands of `hub` have in common: options, the settings they are run with, how rows are shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hub.settings import Settings

DataDir = Annotated[Path | None, typer.Option(help="Where embedded services keep their data (HUB_DATA_DIR).")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was made as one JSON object.")]


def settings_with(**options: object) -> Settings:
    """The variables, overridden by what the command line gives. Raises pydantic's ValidationError."""
    return Settings.model_validate({name: value for name, value in options.items() if value is not None})


def show(row: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """Print a row as JSON, or as this text."""
    typer.echo(json.dumps(row) if as_json else text)
