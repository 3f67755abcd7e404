"""`hub model`: the models that teams may use, and whether they answer."""

import asyncio
import json
from typing import Annotated

import typer

from hub.cli import reach
from hub.cli.options import AsJsonLines
from hub.composition import agents
from hub.engine.catalog import probe_models
from hub.engine.models import form
from hub.engine.models.registry import HostedModel, Model, Models
from hub.process.bring_up import model_errors
from hub.process.exits import CannotStart, ExitCode
from hub.settings import Settings

cli = typer.Typer(help="Models that teams may use.", no_args_is_help=True)


@cli.command("list")
def list_models(as_json: AsJsonLines = False) -> None:
    """Show all aliases: where each model is, what it can do, what it costs, who stands in for it."""
    known = _models(strict=False)
    for alias in sorted(known.aliases()):
        model = known.get(alias)
        row = {"alias": alias, "default": alias == known.default, **_shown(model)}
        typer.echo(json.dumps(row) if as_json else _line(row))


@cli.command("check")
def check(
    aliases: Annotated[list[str] | None, typer.Argument(help="Which ones; without any, all.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=300, help="Seconds until the first token.")] = 20.0,
    as_json: AsJsonLines = False,
) -> None:
    """Ask models for a word, as agents ask them. Exit code 1 when one does not answer."""
    known = _models(strict=True)
    for alias in aliases or []:
        if alias not in known:
            raise CannotStart(f"there is no model {alias!r}; `hub model list` shows all", ExitCode.FAILED)
    asked = [(alias, known.get(alias)) for alias in aliases or sorted(known.aliases())]
    failed = False
    for found in asyncio.run(probe_models(asked, timeout)):
        answers = found.error is None
        failed = failed or not answers
        row = {"alias": found.alias, "answers": answers, "first_s": found.first_s, "error": found.detail}
        words = found.detail or f"answers, the first token after {found.first_s or 0:.2f} s"
        typer.echo(json.dumps(row) if as_json else f"{'ok' if answers else 'FAIL':<5} {found.alias:<18} {words}")
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


@cli.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file of models, for editors."""
    typer.echo(json.dumps(form.schema(), indent=2))


def _models(*, strict: bool) -> Models:
    with model_errors():
        return agents.models(reach.with_local_model(Settings()), strict=strict)


def _shown(model: Model) -> dict[str, object]:
    if not isinstance(model, HostedModel):
        return {"provider": "scripted", "name": model.name, "fallbacks": []}
    able = [
        name for name, can in (("tools", model.calls_tools), ("vision", model.sees), ("json", model.writes_json)) if can
    ]
    return {
        "provider": model.provider,
        "name": model.name,
        "base_url": model.base_url,
        "key": bool(model.api_key),
        "abilities": able,
        "price": {"input": model.price.prompt, "output": model.price.completion},
        "fallbacks": list(model.fallbacks),
    }


def _line(row: dict[str, object]) -> str:
    mark = "*" if row["default"] else " "
    words = f"{row['provider']} {row['name']}"
    if "base_url" in row:
        words += f" at {row['base_url']}"
    fallbacks = row["fallbacks"]
    if isinstance(fallbacks, list) and fallbacks:
        words += f", else {', '.join(fallbacks)}"
    return f"{mark} {row['alias']:<18} {words}"
