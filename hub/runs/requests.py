"""What a run asks people, in words."""

import hashlib
from datetime import datetime, timedelta

from hub.domain.calls import Call, InputRequest, RequestKind
from hub.domain.ids import RequestId, new_id
from hub.domain.run import Lease
from hub.protocol.durable import InputRequestedData
from hub.protocol.frames import NewEvent, timestamp
from hub.protocol.text import spelled_out, storable
from hub.runs.turn import arguments_of

UNKNOWN_OUTCOME = "The outcome of this call is unknown: the hub was interrupted while it was made."
"""What an agent is told of a call that was begun and has no result."""

SHOWN_ARGUMENTS = 2000  # characters in a prompt; the whole of them is beside it


def digest(arguments: str) -> bytes:
    """SHA-256 of canonical JSON."""
    return hashlib.sha256(arguments.encode()).digest()


def approval(call: Call) -> str:
    """The prompt for a call that needs a person's yes."""
    return f"{call.agent} asks to call {_shown(call)}."


def retry(call: Call) -> str:
    """The prompt for a call of which nobody knows what came of it."""
    return (
        f"The hub was interrupted while {call.agent} called {_shown(call)}. Whether it took effect is unknown. "
        "Approve to call it again; reject to go on without."
    )


def request(kind: RequestKind, prompt: str, call: Call, lease: Lease, now: datetime, expires_s: float) -> InputRequest:
    """A request about this call, that may be answered for `expires_s` seconds."""
    return InputRequest(
        id=RequestId(new_id()),
        session=lease.session,
        run=lease.run,
        turn=call.turn,
        kind=kind,
        agent=call.agent,
        prompt=storable(prompt),
        call=call.id,
        slot=call.slot,
        tool=call.tool,
        arguments=call.arguments,
        arguments_sha256=digest(call.arguments),
        created_at=now,
        expires_at=now + timedelta(seconds=expires_s),
    )


def requested(asked: InputRequest) -> NewEvent:
    """The event of a request."""
    data = InputRequestedData(
        request=asked.id,
        kind=asked.kind.value,
        agent=asked.agent,
        prompt=asked.prompt,
        call=asked.call,
        tool=asked.tool,
        arguments=arguments_of(asked.arguments),
        arguments_sha256=asked.arguments_sha256.hex(),
        expires_at=timestamp(asked.expires_at),
        approvers=asked.approvers if asked.approvers > 1 else None,
        not_by=asked.not_by,
    )
    return NewEvent(data, asked.run)


def _shown(call: Call) -> str:
    arguments = spelled_out(call.arguments)  # whoever approves sees what is approved
    if len(arguments) > SHOWN_ARGUMENTS:
        arguments = f"{arguments[:SHOWN_ARGUMENTS]}…"
    return f"{call.tool} with {arguments}"
