"""Whose account an identity is. Accounts are found by issuer and subject and by nothing else: a name or an address that
somebody at the provider may choose leads into no account that is there already."""

import secrets
import unicodedata
from collections.abc import Mapping

from hub.auth.accounts import add_account
from hub.auth.names import MAX_CHARACTERS, clean_name
from hub.auth.oidc.id_tokens import Identity
from hub.auth.oidc.options import OidcOptions, claim
from hub.auth.oidc.refusal import Reason, SignInRefused
from hub.domain.errors import BadRequest, Conflict
from hub.domain.ids import OrganisationId, UserId
from hub.domain.organisation import FIRST_ORGANISATION
from hub.store import audit, identities, organisations, users
from hub.store.database import Db, Store
from hub.store.users import StoredUser

NAMED = ("preferred_username", "name", "nickname")  # claims to call somebody by, the best first
SUFFIX_BYTES = 3


class People:
    """From an identity that was verified to a user of the hub."""

    def __init__(self, store: Store, options: OidcOptions) -> None:
        self._store = store
        self._options = options

    async def user_of(self, identity: Identity, *, address: str | None) -> StoredUser:
        """The user, made when there is none yet, with the rights that the provider says now.

        Raises `SignInRefused` for who does not meet the hub's rules, is suspended, or is a stranger where registration
        is closed.
        """
        options = self._options
        if options.required is not None and not options.required.met_by(identity.claims):
            raise SignInRefused(Reason.NOT_ALLOWED, f"the claim {options.required.name}")
        async with self._store.transaction() as db:
            id_ = await identities.use(db, options.issuer, identity.subject)
            if id_ is None:
                id_ = await self._register(db, identity.claims, address)
                await identities.insert(db, options.issuer, identity.subject, id_)
            user = await users.by_id(db, id_, lock=True)
            if user is None or user.disabled_at is not None:
                raise SignInRefused(Reason.SUSPENDED, "the user")
            if options.admin is not None and user.is_admin is not (is_admin := options.admin.met_by(identity.claims)):
                await users.set_admin(db, id_, is_admin=is_admin)
                detail = {"admin": is_admin, "issuer": options.issuer}
                await audit.add(
                    db, actor=id_, action="user.admin", object=f"user:{id_}", address=address, detail=detail
                )
        return user

    async def _register(self, db: Db, claims: Mapping[str, object], address: str | None) -> UserId:
        if not self._options.registration_open:
            raise SignInRefused(Reason.CLOSED, "registration")
        name, org = _name(claims), await self._home(db, claims)
        while True:
            try:
                return await add_account(db, name, None, org=org, address=address, issuer=self._options.issuer)
            except Conflict:
                # Whoever has the name keeps it; what comes next cannot be foreseen, so nobody can have taken it.
                name = f"{_name(claims)[: MAX_CHARACTERS - 2 * SUFFIX_BYTES - 1]}-{secrets.token_hex(SUFFIX_BYTES)}"

    async def _home(self, db: Db, claims: Mapping[str, object]) -> OrganisationId:
        named = self._options.organisation
        if named is None:
            return FIRST_ORGANISATION
        given = claim(claims, named)
        found = await organisations.by_name(db, given) if isinstance(given, str) and given.isprintable() else None
        if found is None:  # nobody comes among strangers by a word that is missing or misspelt
            raise SignInRefused(Reason.NOT_ALLOWED, f"the claim {named} names no organisation")
        return found


def _name(claims: Mapping[str, object]) -> str:
    """What the provider calls somebody, as far as a user may be called so."""
    for named in NAMED:
        if isinstance(given := claims.get(named), str):
            seen = "".join(c for c in given if not unicodedata.category(c).startswith(("C", "Z")) or c == " ")
            shown = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", seen).replace("/", "-"))
            try:
                return clean_name(shown.strip()[:MAX_CHARACTERS].strip())
            except BadRequest:
                continue
    return "user"
