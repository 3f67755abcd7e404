"""What an operator may choose about the gateway."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Limits of one worker's gateway. Seconds end in `_s`.

    `allowed_origins` are exact; the hub's own origin is allowed besides. `allowed_hosts` are names the hub goes by, any
    when there are none. `connections` counts sockets of the worker, `outbox_bytes` what may wait for one of
    them; a peer that takes nothing for `stall_s` is dropped.
    """

    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    heartbeat_s: int = 25
    commands_per_minute: int = 120
    command_burst: int = 20
    sessions_per_connection: int = 100
    connections: int = 20_000
    outbox_bytes: int = 1_048_576
    stall_s: float = 15.0
    first_frame_s: float = 5.0
