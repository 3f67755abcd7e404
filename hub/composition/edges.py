"""The gateway's socket and the REST edge, over the same functions."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp

from hub.api.app import build
from hub.api.services import Readiness, Services
from hub.composition.auth import AuthParts
from hub.composition.relay import RelayParts
from hub.composition.runs import RunsParts
from hub.composition.sessions import SessionsParts
from hub.gateway.endpoint import Gateway
from hub.gateway.options import GatewayOptions
from hub.gateway.rooms import Rooms
from hub.gateway.services import GatewayServices
from hub.gateway.serving import Serving
from hub.settings import Settings
from hub.store.database import Store


class GatewayParts:
    """The gateway, with the rooms that its connections are in and the bots that serve over them."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        relay: RelayParts,
        auth: AuthParts,
        sessions: SessionsParts,
        node: str,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.rooms = Rooms(store, relay.subscriber, relay.open_messages, tasks)
        self.serving = Serving(relay.bot_line)
        services = GatewayServices(
            authenticator=auth.authenticator,
            sessions=sessions.sessions,
            messages=sessions.messages,
            cutting=sessions.cutting,
            forking=sessions.forking,
            control=sessions.control,
            inputs=sessions.inputs,
            rooms=self.rooms,
            presence=relay.presence,
            seats=sessions.seats,
            serving=self.serving,
            options=GatewayOptions(
                allowed_origins=settings.allowed_origins,
                allowed_hosts=settings.allowed_hosts,
                trusted_proxies=tuple(settings.trusted_proxies),
                heartbeat_s=settings.heartbeat_s,
                commands_per_minute=settings.commands_per_minute,
                command_burst=settings.command_burst,
                sessions_per_connection=settings.sessions_per_connection,
                connections=settings.connections_per_worker,
                outbox_bytes=settings.outbox_bytes,
                stall_s=settings.stall_s,
            ),
        )
        self.gateway = Gateway(services, rate_limits=auth.rate_limits, places=auth.connections, store=store, node=node)


def rest(
    settings: Settings,
    auth: AuthParts,
    runs: RunsParts,
    sessions: SessionsParts,
    *,
    readiness: Callable[[], Awaitable[Readiness]],
    metrics: Callable[[], Awaitable[bytes]],
    stopping: asyncio.Event,
) -> ASGIApp:
    """The REST edge; the last three are as in `Services`."""
    return build(
        Services(
            authenticator=auth.authenticator,
            rate_limits=auth.rate_limits,
            accounts=auth.accounts,
            oidc=auth.oidc,
            api_keys=auth.api_keys,
            sign_ins=auth.sign_ins,
            administration=auth.administration,
            tickets=auth.tickets,
            key_set=auth.key_set,
            sessions=sessions.sessions,
            members=sessions.members,
            invites=sessions.invites,
            organisations=sessions.organisations,
            messages=sessions.messages,
            cutting=sessions.cutting,
            forking=sessions.forking,
            history=sessions.history,
            exports=sessions.exports,
            erasure=sessions.erasure,
            organisation_erasure=sessions.organisation_erasure,
            suspension=sessions.suspension,
            accounting=sessions.accounting,
            budgets=sessions.budgets,
            control=sessions.control,
            inputs=sessions.inputs,
            attachments=sessions.attachments,
            teams=sessions.teams,
            catalog=runs.catalog,
            readiness=readiness,
            metrics=metrics,
            stopping=stopping,
            streams=auth.streams,
            allowed_origins=settings.allowed_origins,
            allowed_hosts=settings.allowed_hosts,
            registers_by_name=settings.registration != "here" or bool(settings.allowed_hosts),
            max_streams=settings.streams_per_worker,
        )
    )
