"""The log of a session: page by page, or as it grows."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import SessionPath
from hub.api.stream import EVENT_STREAM, EventStream, Slots
from hub.protocol.events import AnyDurableEvent
from hub.protocol.pieces import Wire

AfterSeq = Annotated[int, Query(ge=0, lt=2**53, description="Events after this position.")]
EventLimit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]


# One event of the stream, as its fields; what `data` holds stands in the log, too.
_EVENT_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The event's `seq`."},
        "event": {"type": "string", "description": "The event's type."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/EventPage/properties/items/items"},
        },
    },
    "required": ["id", "event", "data"],
}


class EventPage(Wire):
    """Events as they were sent over the socket. Ask again after the last one's `seq` until it is `last_seq`."""

    items: list[AnyDurableEvent]
    last_seq: int


async def events(
    session: SessionPath, caller: Caller, wired: Wired, after_seq: AfterSeq = 0, limit: EventLimit = 200
) -> Response:
    """Durable events after `after_seq`, oldest first. A position the session has not reached is a `bad_request`."""
    found, last_seq = await wired.history.events(caller, session, after_seq=after_seq, limit=limit)
    # The same bytes as live: the log's frames are joined, not parsed and written again.
    body = (
        b'{"items":[' + b",".join(event.frame() for event in found) + b'],"last_seq":' + str(last_seq).encode() + b"}"
    )
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


async def stream(
    session: SessionPath,
    caller: Caller,
    wired: Wired,
    slots: Slots,
    after_seq: AfterSeq = 0,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            max_length=16,
            pattern="^[0-9]{1,15}$",
            description="The `seq` of the last event that arrived.",
        ),
    ] = None,
) -> Response:
    """The log as Server-Sent Events: everything after `Last-Event-ID` (or `after_seq`), then each new event at once.

    `id` is the `seq`, `event` the type, `data` the event. It ends when the hub drains, the caller loses access or the
    credential ends; an `EventSource` comes back by itself.
    """
    position = int(last_event_id) if last_event_id is not None else after_seq
    # Refused before the stream begins, while there still is a status code to say so.
    await wired.history.events(caller, session, after_seq=position, limit=1)
    return EventStream(
        wired.history.follow(caller, session, after_seq=position),
        principal=caller,
        authenticator=wired.authenticator,
        stopping=wired.stopping,
        slot=await slots.take(caller),
    )


def router() -> APIRouter:
    """`/v1/sessions/{id}/events`."""
    routes = APIRouter(prefix="/v1/sessions/{id}/events", tags=["sessions"])
    page: dict[int | str, dict[str, Any]] = {200: {"model": EventPage}}
    routes.add_api_route("", events, methods=["GET"], responses=page | problems(400, 401, 403, 404))
    flow: dict[int | str, dict[str, Any]] = {
        200: {"content": {EVENT_STREAM: {"schema": _EVENT_SCHEMA}}, "description": "The events."}
    }
    routes.add_api_route(
        "/stream",
        stream,
        methods=["GET"],
        status_code=200,
        responses=flow | problems(400, 401, 403, 404),
        response_class=EventStream,
    )
    return routes
