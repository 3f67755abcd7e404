"""Between the runner that has a turn for a bot and the worker that has the bot's connection.

Everything here may be lost: what is sought is sought again, pieces are numbered, an end is repeated until it is
acknowledged, and whoever hears nothing gives up in time. Without Redis a worker still hears itself.
"""

import logging
import os
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hub.protocol.live import TurnOfferedData
from hub.relay import keys
from hub.relay.pipeline import Pipeline
from hub.relay.subscriber import Subscriber
from hub.relay.wire import Reply, encode

logger = logging.getLogger(__name__)

Reason = Literal["superseded", "not_accepted", "silent", "timed_out", "cancelled", "lost"]


class _Note(BaseModel):
    model_config = ConfigDict(frozen=True)


class Seek(_Note):
    """To all: who takes this turn? Older attempts at it are void. Answered with `Here` to `sender`."""

    type: Literal["seek"] = "seek"
    seek: str
    sender: str
    session: str
    team: str
    agent: str
    run: str
    turn: int
    attempt: int
    retry: int


class Ready(_Note):
    """To all: a bot of this name has come, or has room again."""

    type: Literal["ready"] = "ready"
    agent: str


class Here(_Note):
    """A connection that would take the turn, its user, and how many turns it has."""

    type: Literal["here"] = "here"
    seek: str
    sender: str
    connection: str
    user: str
    name: str
    load: int


class Offer(_Note):
    """The turn, for one connection. `bound`: the agent's place names the connection's user."""

    type: Literal["offer"] = "offer"
    sender: str
    connection: str
    session: str
    run: str
    bound: bool
    data: TurnOfferedData


class Delta(_Note):
    """A piece of the text. Like the ends, answered with `Over` by who does not wait for it."""

    type: Literal["delta"] = "delta"
    sender: str
    offer: str
    index: int
    text: str


class Complete(_Note):
    """The whole text. Acknowledged with `Taken`."""

    type: Literal["complete"] = "complete"
    sender: str
    offer: str
    text: str
    handoff: str | None


class Decline(_Note):
    """Acknowledged with `Taken`."""

    type: Literal["decline"] = "decline"
    sender: str
    offer: str
    reason: str | None


class Dropped(_Note):
    """The connection that had the offer is gone, or knows nothing of it."""

    type: Literal["dropped"] = "dropped"
    offer: str


class Taken(_Note):
    type: Literal["taken"] = "taken"
    offer: str


class Over(_Note):
    """The offer does not stand any more."""

    type: Literal["over"] = "over"
    offer: str
    reason: Reason


class Ping(_Note):
    """Answered with `Dropped` by who does not have the offer."""

    type: Literal["ping"] = "ping"
    sender: str
    offer: str


ToRunner = Ready | Here | Delta | Complete | Decline | Dropped
ToGateway = Seek | Offer | Taken | Over | Ping
_NOTE: TypeAdapter[ToRunner | ToGateway] = TypeAdapter(Annotated[ToRunner | ToGateway, Field(discriminator="type")])


class BotLine:
    """One worker's end. `address` is its own; `start` it once, before anything is said."""

    def __init__(self, pipeline: Pipeline, subscriber: Subscriber) -> None:
        self.address = os.urandom(8).hex()
        self._pipeline = pipeline
        self._subscriber = subscriber
        self._to_runner: Callable[[ToRunner], None] = _nobody
        self._to_gateway: Callable[[ToGateway], None] = _nobody

    def start(self, runner: Callable[[ToRunner], None], gateway: Callable[[ToGateway], None]) -> None:
        """Hear what comes. Neither may block or raise."""
        self._to_runner, self._to_gateway = runner, gateway
        for channel in (keys.BOTS, keys.bot_line(self.address)):
            self._subscriber.subscribe(channel, self._heard, _nothing)

    def shout(self, note: Seek | Ready) -> None:
        """To every worker, this one too."""
        payload = note.model_dump_json().encode()

        def on_reply(reply: Reply) -> None:
            if not isinstance(reply, int):
                self._heard(payload)

        self._pipeline.submit(encode(b"PUBLISH", keys.BOTS, payload), on_reply)

    def tell(self, address: str, note: ToRunner | ToGateway, on_gone: Callable[[], None] | None = None) -> None:
        """To one worker, in order. `on_gone` is called when Redis says that there is none of that address."""
        if address == self.address:
            self._hand_on(note)
            return

        def on_reply(reply: Reply) -> None:
            if reply == 0 and on_gone is not None:
                on_gone()

        payload = note.model_dump_json().encode()
        self._pipeline.submit(encode(b"PUBLISH", keys.bot_line(address), payload), on_reply)

    def _heard(self, payload: bytes) -> None:
        try:
            note = _NOTE.validate_json(payload)
        except ValidationError:
            logger.warning("a note about bots that this version does not know")
            return
        self._hand_on(note)

    def _hand_on(self, note: ToRunner | ToGateway) -> None:
        if isinstance(note, ToRunner):
            self._to_runner(note)
        else:
            self._to_gateway(note)


def _nobody(_note: object) -> None:
    """Before the line is started."""


def _nothing() -> None:
    """A gap in what Redis brings: the deadlines deal with it."""
