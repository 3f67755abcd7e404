"""Saying something in a session: the beginning of every run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from hub.auth.policy import Action, needed_role, require_role, require_scope
from hub.domain.budget import Budgets, BudgetScope, Limit, stacked
from hub.domain.errors import BadRequest, BudgetExceeded, Busy, IdempotencyConflict
from hub.domain.ids import AttachmentId, MessageId, RunId, SessionId, UserId, new_id, parse_id
from hub.domain.principal import Principal
from hub.domain.session import OnBusy, Role, Session
from hub.engine.catalog import Catalog
from hub.protocol.durable import RunQueuedData
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.protocol.results import SendResult, attachment_part
from hub.relay.broadcast import Broadcast
from hub.runs.control import RunControl, Stops
from hub.sessions.access import session_id
from hub.sessions.run_caps import RunCaps
from hub.store import attachments, budgets, runs, sending
from hub.store.budgets import Subject
from hub.store.database import Db, Store
from hub.store.sending import Before, NewMessage, SentMessage

_SENDERS = tuple(role for role in Role if (needed := needed_role(Action.SEND)) is None or role.includes(needed))


@dataclass(frozen=True, slots=True)
class _Sent:
    """What was committed: the events, that of the message first, the run it asks for, and what was stopped for it."""

    events: Sequence[LoggedEvent]
    run: RunId | None
    stops: Stops


class Messages:
    """Sending messages."""

    def __init__(
        self,
        store: Store,
        broadcast: Broadcast,
        catalog: Catalog,
        control: RunControl,
        hub_limits: Sequence[Limit] = (),
        *,
        caps: RunCaps,
    ) -> None:
        self._store = store
        self._hub_limits = hub_limits
        self._caps = caps
        self._broadcast = broadcast
        self._catalog = catalog
        self._control = control

    async def send(
        self,
        principal: Principal,
        session: str,
        *,
        text: str,
        parts: Sequence[dict[str, str]] = (),
        client_id: str,
        to: str | None = None,
        on_busy: OnBusy | None = None,
    ) -> SendResult:
        """Record a message and queue the run that answers it, in one transaction; once it returns, both are durable.

        A message that is to steer a busy session is only recorded: the run that is under way takes it before its next
        turn, or else a run is queued for it when that one ends.

        The same `client_id` of the same author with the same body gives the same answer again and writes nothing;
        with another body: `IdempotencyConflict`. Raises `BadRequest` for an attachment that is not the author's own in
        this session, `Busy` when the policy is `reject` and a run is under way, `RateLimited` when as many runs of the
        author's are open as one may have, and `BudgetExceeded` when there is nothing left for a run.
        """
        id_ = session_id(session)
        require_scope(principal, Action.SEND)
        message = NewMessage(
            id=MessageId(new_id()),
            run=RunId(new_id()),
            team=None,
            author=principal.user,
            author_name=principal.name,
            text=text,
            parts=parts,
            client_id=client_id,
            body_hash=_digest(text, parts, to),
            to=to,
        )
        sent: _Sent | SendResult | None = await self._send_at_once(id_, message, on_busy)
        if sent is None:
            sent = await self._look_closer(principal, id_, message, on_busy)
        if isinstance(sent, SendResult):
            return sent
        self._broadcast.events(sent.events)
        self._control.announce(sent.stops)
        if sent.run is not None:
            self._control.wake()
        return SendResult(seq=sent.events[0].seq, message=message.id, run=sent.run)

    async def _send_at_once(self, session: SessionId, message: NewMessage, on_busy: OnBusy | None) -> _Sent | None:
        """In one statement, if nothing about the message has to be looked at here."""
        if self._caps.always_counts or self._hub_limits or message.to is not None:
            return None
        if any(part["type"] != "text" for part in message.parts):
            return None
        most_runs = self._caps.bound(message.author)
        async with self._store.statements() as db:
            events = await sending.at_once(
                db,
                session,
                message,
                on_busy=on_busy,
                roles=_SENDERS,
                limited=self._catalog.limited,
                most_runs=most_runs,
            )
        if events is None:
            return None
        run = message.run if len(events) > 1 else None
        if run is not None and most_runs is not None:
            self._caps.is_below(message.author)
        return _Sent(events, run, Stops())

    async def _look_closer(
        self, principal: Principal, session: SessionId, message: NewMessage, on_busy: OnBusy | None
    ) -> _Sent | SendResult:
        """In a transaction. A message that is there already gives its first answer."""
        # The lock orders senders, so that neither the check of the client_id nor that of other runs can race.
        async with self._store.transaction(lock=session, person=principal.user) as db:
            before = await sending.before(db, session, principal.user, message.client_id, most_runs=self._caps.per_user)
            require_role(before.session.role if before is not None else None, Action.SEND)
            assert before is not None, "without a session there is no role"
            if before.known is not None:
                return _again(before.known, message)
            found = before.session
            self._check_addressee(found, message.to)
            policy = on_busy or found.on_busy
            steers = before.busy if policy is OnBusy.STEER else None
            if steers is None:
                await self._caps.check(db, principal.user, found.organisation, seen=before.open_runs)
                await self._check_budgets(db, principal, before)
            stops = await self._stops_for(db, before, policy)
            message = replace(
                message,
                run=message.run if steers is None else None,
                steers=steers,
                team=found.team,
                parts=await described(db, session, principal.user, message.parts),
            )
            asked = [NewEvent(RunQueuedData(input_seq=found.last_seq + 1), message.run)] if message.run else []
            events = await sending.send(db, session, message, [message.created(), *asked, *stops.events])
        return _Sent(events, message.run, stops)

    def _check_addressee(self, session: Session, to: str | None) -> None:
        team = self._catalog.get(session.team)
        if to is None or team is None:
            return
        names = [agent.name for agent in team.agents]
        if to not in names:
            raise BadRequest("no such agent in this team", details={"to": to, "agents": names})

    async def _check_budgets(self, db: Db, principal: Principal, before: Before) -> None:
        """A run that could not begin its first turn is not queued. Without limits nothing is asked."""
        session = before.session
        team = self._catalog.get(session.team)
        subjects: dict[BudgetScope, Subject] = {
            BudgetScope.SESSION: session.id,
            BudgetScope.USER: principal.user,
            BudgetScope.ORGANISATION: session.organisation,
        }
        own = [
            limit
            for subject in (subjects.values() if before.budgeted else ())
            for limit in await budgets.of_subject(db, subject)
        ]
        limits = stacked(self._hub_limits, team.budgets if team is not None else (), own)
        limits = [limit for limit in limits if limit.scope in subjects]
        used = {scope: await budgets.used_by(db, subjects[scope], scope) for scope in {one.scope for one in limits}}
        reached = Budgets(limits, used).reached()
        if reached is not None:
            unit = reached.limit.quantity.per_unit
            raise BudgetExceeded(
                "a budget is used up",
                details={
                    "scope": reached.limit.scope.value,
                    "quantity": reached.limit.quantity.value,
                    "limit": reached.limit.amount / unit,
                    "used": reached.used / unit,
                },
            )

    async def _stops_for(self, db: Db, before: Before, policy: OnBusy) -> Stops:
        """Apply `on_busy`: what has to be stopped for this message."""
        if before.busy is None:
            return Stops()
        match policy:
            case OnBusy.QUEUE | OnBusy.STEER:
                return Stops()
            case OnBusy.REJECT:
                raise Busy("a run is under way in this session")
            case OnBusy.INTERRUPT:
                live = await runs.get(db, before.busy) if before.busy_is_live else None
                return await self._control.stop(db, live, "interrupted") if live is not None else Stops()


async def described(
    db: Db, session: SessionId, author: UserId, parts: Sequence[Mapping[str, object]]
) -> list[dict[str, object]]:
    """The parts with what everybody is to know of the attachments among them. Raises `BadRequest` for one that is not
    the author's own in this session."""
    wanted = [str(part["id"]) for part in parts if part["type"] == "attachment"]
    ids = [AttachmentId(parsed) for one in wanted if (parsed := parse_id(one)) is not None]
    found = await attachments.send(db, session, ids, author) if ids else {}
    shown: list[dict[str, object]] = []
    for part in parts:
        if part["type"] != "attachment":
            shown.append(dict(part))
            continue
        one = found.get(AttachmentId(str(part["id"]).lower()))
        if one is None:
            raise BadRequest("no such attachment of yours in this session", details={"attachment": part["id"]})
        shown.append(attachment_part(one))
    return shown


def _digest(text: str, parts: Sequence[dict[str, str]], to: str | None) -> bytes:
    """What makes two sends with one `client_id` the same: the content, not how busy the session was."""
    return hashlib.sha256(orjson.dumps([text, list(parts), to])).digest()


def _again(known: SentMessage, message: NewMessage) -> SendResult:
    if known.body_hash != message.body_hash:
        raise IdempotencyConflict("this client_id was used for another message")
    return SendResult(seq=known.seq, message=known.id, run=known.queued_run)
