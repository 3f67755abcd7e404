"""The provider over HTTP: its description, its keys, and the exchange of a code for an ID token.

Its addresses are its own, found from the issuer that the operator has set. What it sends is bounded in size and time,
and read strictly; redirects are not followed.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx2
from jose import jwk
from jose.exceptions import JOSEError
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from hub.auth import jws
from hub.auth.keys import Key, pem_key
from hub.auth.oidc.id_tokens import Wanted
from hub.auth.oidc.options import OidcOptions, check_url
from hub.auth.oidc.refusal import Reason, SignInRefused

MAX_BYTES = 262_144  # of one answer
MAX_KEYS = 100
ANSWER_S = 3.0  # for everything that is asked for one request of a browser; that has 4 s
KEEP_S = 3600.0  # a key or an address that the provider has withdrawn counts so long at most
LOOK_AGAIN_S = 60.0  # between two looks for a key that is not known

# What a token endpoint may call its refusal (RFC 6749, section 5.2); nothing else that it says is repeated.
_ERRORS = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope")


class Metadata(BaseModel):
    """What the hub needs of a provider's description (OpenID Connect Discovery 1.0, RFC 8414, RFC 9207)."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    authorization_response_iss_parameter_supported: bool = False

    @field_validator("authorization_endpoint", "token_endpoint", "jwks_uri")
    @classmethod
    def _check(cls, value: str) -> str:
        check_url("the endpoint", value)
        return value


class Provider:
    """To be closed by its owner. Every call raises `SignInRefused` when the provider does not answer, or wrongly."""

    def __init__(self, options: OidcOptions, *, answer_s: float = ANSWER_S) -> None:
        https = options.issuer.startswith("https:")
        # One that is within this machine is trusted to speak http; no certificates are loaded then.
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(answer_s), verify=https, trust_env=https, headers={"accept-encoding": "identity"}
        )
        self._options = options
        self._answer_s = answer_s
        self._metadata: Metadata | None = None
        self._metadata_at: float | None = None
        self._keys: list[tuple[str | None, Key]] = []
        self._keys_at: float | None = None
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    @asynccontextmanager
    async def deadline(self) -> AsyncGenerator[None]:
        """What is asked within it has `answer_s` together, however slowly it comes."""
        try:
            async with asyncio.timeout(self._answer_s):
                yield
        except TimeoutError as e:
            raise SignInRefused(Reason.UNAVAILABLE, "no answer in time") from e

    async def metadata(self) -> Metadata:
        """The provider's description, at most an hour old."""
        async with self._looking:
            if self._metadata is None or _is_over(self._metadata_at, KEEP_S):
                self._metadata = await self._discover()
                self._metadata_at = time.monotonic()
            return self._metadata

    async def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code."""
        options, metadata = self._options, await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth: httpx2.BasicAuth | None = None
        methods = metadata.token_endpoint_auth_methods_supported
        if options.client_secret is None:
            form["client_id"] = options.client_id
        elif "client_secret_basic" in methods or "client_secret_post" not in methods:
            # Both are form-encoded first (RFC 6749, section 2.3.1).
            auth = httpx2.BasicAuth(quote(options.client_id, safe=""), quote(options.client_secret, safe=""))
        else:
            form |= {"client_id": options.client_id, "client_secret": options.client_secret}
        request = self._http.build_request("POST", metadata.token_endpoint, data=form)
        token = (await self._ask("token endpoint", request, auth)).get("id_token")
        if not isinstance(token, str):
            raise SignInRefused(Reason.PROVIDER, "token endpoint: no id_token")
        return token

    async def key(self, wanted: Wanted) -> Key:
        """The key of the provider that is called so, for this algorithm. One that is not known is looked for at most
        once a minute, whoever asks."""
        metadata = await self.metadata()
        async with self._looking:
            if _is_over(self._keys_at, KEEP_S):
                await self._load_keys(metadata)
            elif self._find(wanted) is None and _is_over(self._looked_at, LOOK_AGAIN_S):
                self._looked_at = time.monotonic()
                await self._load_keys(metadata)
            found = self._find(wanted)
        if found is None:
            raise SignInRefused(Reason.PROVIDER, "id token: unknown key")
        return found

    async def check(self) -> int:
        """Ask for everything that can be asked without anybody signing in; how many keys can be used."""
        async with self.deadline():
            await self._load_keys(await self.metadata())
        return len(self._keys)

    def _find(self, wanted: Wanted) -> Key | None:
        fitting = [
            key
            for id_, key in self._keys
            if key.algorithm == wanted.algorithm and (wanted.id is None or id_ == wanted.id)
        ]
        return fitting[0] if len(fitting) == 1 else None  # which of several is meant must not be guessed

    async def _load_keys(self, metadata: Metadata) -> None:
        found = await self._get("keys", metadata.jwks_uri)
        keys = found.get("keys")
        if not isinstance(keys, list) or len(keys) > MAX_KEYS:
            raise SignInRefused(Reason.PROVIDER, "keys: no key set")
        self._keys = [key for shown in keys if (key := _public_key(shown)) is not None]
        self._keys_at = time.monotonic()

    async def _discover(self) -> Metadata:
        issuer = self._options.issuer
        found = await self._get("discovery", issuer.rstrip("/") + "/.well-known/openid-configuration")
        try:
            metadata = Metadata.model_validate(found)
        except ValidationError as e:
            raise SignInRefused(Reason.PROVIDER, "discovery: not complete, or an endpoint without https") from e
        if metadata.issuer != issuer:
            raise SignInRefused(Reason.PROVIDER, "discovery: another issuer than HUB_OIDC_ISSUER")
        return metadata

    async def _get(self, what: str, url: str) -> dict[str, object]:
        return await self._ask(what, self._http.build_request("GET", url))

    async def _ask(self, what: str, request: httpx2.Request, auth: httpx2.BasicAuth | None = None) -> dict[str, object]:
        """The JSON object that is the answer."""
        request.headers["accept"] = "application/json"
        body = bytearray()
        try:
            response = await self._http.send(request, auth=auth, stream=True)
            try:
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise SignInRefused(Reason.PROVIDER, f"{what}: too long an answer")
            finally:
                await response.aclose()
        except (httpx2.HTTPError, OSError) as e:
            raise SignInRefused(Reason.UNAVAILABLE, f"{what}: no answer ({type(e).__name__})") from e
        if response.status_code >= 500:
            raise SignInRefused(Reason.UNAVAILABLE, f"{what}: status {response.status_code}")
        try:
            found = jws.read(bytes(body), number=float)
        except ValueError as e:
            raise SignInRefused(Reason.PROVIDER, f"{what}: status {response.status_code}, no JSON object") from e
        if response.status_code != 200:
            told = found.get("error")
            said = told if told in _ERRORS else "status"
            raise SignInRefused(Reason.PROVIDER, f"{what}: {said} {response.status_code}")
        return found


def _is_over(since: float | None, time_s: float) -> bool:
    return since is None or time.monotonic() - since > time_s


def _public_key(shown: object) -> tuple[str | None, Key] | None:
    """A key that signs, with its id; None for every other kind. What it is good for is decided by what it is: a secret
    is never a key here, and no key has two algorithms."""
    if not isinstance(shown, Mapping) or shown.get("use", "sig") != "sig":
        return None
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(shown.get("kty")))
    id_ = shown.get("kid")
    if algorithm is None or shown.get("alg", algorithm) != algorithm or not (id_ is None or isinstance(id_, str)):
        return None
    try:
        # By way of PEM: its size and curve are looked at there.
        key = pem_key(jwk.construct({**shown, "alg": algorithm}, algorithm).public_key().to_pem())
    except (JOSEError, ValueError, TypeError, KeyError):
        return None
    return id_, key
