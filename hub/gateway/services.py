"""What the gateway's handlers work with."""

from dataclasses import dataclass

from hub.auth.authenticator import Authenticator
from hub.gateway.options import GatewayOptions
from hub.gateway.rooms import Rooms
from hub.gateway.serving import Serving
from hub.relay.presence import Presence
from hub.sessions.control import Control
from hub.sessions.cutting import Cutting
from hub.sessions.forking import Forking
from hub.sessions.inputs import Inputs
from hub.sessions.lifecycle import Sessions
from hub.sessions.messages import Messages
from hub.sessions.seats import Seats


@dataclass(frozen=True, slots=True)
class GatewayServices:
    """The services behind the commands, built once by the worker."""

    authenticator: Authenticator
    sessions: Sessions
    messages: Messages
    cutting: Cutting
    forking: Forking
    control: Control
    inputs: Inputs
    rooms: Rooms
    presence: Presence
    options: GatewayOptions
    seats: Seats
    serving: Serving
