"""Access tokens: signed JWTs (RFC 9068 style), made and checked here and nowhere else.

python-jose alone accepts far too much: no `aud`, no `exp`, any algorithm, unknown `crit`, a wrong `kid` or `typ`,
fields that are there twice. So the header must be exactly ours, the algorithm is the one of the key, and every claim is
checked again after the library has looked.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jose import jwt
from jose.backends.base import Key as JoseKey
from jose.exceptions import JOSEError

from hub.auth import jws
from hub.auth.keys import Key
from hub.domain.errors import Unauthenticated
from hub.domain.ids import UserId, new_id, parse_id

TYPE = "at+jwt"
ISSUER = AUDIENCE = "agent-hub"

MAX_TOKEN_BYTES = 8192  # checked before anything is parsed
MAX_LIFETIME_S = 86_400  # no token lives longer, whatever it says; the longest lifetime an operator may set
CLOCK_SKEW_S = 30  # how far ahead the clock of the worker that signed may be

_HEADER_FIELDS = frozenset({"alg", "typ", "kid"})
_DECODE_OPTIONS = {f"require_{claim}": True for claim in ("aud", "iss", "exp", "iat", "sub", "jti")}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid access token says. `grant` is the sign-in it descends from, where it has one (claim `sid`)."""

    user: UserId
    auth_version: int
    token_id: str
    grant: str | None
    expires_at: datetime


class Tokens:
    """Signs with the first of `keys` (by key id) and verifies with all of them."""

    def __init__(self, keys: Mapping[str, Key], *, lifetime_s: int) -> None:
        signing_id, first = next(iter(keys.items()), ("", None))
        if first is None or first.signing is None:
            raise ValueError("a key that can sign is needed, and must come first")
        self._keys = dict(keys)
        self._headers = {"typ": TYPE, "kid": signing_id}
        self._algorithm = first.algorithm
        self._signing: JoseKey = first.signing
        self.lifetime_s = lifetime_s

    def issue(self, *, user: UserId, name: str, is_admin: bool, auth_version: int, grant: str | None) -> str:
        """A fresh access token."""
        issued_at = int(time.time())
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "name": name,
            "adm": is_admin,
            "ver": auth_version,
            "iat": issued_at,
            "exp": issued_at + self.lifetime_s,
            "jti": new_id(),
        }
        if grant is not None:
            claims["sid"] = grant
        return jwt.encode(claims, self._signing, algorithm=self._algorithm, headers=self._headers)

    def verify(self, token: str) -> Claims:
        """What the token says, when it is one of ours and has not ended; else `Unauthenticated`."""
        try:
            header, payload = jws.split(token, max_bytes=MAX_TOKEN_BYTES)
            key = self._key(jws.read(header))
            claims = jws.read(payload)  # before jose does, which fails over numbers that are none
        except ValueError as e:
            raise _refused() from e
        try:
            jwt.decode(
                token,
                key.verifying,
                algorithms=[key.algorithm],
                issuer=ISSUER,
                audience=AUDIENCE,
                options=_DECODE_OPTIONS,
            )
        except JOSEError as e:
            raise _refused() from e
        return _checked(claims)

    def _key(self, header: Mapping[str, object]) -> Key:
        """The key that signed, by a header that must be exactly as we write it."""
        # No other field is known here: not crit, jku, jwk, x5c, x5u, zip, b64, nor one that is not invented yet.
        key_id = header.get("kid")
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if header.keys() != _HEADER_FIELDS or key is None:
            raise _refused()
        if header["alg"] != key.algorithm or header["typ"] != TYPE:
            raise _refused()
        return key


def _checked(claims: Mapping[str, object]) -> Claims:
    user, token_id, grant = claims.get("sub"), claims.get("jti"), claims.get("sid")
    issued_at, expires_at, version = (_whole(claims.get(name)) for name in ("iat", "exp", "ver"))
    now = time.time()
    if (
        claims.get("iss") != ISSUER
        or claims.get("aud") != AUDIENCE  # a list with ours in it is another kind of token
        or not isinstance(user, str)
        or parse_id(user) is None
        or not isinstance(token_id, str)
        or not 0 < len(token_id) <= 128
        or not (grant is None or (isinstance(grant, str) and parse_id(grant) is not None))
        or issued_at is None
        or expires_at is None
        or version is None
        or issued_at > now + CLOCK_SKEW_S
        or not issued_at < expires_at <= issued_at + MAX_LIFETIME_S
    ):
        raise _refused()
    if expires_at <= now:
        raise Unauthenticated("the access token has ended")
    return Claims(UserId(user), version, token_id, grant, datetime.fromtimestamp(expires_at, UTC))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _refused() -> Unauthenticated:
    # One answer for every fault: a forger learns nothing from it.
    return Unauthenticated("the access token is not valid")
