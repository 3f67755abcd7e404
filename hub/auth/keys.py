"""The keys that sign and verify access tokens: each has an id and is good for one algorithm."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jose import jwk
from jose.backends.base import Key as JoseKey

Algorithm = Literal["HS256", "RS256", "ES256"]

MIN_SECRET_BYTES = 32
MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `signing` is None for a retired one of which only the public half is left; `published` is the public
    half as a JWK, None for a secret, which is shown to nobody."""

    algorithm: Algorithm
    signing: JoseKey | None
    verifying: JoseKey
    published: Mapping[str, str] | None


def secret_key(secret: bytes) -> Key:
    """HS256. Raises `ValueError` for a secret of fewer than 32 bytes."""
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"it has fewer than {MIN_SECRET_BYTES} bytes")
    # The bytes as they are: jose would refuse those that look like PEM.
    made = jwk.construct({"kty": "oct", "k": _base64url(secret)}, "HS256")
    return Key("HS256", made, made, None)


def pem_key(pem: bytes) -> Key:
    """RS256 for RSA of at least 2048 bits, ES256 for P-256; of a public key, one that only verifies.

    Raises `ValueError` with the reason for anything else.
    """
    private = b"PRIVATE KEY" in pem
    try:
        found = load_pem_private_key(pem, password=None) if private else load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("it is no unencrypted PEM key") from None
    match found:
        case RSAPrivateKey() | RSAPublicKey():
            if found.key_size < MIN_RSA_BITS:
                raise ValueError(f"an RSA key needs at least {MIN_RSA_BITS} bits")
            algorithm: Algorithm = "RS256"
        case EllipticCurvePrivateKey() | EllipticCurvePublicKey():
            if found.curve.name != SECP256R1.name:
                raise ValueError("of the elliptic curves only P-256 is taken")
            algorithm = "ES256"
        case _:
            raise ValueError("only RSA and P-256 keys are taken")
    made = jwk.construct(pem, algorithm)
    public = made.public_key()
    shown = {name: _text(value) for name, value in public.to_dict().items() if name != "alg"}
    return Key(algorithm, made if private else None, public, shown)


def key_set(keys: Mapping[str, Key]) -> dict[str, list[dict[str, str]]]:
    """The public keys as a JWK set (RFC 7517)."""
    return {
        "keys": [
            {**key.published, "kid": id_, "alg": key.algorithm, "use": "sig"}
            for id_, key in keys.items()
            if key.published is not None
        ]
    }


def _base64url(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
