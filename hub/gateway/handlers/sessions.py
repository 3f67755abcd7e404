"""Opening, following and leaving sessions."""

from hub.auth.policy import Action, require_role, require_scope
from hub.domain.errors import BadRequest, NotFound, RateLimited
from hub.domain.ids import SessionId, parse_id
from hub.domain.session import Session
from hub.gateway.connection import Connection
from hub.gateway.pace import PLACE_RETRY_S
from hub.gateway.services import GatewayServices
from hub.protocol.commands import SessionCreate, SessionFork, SessionJoin, SessionLeave
from hub.protocol.pieces import SessionData
from hub.protocol.results import Empty, JoinResult, session_data


async def create(services: GatewayServices, connection: Connection, command: SessionCreate) -> SessionData:
    """Open a session; the caller owns it, and joins it only by asking."""
    session = await services.sessions.create(
        connection.principal,
        team=command.team,
        title=command.title,
        metadata=command.metadata,
        on_busy=command.on_busy,
        organisation=command.organisation,
    )
    return session_data(session)


async def join(services: GatewayServices, connection: Connection, command: SessionJoin) -> None:
    """Follow a session: the reply, then the replay, then what happens.

    Joining again begins anew at `after_seq`. When that fails for lack of an answer from PostgreSQL or Redis, the
    session is not followed any more, and the error says so by being retryable.
    """
    principal = connection.principal
    require_scope(principal, Action.JOIN)
    session = await services.sessions.get(principal, command.session)
    require_role(session.role, Action.JOIN)
    assert session.role is not None
    if command.after_seq is not None and command.after_seq > session.last_seq:
        raise BadRequest("after_seq is in the future", details={"last_seq": session.last_seq})
    _check_count(services, connection, session)
    connection.unfollow(session.id)
    follower = await services.rooms.open(
        session.id, connection.outbox, after_seq=command.after_seq, known_seq=session.last_seq
    )
    connection.followers[session.id] = follower
    services.presence.join(session.id, principal.user, principal.name, connection.id)
    try:
        presence = await services.presence.list(session.id)
    except BaseException:
        follower.close()  # its place is kept, so that leaving and disconnecting also end the presence
        raise
    connection.reply(
        command.id,
        JoinResult(
            session=session.id,
            role=session.role.value,
            last_seq=follower.last_seq,
            replay_from=follower.replay_from,
            presence=presence,
        ),
    )
    follower.start()


async def fork(services: GatewayServices, connection: Connection, command: SessionFork) -> SessionData:
    """A new session of the caller's with this one's conversation up to `at_seq`."""
    return session_data(await services.forking.fork(connection.principal, command.session, command.at_seq))


async def leave(services: GatewayServices, connection: Connection, command: SessionLeave) -> Empty:
    """Stop following. Raises `NotFound` when this connection does not follow the session."""
    parsed = parse_id(command.session)
    session = SessionId(parsed) if parsed is not None else None
    if session is None or not connection.unfollow(session):
        raise NotFound("this connection does not follow such a session")
    services.presence.leave(session, connection.principal.user, connection.id)
    return Empty()


def _check_count(services: GatewayServices, connection: Connection, session: Session) -> None:
    most = services.options.sessions_per_connection
    if session.id not in connection.followers and len(connection.followers) >= most:
        raise RateLimited(
            "too many sessions on one connection: leave one first",
            retry_after=PLACE_RETRY_S,
            details={"sessions": most},
        )
