"""What a worker tells of itself at `GET /metrics`, and where each number is read."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

from hub.composition.auth import AuthParts
from hub.composition.edges import GatewayParts
from hub.composition.relay import RelayParts
from hub.composition.runs import RunsParts
from hub.composition.sessions import SessionsParts
from hub.store.database import Store
from hub.telemetry.lateness import LoopLateness
from hub.telemetry.metrics import Metrics

Readings: TypeAlias = Mapping[str, tuple[str, Callable[[], float]]]


def metrics_of(
    node: str,
    store: Store,
    relay: RelayParts,
    auth: AuthParts,
    runs: RunsParts,
    sessions: SessionsParts,
    edge: GatewayParts,
    lateness: LoopLateness,
    log_lines_dropped: Callable[[], int],
) -> Metrics:
    """The metrics of a worker of these parts."""
    host = runs.catalog.tools.host
    return Metrics(
        node,
        gauges=_gauges(store, relay, runs, edge),
        counters={
            **_carried(relay, edge),
            **_executed(runs, edge),
            **_removed(sessions),
            "hub_attachment_bytes": ("Content that was uploaded and kept", lambda: sessions.attachments.bytes_kept),
            "hub_log_lines_dropped": ("Lines that nobody read in time", log_lines_dropped),
        },
        histograms={
            "hub_ack_seconds": ("A message.send from its turn on the connection to its ok", edge.gateway.ack_times),
            "hub_engine_to_socket_seconds": (
                "One token in 16 from the model to the sockets, by the clocks of both ends",
                edge.rooms.token_times,
            ),
            "hub_tool_call_seconds": ("A call of a tool", host.times),
            "hub_database_wait_seconds": ("For a free connection of this worker's pool", store.waits),
            "hub_event_loop_late_seconds": ("How long after its time a task gets its turn", lateness.times),
        },
        labelled={
            "hub_tool_calls": ("Calls of tools by what came of them", ("tool", "outcome"), lambda: host.counts),
            "hub_uploads_refused": (
                "Uploads that were not kept, by the reason that was given",
                ("reason",),
                lambda: sessions.attachments.refused,
            ),
            "hub_places_refused": (
                "Connections and event streams of who has all they may",
                ("what", "whose"),
                lambda: auth.connections.refused + auth.streams.refused,
            ),
        },
    )


def _gauges(store: Store, relay: RelayParts, runs: RunsParts, edge: GatewayParts) -> Readings:
    return {
        "hub_connections": ("Open WebSocket connections", lambda: edge.gateway.connections),
        "hub_runs_active": ("Runs this worker executes", lambda: runs.executor.active),
        "hub_database_connections_in_use": ("Of this worker's pool", lambda: store.pool_in_use),
        "hub_relay_connected": ("1 when Redis is heard", lambda: relay.subscriber.connected),
        "hub_relay_refuses": ("1 when Redis answers and takes nothing", lambda: relay.holdings.refused),
        "hub_database_connected": ("1 when PostgreSQL has answered the last time", lambda: store.connected),
        "hub_sockets": ("WebSockets, also those that are not authenticated yet", lambda: edge.gateway.sockets),
        "hub_rooms": ("Sessions that somebody follows here", lambda: len(edge.rooms)),
        "hub_tool_calls_active": ("Calls of tools under way", lambda: runs.catalog.tools.host.active),
        "hub_bots": ("Connections that take turns of agents", lambda: len(edge.serving)),
        "hub_bot_turns": ("Turns in the hands of this worker's bots", lambda: edge.serving.turns),
        "hub_mcp_servers_connected": (
            "MCP servers that can be called",
            lambda: sum(server.connected for server in runs.mcp),
        ),
        "hub_tasks": ("Tasks of the event loop", lambda: len(asyncio.all_tasks())),
    }


def _carried(relay: RelayParts, edge: GatewayParts) -> Readings:
    """From the log over Redis to the sockets, and what was lost and found on the way."""
    return {
        "hub_events_persisted": ("Durable events committed here", lambda: relay.broadcast.persisted),
        "hub_events_healed": ("Durable events that rooms read from the log", lambda: edge.rooms.healed),
        "hub_position_fixes": (
            "Losses in Redis that only the comparison with the log has shown",
            lambda: edge.rooms.position_fixes,
        ),
        "hub_payloads_rejected": ("What came through Redis and was no event", lambda: edge.rooms.rejected),
        "hub_payloads_misrouted": (
            "Frames that came on the channel of another session",
            lambda: edge.rooms.misrouted,
        ),
        "hub_relay_gaps": ("Channels that were subscribed again", lambda: relay.subscriber.gaps),
        "hub_relay_reconnects": (
            "Connections to Redis made again",
            lambda: relay.pipeline.reconnects + relay.subscriber.reconnects,
        ),
        "hub_relay_dropped": ("Commands that did not leave: too much waited", lambda: relay.pipeline.dropped),
        "hub_published_locally": ("Payloads Redis did not take", lambda: relay.publisher.local),
    }


def _executed(runs: RunsParts, edge: GatewayParts) -> Readings:
    """What was refused or lost while agents talked."""
    return {
        "hub_bots_refused": ("Words of bots for turns they had no more", lambda: edge.serving.refused),
        "hub_leases_lost": ("Runs that another worker has now", lambda: runs.keeper.lost),
        "hub_writes_refused": ("Writes of runs stopped by the fence", lambda: runs.keeper.refused),
        "hub_mcp_server_restarts": (
            "MCP servers that were lost or did not start",
            lambda: sum(server.restarts for server in runs.mcp),
        ),
    }


def _removed(sessions: SessionsParts) -> Readings:
    """What retention and erasure have taken away."""
    return {
        "hub_sessions_purged": (
            "Deleted sessions whose contents were removed",
            lambda: sessions.retention.sessions,
        ),
        "hub_rows_expired": ("Tokens, links and keys that were removed", lambda: sessions.retention.rows),
        "hub_users_erased": ("Users of whom nothing is left", lambda: sessions.erasure.erased),
        "hub_organisations_erased": (
            "Organisations of which nothing is left",
            lambda: sessions.organisation_erasure.erased,
        ),
    }
