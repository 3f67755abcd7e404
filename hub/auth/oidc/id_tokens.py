"""ID tokens: what the provider says about who has signed in, checked before anything of it is believed.

As in `hub.auth.tokens` the algorithm is the one of the key, not the one of the token, and every claim is checked here:
python-jose only looks at the signature.
"""

import hmac
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from jose import jws as jose_jws
from jose.exceptions import JOSEError

from hub.auth import jws
from hub.auth.keys import Key
from hub.auth.oidc.refusal import Reason, SignInRefused

Signature = Literal["RS256", "ES256"]

MAX_TOKEN_BYTES = 32_768  # with many groups in it
MAX_SUBJECT_CHARACTERS = 255  # OpenID Connect Core, section 2
MAX_AUDIENCES = 20
CLOCK_SKEW_S = 60


@dataclass(frozen=True, slots=True)
class Wanted:
    """The key a token says it was signed with; `id` is None where the provider does not name its keys."""

    id: str | None
    algorithm: Signature


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has signed in: `subject` of the provider, and everything it says about them."""

    subject: str
    claims: Mapping[str, object]


def wanted_key(token: str) -> Wanted:
    """Which key to look for. Raises `SignInRefused` for an algorithm that is not taken, such as none."""
    header, _ = _read(token)
    algorithm, id_ = header.get("alg"), header.get("kid")
    if algorithm not in get_args(Signature):
        raise _refused("alg")
    if "crit" in header or not (id_ is None or isinstance(id_, str)):
        raise _refused("header")
    return Wanted(id_, cast(Signature, algorithm))


def verify(token: str, key: Key, *, issuer: str, client_id: str, nonce: str) -> Identity:
    """Who the token is about, when the provider made it for us, for this sign-in, and now; else `SignInRefused`."""
    header, claims = _read(token)
    if header.get("alg") != key.algorithm:
        raise _refused("alg")
    try:
        jose_jws.verify(token, key.verifying, algorithms=[key.algorithm])
    except JOSEError as e:
        raise _refused("signature") from e
    subject, given_nonce = claims.get("sub"), claims.get("nonce")
    issued_at, expires_at = _moment(claims.get("iat")), _moment(claims.get("exp"))
    now = time.time()
    if claims.get("iss") != issuer:
        raise _refused("iss")
    if not _is_for(claims, client_id):
        raise _refused("aud")
    if expires_at is None or expires_at <= now:
        raise _refused("exp")
    if issued_at is None or issued_at > now + CLOCK_SKEW_S:
        raise _refused("iat")
    if not isinstance(given_nonce, str) or not hmac.compare_digest(_bytes(given_nonce), _bytes(nonce)):
        raise _refused("nonce")
    if not (isinstance(subject, str) and 0 < len(subject) <= MAX_SUBJECT_CHARACTERS and subject.isprintable()):
        raise _refused("sub")
    return Identity(subject, claims)


def _is_for(claims: Mapping[str, object], client_id: str) -> bool:
    audience, party = claims.get("aud"), claims.get("azp")
    many = audience if isinstance(audience, list) else [audience]
    if client_id not in many or len(many) > MAX_AUDIENCES:
        return False
    # Among several audiences the one it was made for is named; and who is named is always us.
    return party == client_id if party is not None or len(many) > 1 else True


def _read(token: str) -> tuple[dict[str, object], dict[str, object]]:
    try:
        header, payload = jws.split(token, max_bytes=MAX_TOKEN_BYTES)
        return jws.read(header), jws.read(payload, number=float)
    except ValueError as e:
        raise _refused("form") from e


def _moment(value: object) -> float | None:
    """Seconds since 1970, which may have a fraction (RFC 7519)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if abs(value) < 2**53 else None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _refused(what: str) -> SignInRefused:
    return SignInRefused(Reason.PROVIDER, f"id token: {what}")
