"""The way of a sign-in: to the provider, back with its code, and to tokens of ours.

What a sign-in needs to go on is in Redis, under a secret, for a short time, and can be taken once by any worker. It
belongs to the browser that began it, which has a secret of its own in a cookie: what somebody else has begun, or was
given, gets nobody anywhere. Without Redis nobody signs in, as with passwords.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from hub.auth.accounts import Accounts, TokenPair
from hub.auth.attempts import Attempts
from hub.auth.oidc import id_tokens
from hub.auth.oidc.options import LOOPBACK, OidcOptions
from hub.auth.oidc.people import People
from hub.auth.oidc.provider import Provider
from hub.auth.oidc.refusal import Reason, SignInRefused
from hub.domain.errors import RateLimited, Unauthenticated, Unavailable
from hub.domain.ids import UserId
from hub.relay.tickets import TicketStore

T = TypeVar("T", bound=BaseModel)

FLOW_S = 600  # to sign in at the provider
CODE_S = 60  # to fetch the tokens
SECRET_BYTES = 32
MAX_PARAMETER = 4096  # characters
CALLBACK = "/v1/auth/oidc/callback"

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_CANCELLED = frozenset({"access_denied", "login_required", "interaction_required", "consent_required"})


class _Flow(BaseModel):
    """A sign-in that has been begun."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    browser: str
    nonce: str
    verifier: str
    redirect_uri: str


class _Code(BaseModel):
    """A sign-in that the provider has confirmed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    browser: str
    user: str
    auth_version: int


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and the secret that it keeps."""

    url: str
    browser: str


class OidcSignIn:
    """Signing in with the provider. Everything that goes wrong is a `SignInRefused`, but where it says so."""

    def __init__(
        self,
        options: OidcOptions,
        provider: Provider,
        people: People,
        accounts: Accounts,
        attempts: Attempts,
        flows: TicketStore,
        codes: TicketStore,
    ) -> None:
        self._options = options
        self._provider = provider
        self._people = people
        self._accounts = accounts
        self._attempts = attempts
        self._flows = flows
        self._codes = codes
        self._log = structlog.get_logger("hub.auth.oidc")

    @property
    def name(self) -> str:
        """What the page calls the provider."""
        return self._options.name

    def origin(self, scheme: str, host: str) -> str:
        """The hub's own origin, of a request that came like this."""
        if self._options.public_url is not None:
            return self._options.public_url
        if not self._options.known_hosts and urlsplit(f"//{host}").hostname not in LOOPBACK:
            raise self.refused(Reason.ADDRESS, "HUB_PUBLIC_URL or HUB_ALLOWED_HOSTS is needed")
        return f"{scheme}://{host}"

    def is_secure(self, scheme: str) -> bool:
        """Whether browsers reach the hub over TLS, of a request that came like this."""
        return (self._options.public_url or f"{scheme}:").startswith("https:")

    async def begin(self, *, origin: str, browser: str | None, address: str | None) -> Begun:
        """Begin a sign-in. `browser` is the secret that the browser may have already: it may begin several at once."""
        kept = browser if browser is not None and _SECRET.fullmatch(browser) else _secret()
        state = _secret()
        flow = _Flow(browser=_digest(kept), nonce=_secret(), verifier=_secret(), redirect_uri=origin + CALLBACK)
        try:
            await self._attempts.oidc(address)
            async with self._provider.deadline():
                endpoint = (await self._provider.metadata()).authorization_endpoint
            await self._flows.put(_digest(state), flow.model_dump_json().encode(), FLOW_S)
        except RateLimited as e:
            raise self.refused(Reason.BUSY, "too many attempts") from e
        except Unavailable as e:
            raise self.refused(Reason.UNAVAILABLE, e.message) from e
        except SignInRefused as e:
            raise self.refused(e.reason, e.why) from e
        query = {
            "response_type": "code",
            "client_id": self._options.client_id,
            "redirect_uri": flow.redirect_uri,
            "scope": " ".join(self._options.scopes),
            "state": state,
            "nonce": flow.nonce,
            "code_challenge": urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return Begun(endpoint + ("&" if "?" in endpoint else "?") + urlencode(query), kept)

    async def complete(self, given: Mapping[str, str], *, browser: str | None, address: str | None) -> str:
        """Take what the provider sent the browser back with; gives a code for `redeem`, good once and for a minute."""
        try:
            flow = await self._flow(given.get("state"), browser)
            async with self._provider.deadline():
                identity = await self._identity(given, flow)
            user = await self._people.user_of(identity, address=address)
            code = _secret()
            kept = _Code(browser=flow.browser, user=user.id, auth_version=user.auth_version)
            await self._codes.put(_digest(code), kept.model_dump_json().encode(), CODE_S)
        except Unavailable as e:
            raise self.refused(Reason.UNAVAILABLE, e.message) from e
        except SignInRefused as e:
            raise self.refused(e.reason, e.why) from e
        return code

    async def redeem(self, code: str, *, browser: str | None, address: str | None) -> TokenPair:
        """Tokens for a code of `complete`, in the browser that began. Raises `Unauthenticated` and `Unavailable`."""
        found = await self._codes.take(_digest(code))
        kept = _parse(_Code, found)
        if kept is None or not _is_of(kept.browser, browser):
            raise Unauthenticated("the sign-in has ended: sign in again")
        user = UserId(kept.user)
        pair = await self._accounts.begin(user, kept.auth_version, address=address, issuer=self._options.issuer)
        if pair is None:
            raise Unauthenticated("the sign-in has ended: sign in again")
        return pair

    def refused(self, reason: Reason, why: str) -> SignInRefused:
        """The refusal, told in the log."""
        self._log.warning("oidc_sign_in_refused", reason=reason.value, why=why)
        return SignInRefused(reason, why)

    async def _flow(self, state: str | None, browser: str | None) -> _Flow:
        found = await self._flows.take(_digest(state)) if state is not None and _SECRET.fullmatch(state) else None
        flow = _parse(_Flow, found)
        if flow is None:
            raise SignInRefused(Reason.EXPIRED, "unknown state")
        if not _is_of(flow.browser, browser):
            raise SignInRefused(Reason.EXPIRED, "another browser")
        return flow

    async def _identity(self, given: Mapping[str, str], flow: _Flow) -> id_tokens.Identity:
        options, metadata = self._options, await self._provider.metadata()
        # A provider that says who it is cannot be taken for another one (RFC 9207).
        issuer = given.get("iss")
        if issuer != options.issuer and (issuer is not None or metadata.authorization_response_iss_parameter_supported):
            raise SignInRefused(Reason.PROVIDER, "callback: iss")
        if (error := given.get("error")) is not None:
            cancelled = error in _CANCELLED
            raise SignInRefused(Reason.CANCELLED if cancelled else Reason.PROVIDER, "callback: error")
        code = given.get("code")
        if code is None or len(code) > MAX_PARAMETER:
            raise SignInRefused(Reason.PROVIDER, "callback: no code")
        token = await self._provider.exchange(code, verifier=flow.verifier, redirect_uri=flow.redirect_uri)
        key = await self._provider.key(id_tokens.wanted_key(token))
        return id_tokens.verify(token, key, issuer=options.issuer, client_id=options.client_id, nonce=flow.nonce)


def _parse(model: type[T], found: bytes | None) -> T | None:
    try:
        return model.model_validate_json(found) if found is not None else None
    except ValidationError:
        return None


def _is_of(digest: str, browser: str | None) -> bool:
    return browser is not None and hmac.compare_digest(digest, _digest(browser))


def _secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
