"""One worker of the hub: settings in, everything built once, started, drained, closed.

This is the composition root: the only place that knows all parts. Nothing here does work of its own.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import structlog
import uvicorn

from hub.api.app import build
from hub.api.services import Readiness, Services
from hub.auth.accounts import Accounts
from hub.auth.administration import Administration
from hub.auth.api_keys import ApiKeys
from hub.auth.attempts import Attempts
from hub.auth.authenticator import Authenticator
from hub.auth.keys import Key, key_set, pem_key, secret_key
from hub.auth.oidc.options import ClaimRule, OidcOptions
from hub.auth.oidc.people import People
from hub.auth.oidc.provider import Provider
from hub.auth.oidc.sign_in import OidcSignIn
from hub.auth.passwords import Passwords
from hub.auth.rate_limits import RateLimits
from hub.auth.sign_ins import SignIns
from hub.auth.tickets import Tickets
from hub.auth.tokens import Tokens
from hub.domain.errors import HubError, Unavailable
from hub.domain.ids import AttachmentId, SessionId
from hub.engine.attached import MAX_PICTURE_BYTES, Content, content_of
from hub.engine.bots import Bots
from hub.engine.catalog import Catalog, mcp_servers, names_of, preload
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
from hub.gateway.endpoint import Gateway
from hub.gateway.handshake import HubHttp
from hub.gateway.options import GatewayOptions
from hub.gateway.rooms import Rooms
from hub.gateway.serving import Serving
from hub.gateway.transport import HubWebSocket
from hub.protocol.frames import MAX_FRAME_BYTES, timestamp
from hub.relay import keys
from hub.relay.allowances import Allowance, Allowances
from hub.relay.bot_line import BotLine
from hub.relay.broadcast import (
    Broadcast,
    CredentialsChanged,
    MembershipChanged,
    RunQueued,
    StopRun,
    TeamsChanged,
    parse_notice,
)
from hub.relay.connection import Redis
from hub.relay.deltas import DeltaPublisher
from hub.relay.fence import Fence
from hub.relay.limits import Limits
from hub.relay.open_messages import OpenMessages
from hub.relay.pipeline import Pipeline
from hub.relay.presence import Presence
from hub.relay.publisher import Publisher
from hub.relay.subscriber import Subscriber
from hub.relay.tickets import TicketStore
from hub.runs.control import RunControl
from hub.runs.executor import Executor
from hub.runs.expiry import Expiry
from hub.runs.lease import LeaseKeeper
from hub.runs.teams import ImportedTeams
from hub.sessions.accounting import Accounting
from hub.sessions.attachments import Attachments, Quotas
from hub.sessions.budgeting import SessionBudgets
from hub.sessions.control import Control
from hub.sessions.cutting import Cutting
from hub.sessions.erasure import Erasure
from hub.sessions.exporting import Exports
from hub.sessions.forking import Forking
from hub.sessions.history import History
from hub.sessions.inputs import Inputs
from hub.sessions.invites import Invites
from hub.sessions.lifecycle import Sessions
from hub.sessions.members import Members
from hub.sessions.messages import Messages
from hub.sessions.organisation_erasure import OrganisationErasure
from hub.sessions.organisations import Organisations
from hub.sessions.retention import Keep, Retention
from hub.sessions.run_caps import RunCaps
from hub.sessions.seats import Seats, speakers
from hub.sessions.session_caps import SessionCaps
from hub.sessions.teams import Teams
from hub.settings import Settings, parse_secret_keys, variable
from hub.store import attachments, counters, search
from hub.store.database import Store
from hub.telemetry import logs
from hub.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from hub.engine.mcp.server import McpServer

SEARCHED_CHARACTERS = 2_000  # of a message that the tool search_transcript has found
TEAMS_S = 2.0  # that a worker waits for a database which is not there before it listens
UVICORN_STOP_S = 5  # for open HTTP requests, after the sockets are drained


class Worker:
    """All parts of one worker, wired."""

    def __init__(
        self, settings: Settings, node: str, tasks: asyncio.TaskGroup, log_lines_dropped: Callable[[], int] = int
    ) -> None:
        if settings.database_url is None or settings.redis_url is None:
            raise ValueError("a worker needs HUB_DATABASE_URL and HUB_REDIS_URL")
        self._settings = settings
        self._node = node
        self._tasks = tasks
        self._log_lines_dropped = log_lines_dropped
        self.stopping = asyncio.Event()
        self._wire_services(
            settings.database_url.get_secret_value(),
            settings.redis_url.get_secret_value(),
        )
        self._wire_edges()

    def _wire_services(self, database_url: str, redis_url: str) -> None:
        settings = self._settings
        self.store = Store(database_url, pool_size=settings.database_pool)
        self.redis = Redis(redis_url)
        self.pipeline = Pipeline(redis_url)
        self.subscriber = Subscriber(redis_url, self.pipeline)
        self.publisher = Publisher(self.pipeline, self.subscriber)
        self.broadcast = Broadcast(self.publisher)
        self.open_messages = OpenMessages(self.redis)
        self.presence = Presence(self.pipeline)
        limits = Limits(self.redis)
        self.rate_limits = _rate_limits(settings, Allowances(self.pipeline))

        self.keeper = LeaseKeeper(self.store, Fence(self.redis), lease_s=settings.lease_s)
        self.deltas = DeltaPublisher(self.pipeline, self.subscriber, self.keeper.refence, self._tasks)
        self.bot_line = BotLine(self.pipeline, self.subscriber)
        self.bots = Bots(self.bot_line, partial(speakers, self.store))
        self.catalog = _catalog(settings, self.store, self.bots)
        self.imported = ImportedTeams(self.store, self.catalog)
        self.mcp: Sequence[McpServer] = ()
        self.executor = Executor(
            self.store,
            self.broadcast,
            self.catalog,
            self.imported,
            self.deltas,
            self.open_messages,
            self.keeper,
            node=self._node,
            capacity=settings.runs_per_worker,
            lease_s=settings.lease_s,
            input_expires_s=settings.input_expires_s,
            budgets=settings.limits,
        )
        self.expiry = Expiry(self.store, self.broadcast)

        self.passwords = Passwords(memory_kib=settings.password_memory_kib)
        self.keys = signing_keys(settings)
        tokens = Tokens(self.keys, lifetime_s=settings.access_token_s)
        self.api_keys = ApiKeys(self.store, announce=self.broadcast.credentials_changed)
        self.sign_ins = SignIns(self.store, announce=self.broadcast.credentials_changed)
        self.administration = Administration(self.store, announce=self.broadcast.credentials_changed)
        self.tickets = Tickets(TicketStore(self.redis))
        self.authenticator = Authenticator(self.store, tokens, self.api_keys, self.tickets)
        attempts = Attempts(limits, hub_per_minute=settings.sign_ins_per_minute, hub_burst=settings.sign_in_burst)
        self.accounts = Accounts(
            self.store,
            self.passwords,
            tokens,
            attempts,
            registration_open=settings.registration_open,
            refresh_s=settings.refresh_token_s,
            announce=self.broadcast.credentials_changed,
        )

        self.oidc: OidcSignIn | None = None
        self.provider: Provider | None = None
        if (oidc := oidc_options(settings)) is not None:
            self.provider = Provider(oidc)
            self.oidc = OidcSignIn(
                oidc,
                self.provider,
                People(self.store, oidc),
                self.accounts,
                attempts,
                flows=TicketStore(self.redis, "oidc-flow"),
                codes=TicketStore(self.redis, "oidc-code"),
            )

        control = RunControl(self.broadcast, self.deltas)
        session_caps = SessionCaps(settings.sessions_per_user, settings.sessions_per_organisation)
        self.sessions = Sessions(self.store, self.broadcast, self.catalog, control, caps=session_caps)
        self.members = Members(self.store, self.broadcast)
        self.invites = Invites(self.store, self.broadcast)
        self.organisations = Organisations(self.store, self.broadcast)
        run_caps = RunCaps(settings.runs_per_user, settings.runs_per_organisation)
        self.messages = Messages(
            self.store,
            self.broadcast,
            self.catalog,
            control,
            settings.limits,
            caps=run_caps,
        )
        self.cutting = Cutting(self.store, self.broadcast, control, run_caps)
        self.forking = Forking(
            self.store,
            user_bytes=settings.attachment_bytes_per_user,
            caps=session_caps,
        )
        quotas = Quotas(
            settings.attachment_bytes, settings.attachment_bytes_per_session, settings.attachment_bytes_per_user
        )
        self.attachments = Attachments(self.store, quotas)
        self.history = History(self.store, self.subscriber)
        self.exports = Exports(self.store)
        self.erasure = Erasure(self.store, self.broadcast, control)
        self.organisation_erasure = OrganisationErasure(self.store, self.erasure)
        keep = Keep(settings.keep_deleted_s, settings.keep_sessions_s, settings.keep_addresses_s)
        self.retention = Retention(self.store, self.erasure, keep, every_s=settings.sweep_s)
        self.accounting = Accounting(self.store)
        self.budgets = SessionBudgets(self.store, self.catalog, settings.limits)
        self.control = Control(self.store, self.broadcast, control)
        self.inputs = Inputs(self.store, self.broadcast, control)
        self.teams = Teams(
            self.store, names=self.catalog.vocabulary, files=self.catalog.files, changed=self._teams_changed
        )

    def _wire_edges(self) -> None:
        settings = self._settings
        self.rooms = Rooms(self.store, self.subscriber, self.open_messages, self._tasks)
        self.serving = Serving(self.bot_line)
        self.gateway = Gateway(
            authenticator=self.authenticator,
            rate_limits=self.rate_limits,
            sessions=self.sessions,
            messages=self.messages,
            cutting=self.cutting,
            forking=self.forking,
            control=self.control,
            inputs=self.inputs,
            rooms=self.rooms,
            presence=self.presence,
            seats=Seats(self.store, self.catalog),
            serving=self.serving,
            store=self.store,
            node=self._node,
            options=GatewayOptions(
                allowed_origins=settings.allowed_origins,
                allowed_hosts=settings.allowed_hosts,
                heartbeat_s=settings.heartbeat_s,
                commands_per_minute=settings.commands_per_minute,
                command_burst=settings.command_burst,
                sessions_per_connection=settings.sessions_per_connection,
                connections=settings.connections_per_worker,
                connections_per_user=settings.connections_per_user,
                outbox_bytes=settings.outbox_bytes,
                stall_s=settings.stall_s,
            ),
        )
        metrics = Metrics(
            self._node,
            {
                "hub_connections": ("Open WebSocket connections", lambda: self.gateway.connections),
                "hub_runs_active": ("Runs this worker executes", lambda: self.executor.active),
                "hub_database_connections_in_use": ("Of this worker's pool", lambda: self.store.pool_in_use),
                "hub_relay_connected": ("1 when Redis is heard", lambda: self.subscriber.connected),
                "hub_sockets": ("WebSockets, also those that are not authenticated yet", lambda: self.gateway.sockets),
                "hub_rooms": ("Sessions that somebody follows here", lambda: len(self.rooms)),
                "hub_tool_calls_active": ("Calls of tools under way", lambda: self.catalog.tools.host.active),
                "hub_bots": ("Connections that take turns of agents", lambda: len(self.serving)),
                "hub_bot_turns": ("Turns in the hands of this worker's bots", lambda: self.serving.turns),
                "hub_mcp_servers_connected": (
                    "MCP servers that can be called",
                    lambda: sum(server.connected for server in self.mcp),
                ),
                "hub_tasks": ("Tasks of the event loop", lambda: len(asyncio.all_tasks())),
            },
            {
                "hub_events_persisted": ("Durable events committed here", lambda: self.broadcast.persisted),
                "hub_events_healed": ("Durable events that rooms read from the log", lambda: self.rooms.healed),
                "hub_position_fixes": (
                    "Losses in Redis that only the comparison with the log has shown",
                    lambda: self.rooms.position_fixes,
                ),
                "hub_payloads_rejected": ("What came through Redis and was no event", lambda: self.rooms.rejected),
                "hub_payloads_misrouted": (
                    "Frames that came on the channel of another session",
                    lambda: self.rooms.misrouted,
                ),
                "hub_relay_gaps": ("Channels that were subscribed again", lambda: self.subscriber.gaps),
                "hub_relay_reconnects": (
                    "Connections to Redis made again",
                    lambda: self.pipeline.reconnects + self.subscriber.reconnects,
                ),
                "hub_relay_dropped": ("Commands that did not leave: too much waited", lambda: self.pipeline.dropped),
                "hub_published_locally": ("Payloads Redis did not take", lambda: self.publisher.local),
                "hub_bots_refused": ("Words of bots for turns they had no more", lambda: self.serving.refused),
                "hub_attachment_bytes": ("Content that was uploaded and kept", lambda: self.attachments.bytes_kept),
                "hub_sessions_purged": (
                    "Deleted sessions whose contents were removed",
                    lambda: self.retention.sessions,
                ),
                "hub_rows_expired": ("Tokens, links and keys that were removed", lambda: self.retention.rows),
                "hub_users_erased": ("Users of whom nothing is left", lambda: self.erasure.erased),
                "hub_organisations_erased": (
                    "Organisations of which nothing is left",
                    lambda: self.organisation_erasure.erased,
                ),
                "hub_leases_lost": ("Runs that another worker has now", lambda: self.keeper.lost),
                "hub_mcp_server_restarts": (
                    "MCP servers that were lost or did not start",
                    lambda: sum(server.restarts for server in self.mcp),
                ),
                "hub_writes_refused": ("Writes of runs stopped by the fence", lambda: self.keeper.refused),
                "hub_log_lines_dropped": ("Lines that nobody read in time", self._log_lines_dropped),
            },
            {
                "hub_ack_seconds": ("A message.send from its turn on the connection to its ok", self.gateway.ack_times),
                "hub_engine_to_socket_seconds": (
                    "One token in 16 from the model to the sockets, by the clocks of both ends",
                    self.rooms.token_times,
                ),
                "hub_tool_call_seconds": ("A call of a tool", self.catalog.tools.host.times),
            },
            {
                "hub_tool_calls": (
                    "Calls of tools by what came of them",
                    ("tool", "outcome"),
                    lambda: self.catalog.tools.host.counts,
                ),
                "hub_uploads_refused": (
                    "Uploads that were not kept, by the reason that was given",
                    ("reason",),
                    lambda: self.attachments.refused,
                ),
            },
        )
        self.api = build(
            Services(
                authenticator=self.authenticator,
                rate_limits=self.rate_limits,
                accounts=self.accounts,
                oidc=self.oidc,
                api_keys=self.api_keys,
                sign_ins=self.sign_ins,
                administration=self.administration,
                tickets=self.tickets,
                sessions=self.sessions,
                members=self.members,
                invites=self.invites,
                organisations=self.organisations,
                messages=self.messages,
                cutting=self.cutting,
                forking=self.forking,
                history=self.history,
                exports=self.exports,
                erasure=self.erasure,
                organisation_erasure=self.organisation_erasure,
                accounting=self.accounting,
                budgets=self.budgets,
                control=self.control,
                inputs=self.inputs,
                attachments=self.attachments,
                catalog=self.catalog,
                teams=self.teams,
                readiness=self.readiness,
                metrics=metrics.text,
                key_set=key_set(self.keys),
                stopping=self.stopping,
                allowed_origins=settings.allowed_origins,
                allowed_hosts=settings.allowed_hosts,
                max_streams=settings.streams_per_worker,
                max_streams_per_user=settings.streams_per_user,
            )
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application: the gateway's socket beside the REST edge."""
        if scope["type"] == "websocket" and scope["path"] == "/v1/ws" and self._settings.role != "runner":
            await self.gateway(scope, receive, send)
        else:
            await self.api(scope, receive, send)

    def start(self) -> None:
        """Start the tasks every worker has. None of them ends by itself; one that fails takes the worker down."""
        for name, run in {
            "pipeline": self.pipeline.run(),
            "subscriber": self.subscriber.run(),
            "keeper": self.keeper.run(),
            "presence": self.presence.run(),
            "rooms": self.rooms.run(),
            "gateway": self.gateway.run(),
            "erasure": self.erasure.run(),
            "organisation erasure": self.organisation_erasure.run(),
            "retention": self.retention.run(),
            "teams": self.imported.run(),
        }.items():
            self._tasks.create_task(run, name=name)
        if self._settings.role != "gateway":
            preload()  # an import within a turn would stop every socket of this worker for a second
            self.mcp = mcp_servers(mcp_forms(self._settings), variable)
            for server in self.mcp:
                self._tasks.create_task(server.run(self.catalog.tools.put), name=f"mcp {server.name}")
            self._tasks.create_task(self.executor.run(), name="executor")
            self._tasks.create_task(self.expiry.run(), name="expiry")
        self.bot_line.start(self.bots.heard, self.serving.heard)
        self.subscriber.subscribe(keys.NOTICES, self._on_notice, self.executor.wake)

    async def read_teams(self) -> None:
        """Know which teams there are before anybody asks. What cannot be read now is read as soon as it can be; until
        then this worker is not ready."""
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(TEAMS_S):
                await self.imported.refresh()

    async def readiness(self) -> Readiness:
        """Ready with PostgreSQL; without Redis only degraded: acks and local work go on."""
        checks = {"postgresql": "ok", "redis": "ok"}
        try:
            await self.store.ping()
        except HubError:
            checks["postgresql"] = "down"
        if not self.imported.known:
            checks["teams"] = "not read yet"
        if not (self.subscriber.connected and self.pipeline.connected):
            checks["redis"] = "degraded"
        if self.stopping.is_set():
            checks["worker"] = "draining"
        ready = checks["postgresql"] == "ok" and self.imported.known and not self.stopping.is_set()
        return Readiness(ready=ready, checks=checks)

    async def drain(self) -> None:
        """Say goodbye: no new work, runs handed over between turns, sockets closed with a hint when to come back."""
        self.stopping.set()
        grace = self._settings.grace_s
        async with asyncio.TaskGroup() as both:
            both.create_task(self.executor.drain(grace * 0.5))
            both.create_task(self.gateway.drain(grace * 0.5))

    async def close(self) -> None:
        """Let go of connections and threads, after all tasks have ended."""
        await self.executor.release_all()
        await self.catalog.aclose()
        self.passwords.close()
        if self.provider is not None:
            await self.provider.close()
        await self.redis.close()
        await self.store.close()

    async def _teams_changed(self) -> None:
        self.broadcast.teams_changed()
        await self.imported.refresh()  # whoever has changed them sees it at once

    def _on_notice(self, payload: bytes) -> None:
        notice = parse_notice(payload)
        match notice:
            case RunQueued():
                self.executor.wake()
            case StopRun(run=run):
                self.keeper.look_at(run)
            case MembershipChanged() | CredentialsChanged():
                self.gateway.notice(notice)
            case TeamsChanged():
                self.imported.look()
            case None:
                structlog.get_logger("hub.relay").warning("unknown_notice")
            case _:
                assert_never(notice)


def signing_keys(settings: Settings) -> dict[str, Key]:
    """The keys of access tokens by their ids, the one that signs first. Raises `ValueError` with the reason."""
    keys: dict[str, Key] = {}
    secrets = parse_secret_keys(settings.secret_keys.get_secret_value()) if settings.secret_keys is not None else {}
    for pair in settings.key_files:
        id_, colon, path = pair.partition(":")
        if not colon or not id_ or id_ in keys or id_ in secrets:
            raise ValueError(f"key files are written kid:path, each with a kid of its own, not {pair!r}")
        try:
            keys[id_] = pem_key(Path(path).read_bytes())
        except (OSError, ValueError) as e:
            raise ValueError(f"the key file {path}: {getattr(e, 'strerror', None) or e}") from e
    return keys | {id_: secret_key(secret) for id_, secret in secrets.items()}


def oidc_options(settings: Settings) -> OidcOptions | None:
    """The OpenID provider of a hub with these settings; None without one. Raises `ValueError` with the reason."""
    if settings.oidc_issuer is None:
        return None
    if settings.oidc_client_id is None:
        raise ValueError("HUB_OIDC_CLIENT_ID is missing")
    secret, required, admin = settings.oidc_client_secret, settings.oidc_required_claim, settings.oidc_admin_claim
    by_itself = settings.oidc_registration
    return OidcOptions(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=secret.get_secret_value() if secret is not None else None,
        scopes=settings.oidc_scopes,
        name=settings.oidc_name or "OpenID Connect",
        registration_open=by_itself == "open" if by_itself is not None else settings.registration_open,
        required=ClaimRule.parse(required) if required else None,
        admin=ClaimRule.parse(admin) if admin else None,
        organisation=settings.oidc_organisation_claim or None,
        public_url=settings.public_url,
        known_hosts=bool(settings.allowed_hosts),
    )


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


def _catalog(settings: Settings, store: Store, bots: Bots) -> Catalog:
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


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the worker drains first, then tells it to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(
    settings: Settings,
    sockets: list[socket.socket],
    node: str,
    on_ready: Callable[[], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Run one worker on these listening sockets until `stop` is set, then drain and return.

    Without `stop` SIGTERM and SIGINT set it. `on_ready` is called when the worker may take traffic. Raises when a part
    of the worker has failed for good.
    """
    log_lines = logs.configure(settings.log_level, settings.log_format)
    stop = stop or _stop_on_signals()
    worker: Worker | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            worker = Worker(settings, node, tasks, lambda: log_lines.dropped)
            server = _Server(_uvicorn_config(worker, settings))
            worker.start()
            await worker.read_teams()
            serving = tasks.create_task(server.serve(sockets=sockets), name="uvicorn")
            await _until_ready(worker, server, stop)
            if not stop.is_set():
                on_ready()
            await stop.wait()
            await worker.drain()
            server.should_exit = True
            await serving
            raise _Drained  # noqa: TRY301 - the way to end the endless tasks of the group
    except* _Drained:
        pass
    finally:
        if worker is not None:
            await worker.close()


class _Drained(Exception):
    """Ends the task group of a worker that has nothing left to do."""


def _rate_limits(settings: Settings, allowances: Allowances) -> RateLimits:
    return RateLimits(
        allowances,
        address=Allowance("address", settings.address_requests_per_minute, settings.address_request_burst),
        user=Allowance("user", settings.user_requests_per_minute, settings.user_request_burst),
        key=Allowance("key", settings.key_requests_per_minute, settings.key_request_burst),
        costly=Allowance("costly", settings.costly_requests_per_minute, settings.costly_request_burst),
    )


def _uvicorn_config(worker: Worker, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        worker,
        http=HubHttp,
        ws=HubWebSocket,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=UVICORN_STOP_S,
        server_header=False,
    )


async def _until_ready(worker: Worker, server: uvicorn.Server, stop: asyncio.Event) -> None:
    """Wait until requests are taken and PostgreSQL answers; uvicorn has no event for it, hence the polling."""
    while not stop.is_set() and not (server.started and (await worker.readiness()).ready):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    return stop
