"""Who callers are: what proves it, and how often they may ask."""

from pathlib import Path

from hub.auth.accounts import Accounts
from hub.auth.administration import Administration
from hub.auth.api_keys import ApiKeys
from hub.auth.attempts import Attempts
from hub.auth.authenticator import Authenticator
from hub.auth.keys import Key, key_set, pem_key, secret_key
from hub.auth.known import Known
from hub.auth.oidc.options import ClaimRule, OidcOptions
from hub.auth.oidc.people import People
from hub.auth.oidc.provider import Provider
from hub.auth.oidc.sign_in import OidcSignIn
from hub.auth.passwords import Passwords
from hub.auth.places import Places
from hub.auth.rate_limits import RateLimits
from hub.auth.sign_ins import SignIns
from hub.auth.tickets import Tickets
from hub.auth.tokens import Tokens
from hub.composition.relay import RelayParts
from hub.domain.ids import UserId
from hub.relay.allowances import Allowance, Allowances
from hub.relay.tickets import TicketStore
from hub.settings import Settings, parse_secret_keys
from hub.store.database import Store


class AuthParts:
    """Everything that knows callers. `key_set` is the JWK set of the public keys; `oidc` is None without an OpenID
    provider."""

    def __init__(self, settings: Settings, store: Store, relay: RelayParts) -> None:
        self.known = Known()

        def announce(user: UserId) -> None:
            self.known.forget(user)  # here at once, at the other workers when they hear of it
            relay.broadcast.credentials_changed(user)

        keys = signing_keys(settings)
        tokens = Tokens(keys, lifetime_s=settings.access_token_s)
        attempts = Attempts(relay.limits, hub_per_minute=settings.sign_ins_per_minute, hub_burst=settings.sign_in_burst)
        self._passwords = Passwords(memory_kib=settings.password_memory_kib)
        self._provider: Provider | None = None
        self.key_set = key_set(keys)
        self.api_keys = ApiKeys(store, per_user=settings.api_keys_per_user, announce=announce)
        self.sign_ins = SignIns(store, announce=announce)
        self.administration = Administration(store, announce=announce)
        self.tickets = Tickets(TicketStore(relay.redis))
        self.authenticator = Authenticator(store, tokens, self.api_keys, self.tickets, self.known)
        self.rate_limits = _rate_limits(settings, relay.allowances)
        self.connections = Places(
            "connections",
            relay.holdings,
            settings.connections_per_user,
            settings.connections_per_organisation,
        )
        self.streams = Places(
            "event streams", relay.holdings, settings.streams_per_user, settings.streams_per_organisation
        )
        self.accounts = Accounts(
            store,
            self._passwords,
            tokens,
            attempts,
            registration_open=settings.registration_open,
            refresh_s=settings.refresh_token_s,
            announce=announce,
        )
        self.oidc: OidcSignIn | None = None
        if (oidc := oidc_options(settings)) is not None:
            self._provider = Provider(oidc)
            self.oidc = OidcSignIn(
                oidc,
                self._provider,
                People(store, oidc),
                self.accounts,
                attempts,
                flows=TicketStore(relay.redis, "oidc-flow"),
                codes=TicketStore(relay.redis, "oidc-code"),
            )

    async def close(self) -> None:
        """Let go of threads and of the connections to the OpenID provider."""
        self._passwords.close()
        if self._provider is not None:
            await self._provider.close()


def signing_keys(settings: Settings) -> dict[str, Key]:
    """The keys of access tokens by their ids, the one that signs first. Raises `ValueError` with the reason."""
    keys: dict[str, Key] = {}
    secrets = parse_secret_keys(settings.secret_keys.get_secret_value()) if settings.secret_keys is not None else {}
    for pair in settings.key_files:
        id_, colon, path = pair.partition(":")
        if not colon or not id_ or id_ in keys or id_ in secrets:
            raise ValueError(f"key files are written kid:path, each with a kid of its own, not {pair!r}")
        try:
            keys[id_] = pem_key(Path(path).read_bytes())
        except (OSError, ValueError) as e:
            raise ValueError(f"the key file {path}: {getattr(e, 'strerror', None) or e}") from e
    return keys | {id_: secret_key(secret) for id_, secret in secrets.items()}


def oidc_options(settings: Settings) -> OidcOptions | None:
    """The OpenID provider of a hub with these settings; None without one. Raises `ValueError` with the reason."""
    if settings.oidc_issuer is None:
        return None
    if settings.oidc_client_id is None:
        raise ValueError("HUB_OIDC_CLIENT_ID is missing")
    secret, required, admin = settings.oidc_client_secret, settings.oidc_required_claim, settings.oidc_admin_claim
    by_itself = settings.oidc_registration
    return OidcOptions(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=secret.get_secret_value() if secret is not None else None,
        scopes=settings.oidc_scopes,
        name=settings.oidc_name or "OpenID Connect",
        registration_open=by_itself == "open" if by_itself is not None else settings.registration_open,
        required=ClaimRule.parse(required) if required else None,
        admin=ClaimRule.parse(admin) if admin else None,
        organisation=settings.oidc_organisation_claim or None,
        public_url=settings.public_url,
        known_hosts=bool(settings.allowed_hosts),
    )


def _rate_limits(settings: Settings, allowances: Allowances) -> RateLimits:
    return RateLimits(
        allowances,
        address=Allowance("address", settings.address_requests_per_minute, settings.address_request_burst),
        user=Allowance("user", settings.user_requests_per_minute, settings.user_request_burst),
        key=Allowance("key", settings.key_requests_per_minute, settings.key_request_burst),
        costly=Allowance("costly", settings.costly_requests_per_minute, settings.costly_request_burst),
    )
