"""What the REST edge is built from; `hub.composition.edges` puts it together."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from hub.auth.accounts import Accounts
from hub.auth.administration import Administration
from hub.auth.api_keys import ApiKeys
from hub.auth.authenticator import Authenticator
from hub.auth.oidc.sign_in import OidcSignIn
from hub.auth.places import Places
from hub.auth.rate_limits import RateLimits
from hub.auth.sign_ins import SignIns
from hub.auth.tickets import Tickets
from hub.engine.catalog import Catalog
from hub.sessions.accounting import Accounting
from hub.sessions.attachments import Attachments
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
from hub.sessions.suspension import Suspension
from hub.sessions.teams import Teams


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this worker may take traffic. `checks` says per dependency `ok`, `degraded` or `down`; only some of them
    make a worker unready."""

    ready: bool
    checks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the routes call.

    `oidc` is None on a hub without an OpenID provider.
    `metrics` gives the Prometheus text, `key_set` is the JWK set of the public keys. `stopping` is set when the worker
    drains: open event streams end then. `allowed_origins` are the pages of other origins that may call the API,
    `allowed_hosts` the names the hub goes by; without `registers_by_name` strangers register on pages of this machine
    only.
    `max_streams` bounds the event streams that are open at once in this worker, `streams` those of a user and of an
    organisation.
    """

    authenticator: Authenticator
    rate_limits: RateLimits
    accounts: Accounts
    oidc: OidcSignIn | None
    api_keys: ApiKeys
    sign_ins: SignIns
    administration: Administration
    tickets: Tickets
    sessions: Sessions
    members: Members
    invites: Invites
    organisations: Organisations
    messages: Messages
    cutting: Cutting
    forking: Forking
    history: History
    exports: Exports
    erasure: Erasure
    organisation_erasure: OrganisationErasure
    suspension: Suspension
    accounting: Accounting
    budgets: BudgetLimits
    control: Control
    inputs: Inputs
    attachments: Attachments
    catalog: Catalog
    teams: Teams
    readiness: Callable[[], Awaitable[Readiness]]
    streams: Places
    metrics: Callable[[], Awaitable[bytes]]
    key_set: Mapping[str, object]
    stopping: asyncio.Event
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    registers_by_name: bool = True
    max_streams: int = 1000
