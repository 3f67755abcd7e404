"""What callers may do, by the two edges alike, and what is swept up after them."""

from hub.composition.relay import RelayParts
from hub.composition.runs import RunsParts
from hub.sessions.accounting import Accounting
from hub.sessions.attachments import Attachments, Quotas
from hub.sessions.budgeting import BudgetLimits
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
from hub.sessions.seats import Seats
from hub.sessions.session_caps import SessionCaps
from hub.sessions.suspension import Suspension
from hub.sessions.teams import Teams
from hub.settings import Settings
from hub.store.database import Store


class SessionsParts:
    """One part for each subject."""

    def __init__(self, settings: Settings, store: Store, relay: RelayParts, runs: RunsParts) -> None:
        broadcast, catalog, control = relay.broadcast, runs.catalog, runs.control
        session_caps = SessionCaps(settings.sessions_per_user, settings.sessions_per_organisation)
        run_caps = RunCaps(settings.runs_per_user, settings.runs_per_organisation)
        quotas = Quotas(
            settings.attachment_bytes, settings.attachment_bytes_per_session, settings.attachment_bytes_per_user
        )
        keep = Keep(settings.keep_deleted_s, settings.keep_sessions_s, settings.keep_addresses_s)

        async def teams_changed() -> None:
            broadcast.teams_changed()
            await runs.imported.refresh()  # whoever has changed them sees it at once

        self.sessions = Sessions(store, broadcast, catalog, control, caps=session_caps)
        self.members = Members(store, broadcast)
        self.seats = Seats(store, catalog)
        self.invites = Invites(store, broadcast)
        self.organisations = Organisations(store, broadcast)
        self.messages = Messages(store, broadcast, catalog, control, settings.limits, caps=run_caps)
        self.cutting = Cutting(store, broadcast, control, run_caps)
        self.forking = Forking(store, user_bytes=settings.attachment_bytes_per_user, caps=session_caps)
        self.control = Control(store, broadcast, control)
        self.inputs = Inputs(store, broadcast, control)
        self.attachments = Attachments(store, quotas)
        self.history = History(store, relay.subscriber, searches=max(1, settings.database_pool // 3))
        self.exports = Exports(store)
        self.accounting = Accounting(store)
        self.budgets = BudgetLimits(store, catalog, settings.limits)
        self.teams = Teams(store, names=catalog.vocabulary, files=catalog.files, changed=teams_changed)
        self.erasure = Erasure(store, broadcast, control)
        self.organisation_erasure = OrganisationErasure(store, self.erasure)
        self.suspension = Suspension(store, broadcast, control)
        self.retention = Retention(store, self.erasure, keep, every_s=settings.sweep_s)
