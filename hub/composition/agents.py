"""What the settings say about models, tools, runnables and teams; the commands of `hub` ask it as a worker does."""

from collections.abc import Mapping, Sequence

from hub.domain.errors import Unavailable
from hub.domain.ids import AttachmentId, SessionId
from hub.engine.attached import MAX_PICTURE_BYTES, Content, content_of
from hub.engine.bots import Bots
from hub.engine.catalog import Catalog, names_of
from hub.engine.forms import FileError
from hub.engine.langchain.registry import GROUP as RUNNABLES
from hub.engine.langchain.registry import Runnable, Runnables
from hub.engine.loading import LoadingError, load
from hub.engine.mcp.form import McpServerForm, placeholder, read_servers
from hub.engine.models.configured import NOWHERE, configured, read_models
from hub.engine.models.registry import Model, Models, ScriptedModel, local_model, openai_model
from hub.engine.teams.rules import Names
from hub.engine.tools.builtin import Found, Increment, Search, builtin_tools
from hub.engine.tools.registry import Tools
from hub.engine.tools.tool import GROUP as TOOLS
from hub.engine.tools.tool import Tool
from hub.protocol.frames import timestamp
from hub.settings import Settings, variable
from hub.store import attachments, counters, search
from hub.store.database import Store

SEARCHED_CHARACTERS = 2_000  # of a message that the tool search_transcript has found


async def _no_counters(_key: str) -> int:
    raise Unavailable("there is no database here")


async def _no_transcript(_session: SessionId, _query: str, _limit: int) -> Sequence[Found]:
    raise Unavailable("there is no database here")


def tools_of(settings: Settings, increment: Increment = _no_counters, search: Search = _no_transcript) -> Tools:
    """The tools of a hub with these settings; those that need its database are for show when it is not given, and those
    of MCP servers are not available until these are connected. Raises LoadingError."""
    found = builtin_tools(increment, search)
    found += load("HUB_TOOLS", TOOLS, Tool, settings.tools, [tool.name for tool in found])
    offered = [placeholder(name, tool, form) for name, form in mcp_forms(settings).items() for tool in form.tools]
    return Tools([*found, *offered])


def runnables_of(settings: Settings) -> Runnables:
    """The runnables that teams may name. Raises LoadingError."""
    return Runnables(load("HUB_RUNNABLES", RUNNABLES, Runnable, settings.runnables))


def mcp_forms(settings: Settings, *, strict: bool = False) -> Mapping[str, McpServerForm]:
    """The MCP servers of a hub with these settings. With `strict`, every variable they name must be there. Raises
    LoadingError."""
    try:
        return read_servers(settings.mcp_file, variable if strict else None)
    except FileError as e:
        raise LoadingError(f"HUB_MCP_FILE:\n{e}") from e


def team_names(settings: Settings) -> Names:
    """What teams may name on a hub with these settings. Raises as `models` and `tools_of` do."""
    return names_of(models(settings), tools_of(settings), runnables_of(settings))


def models(settings: Settings, *, strict: bool = False) -> Models:
    """The models of a hub with these settings. With `strict`, every key that the file names must be there.

    Raises FileError, and ValueError when the default model is not among them.
    """
    others: dict[str, Model] = {}
    if settings.local_model_url is not None:
        others["local"] = local_model(settings.local_model_url)
    elif settings.default_model == "local":  # a gateway, which runs no agents, or a command; runners have its address
        others["local"] = local_model(NOWHERE)
    if settings.openai_api_key is not None or settings.openai_base_url is not None:
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key is not None else "none"
        others["openai"] = openai_model(settings.openai_base_url, key, settings.openai_model)
    elif settings.default_model == "openai" and settings.models_file is None:
        raise ValueError("openai needs HUB_OPENAI_API_KEY, or HUB_OPENAI_BASE_URL of a server that asks for no key")
    return configured(
        read_models(settings.models_file, others, variable if strict else None),
        others,
        default=settings.default_model,
        local_url=settings.local_model_url,
        variable=variable,
    )


def needs_local_model(settings: Settings) -> bool:
    """Whether the model that comes with the hub is to be started. Raises FileError."""
    if settings.local_model_url is not None or settings.role == "gateway":
        return False
    file = read_models(settings.models_file, {"local": ScriptedModel(), "openai": ScriptedModel()})
    own = file.entries.get("local")
    return file.needs_local or (settings.default_model == "local" and (own is None or own.needs_local))


def catalog_of(settings: Settings, store: Store, bots: Bots) -> Catalog:
    """The catalogue of a worker, whose tools and pictures come out of its database. Raises as `models` and `tools_of`
    do."""

    async def increment(key: str) -> int:
        async with store.transaction() as db:
            return await counters.increment(db, key)

    async def find(session: SessionId, query: str, limit: int) -> Sequence[Found]:
        async with store.statements() as db:
            found = await search.in_session(db, session, query, limit=limit, characters=SEARCHED_CHARACTERS)
        return [Found(author, timestamp(at), text) for author, at, text in found]

    async def fetch(session: SessionId, wanted: Sequence[AttachmentId]) -> Mapping[AttachmentId, Content]:
        async with store.statements() as db:
            found = await attachments.contents(db, session, wanted, max_picture_bytes=MAX_PICTURE_BYTES)
        return {id_: content_of(media_type, content) for id_, media_type, content in found}

    return Catalog(
        models(settings),
        tools_of(settings, increment, find),
        teams_dir=settings.teams_dir,
        bots=bots,
        runnables=runnables_of(settings),
        fetch=fetch,
    )
