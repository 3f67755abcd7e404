"""Access tokens: signed JWTs (RFC 9068 style), made and checked here and nowhere else.

python-jose alone accepts far too much: no `aud`, no `exp`, any algorithm, unknown `crit`, a wrong `kid` or `typ`. So
the header must be exactly ours, the algorithm is pinned, and every claim is checked again after the library has looked.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jose import jwt
from jose.exceptions import JOSEError

from hub.domain.errors import Unauthenticated
from hub.domain.ids import UserId, new_id, parse_id

ALGORITHM = "HS256"
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
    """Signs with the first of `keys` (key bytes by key id) and verifies with all of them."""

    def __init__(self, keys: Mapping[str, bytes], *, lifetime_s: int) -> None:
        if not keys:
            raise ValueError("at least one secret key is needed")
        self._keys = dict(keys)
        self._signing_id = next(iter(self._keys))
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
        headers = {"typ": TYPE, "kid": self._signing_id}
        return jwt.encode(claims, self._keys[self._signing_id], algorithm=ALGORITHM, headers=headers)

    def verify(self, token: str) -> Claims:
        """What the token says, when it is one of ours and has not ended; else `Unauthenticated`."""
        key = self._keys[_key_id(token, self._keys)]
        try:
            claims = jwt.decode(
                token, key, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE, options=_DECODE_OPTIONS
            )
        except JOSEError as e:
            raise _refused() from e
        return _checked(claims)


def _key_id(token: str, keys: Mapping[str, bytes]) -> str:
    """The id of the key that signed, read from a header that must be exactly as we write it."""
    if len(token) > MAX_TOKEN_BYTES or not token.isascii() or token.count(".") != 2:
        raise _refused()
    try:
        header = jwt.get_unverified_header(token)
    except JOSEError as e:
        raise _refused() from e
    # No other field is known here: not crit, jku, jwk, x5c, x5u, zip, b64, nor one that is not invented yet.
    if header.keys() != _HEADER_FIELDS or header["alg"] != ALGORITHM or header["typ"] != TYPE:
        raise _refused()
    key_id = header["kid"]
    if not isinstance(key_id, str) or key_id not in keys:
        raise _refused()
    return key_id


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
