"""Tokens that look like the hub's and are not: made with what a forger may know (the form, the public keys) and, for
the faults of content, signed properly, as a careless or broken issuer would."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jose import jws

Json = dict[str, Any]


@dataclass(frozen=True)
class Signers:
    """The keys of one hub: `ec` signs, `rsa` and the secret verify. The rest of its secrets nobody knows."""

    secret: bytes
    rsa: bytes
    ec: bytes
    rsa_public: bytes
    ec_public: bytes
    rsa_der: bytes

    @classmethod
    def make(cls) -> "Signers":
        rsa_key = rsa.generate_private_key(65537, 2048)
        ec_key = ec.generate_private_key(ec.SECP256R1())
        private = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return cls(
            b"0123456789abcdef0123456789abcdef",
            rsa_key.private_bytes(*private),
            ec_key.private_bytes(*private),
            rsa_key.public_key().public_bytes(*public),
            ec_key.public_key().public_bytes(*public),
            rsa_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        )


def segment(value: object) -> str:
    """JSON (or text, or bytes as they are) as a part of a token."""
    raw = (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(header: object, payload: object, key: bytes, digest: str = "sha256") -> str:
    """A token signed with a secret, whatever the header says."""
    signed = f"{segment(header)}.{segment(payload)}"
    return f"{signed}.{segment(hmac.new(key, signed.encode(), digest).digest())}"


def claims(user: str, **changes: Any) -> Json:
    """What the hub writes into a token, with changes; `...` takes a claim away."""
    now = int(time.time())
    good = {"iss": "agent-hub", "aud": "agent-hub", "sub": user, "name": "x", "adm": True, "ver": 1}
    good |= {"iat": now, "exp": now + 600, "jti": uuid.uuid4().hex}
    return {name: value for name, value in (good | changes).items() if value is not ...}


def hostile_tokens(user: str, keys: Signers, refresh_token: str, api_key: str) -> Mapping[str, str]:
    """One token per trick. `user` exists; the others are credentials of theirs, to be bent."""
    now = int(time.time())
    head = {"alg": "HS256", "typ": "at+jwt", "kid": "secret"}
    good = hs256(head, claims(user), keys.secret)
    h, p, s = good.split(".")

    def signed(payload: object, **header: Any) -> str:
        return hs256({k: v for k, v in (head | header).items() if v is not ...}, payload, keys.secret)

    def as_(algorithm: str, key: bytes, **header: Any) -> str:
        headers = {"typ": "at+jwt", "kid": "rsa", **header}
        return str(jws.sign(claims(user), key.decode(), headers=headers, algorithm=algorithm))

    other = Signers.make()
    rs, es = as_("RS256", keys.rsa), as_("ES256", keys.ec, kid="ec")
    return {
        # no signature, or none that proves anything
        "alg none": f"{segment(head | {'alg': 'none'})}.{p}.",
        "alg none with a signature": f"{segment(head | {'alg': 'none'})}.{p}.{s}",
        "alg None": f"{segment(head | {'alg': 'None'})}.{p}.{s}",
        "alg empty": signed(claims(user), alg=""),
        "no signature": f"{h}.{p}.",
        "another signature": f"{h}.{p}.{segment(bytes(32))}",
        "signature of another body": f"{h}.{segment(claims(user, name='y'))}.{s}",
        "signature cut": good[:-2],
        "signature spelled differently": good[:-1] + _neighbour(good[-1]),
        "signed by nobody we know": hs256(head, claims(user), b"x" * 32),
        "signed with an empty key": hs256(head, claims(user), b""),
        "signed with the key id": hs256(head, claims(user), b"secret"),
        "another RSA key": as_("RS256", other.rsa),
        "another P-256 key": as_("ES256", other.ec, kid="ec"),
        # one algorithm taken for another
        "HS256 with the public PEM": hs256(head | {"kid": "rsa"}, claims(user), keys.rsa_public),
        "HS256 with the public DER": hs256(head | {"kid": "rsa"}, claims(user), keys.rsa_der),
        "RS256 with the public PEM as secret": hs256(
            head | {"kid": "rsa", "alg": "RS256"}, claims(user), keys.rsa_public
        ),
        "ES256 with the public PEM as secret": hs256(
            head | {"kid": "ec", "alg": "ES256"}, claims(user), keys.ec_public
        ),
        "RS256 under the id of the secret": as_("RS256", keys.rsa, kid="secret"),
        "ES256 under the id of the RSA key": as_("ES256", keys.ec, kid="rsa"),
        "RS384": as_("RS384", keys.rsa),
        "RS512": as_("RS512", keys.rsa),
        "ES256 of zeros": ".".join([*es.split(".")[:2], segment(bytes(64))]),
        "RS256 of zeros": ".".join([*rs.split(".")[:2], segment(bytes(256))]),
        "HS384": hs256(head | {"alg": "HS384"}, claims(user), keys.secret, "sha384"),
        "HS512 that says HS256": hs256(head, claims(user), keys.secret, "sha512"),
        "alg in a list": signed(claims(user), alg=["HS256"]),
        # headers that want to be believed
        "no kid": signed(claims(user), kid=...),
        "kid unknown": signed(claims(user), kid="other"),
        "kid null": signed(claims(user), kid=None),
        "kid a path": signed(claims(user), kid="../../../../dev/null"),
        "kid SQL": signed(claims(user), kid="secret' OR '1'='1"),
        "kid an object": signed(claims(user), kid={"secret": 1}),
        "typ JWT": signed(claims(user), typ="JWT"),
        "typ missing": signed(claims(user), typ=...),
        "typ of an id token": signed(claims(user), typ="id_token"),
        "crit": signed(claims(user), crit=["exp"]),
        "jku": signed(claims(user), jku="https://example.org/keys"),
        "x5u": signed(claims(user), x5u="https://example.org/cert"),
        "x5c": signed(claims(user), x5c=["MIIB"]),
        "jwk": signed(claims(user), jwk={"kty": "oct", "k": segment(keys.secret)}),
        "b64 false": signed(claims(user), b64=False),
        "zip": signed(claims(user), zip="DEF"),
        "cty JWT": signed(claims(user), cty="JWT"),
        "alg twice": hs256(b'{"alg":"none","alg":"HS256","typ":"at+jwt","kid":"secret"}', claims(user), keys.secret),
        "header not JSON": hs256(b"alg=HS256", claims(user), keys.secret),
        "header a list": hs256([], claims(user), keys.secret),
        "header nested": hs256(b"[" * 3000, claims(user), keys.secret),
        "header not UTF-8": hs256(b'{"alg":"\xff"}', claims(user), keys.secret),
        # claims
        **{
            f"no {name}": signed(claims(user, **{name: ...}))
            for name in ("iss", "aud", "sub", "iat", "exp", "jti", "ver")
        },
        "iss of another": signed(claims(user, iss="https://agent-hub")),
        "iss in a list": signed(claims(user, iss=["agent-hub"])),
        "aud of another": signed(claims(user, aud="another")),
        "aud among others": signed(claims(user, aud=["agent-hub", "another"])),
        "sub a name": signed(claims("admin")),
        "sub nobody": signed(claims(str(uuid.uuid4()))),
        "sub a number": signed(claims(user, sub=1)),
        "sub null": signed(claims(user, sub=None)),
        "sub with a NUL": signed(claims(user + "\x00")),
        "sub full width": signed(claims(user.translate({ord("0"): "０", ord("a"): "ａ"}) + "")),
        "sub in upper case and braces": signed(claims("{" + user.upper() + "}")),
        "jti empty": signed(claims(user, jti="")),
        "jti long": signed(claims(user, jti="x" * 200)),
        "ver a bool": signed(claims(user, ver=True)),
        "ver a string": signed(claims(user, ver="1")),
        "ver of the future": signed(claims(user, ver=2)),
        "ver huge": signed(claims(user, ver=10**40)),
        "exp past": signed(claims(user, iat=now - 900, exp=now - 1)),
        "exp in ms": signed(claims(user, exp=(now + 600) * 1000)),
        "exp far": signed(claims(user, exp=now + 10 * 86_400)),
        "exp a bool": signed(claims(user, exp=True)),
        "exp a float": signed(claims(user, exp=now + 600.5)),
        "exp a string": signed(claims(user, exp=str(now + 600))),
        "exp NaN": signed(json.dumps(claims(user, exp=0)).replace('"exp": 0', '"exp": NaN')),
        "exp Infinity": signed(json.dumps(claims(user, exp=0)).replace('"exp": 0', '"exp": Infinity')),
        "exp 1e400": signed(json.dumps(claims(user, exp=0)).replace('"exp": 0', '"exp": 1e400')),
        "exp of 4,500 digits": signed(json.dumps(claims(user, exp=0)).replace('"exp": 0', f'"exp": {"9" * 4500}')),
        "exp twice": signed(json.dumps(claims(user, exp=now - 5))[:-1] + f', "exp": {now + 600}}}'),
        "sub twice": signed(json.dumps(claims(str(uuid.uuid4())))[:-1] + f', "sub": "{user}"}}'),
        "iat future": signed(claims(user, iat=now + 3600, exp=now + 3660)),
        "iat a bool": signed(claims(user, iat=True)),
        "iat negative": signed(claims(user, iat=-(10**12), exp=now + 600)),
        "nbf future": signed(claims(user, nbf=now + 600)),
        "sid of another form": signed(claims(user, sid="x")),
        "claims a list": signed([claims(user)]),
        "claims null": signed(b"null"),
        "claims nested": signed(b'{"a":' * 900),
        # the form
        "empty parts": "..",
        "one part": h,
        "two parts": f"{h}.{p}",
        "four parts": f"{good}.{s}",
        "five parts, as an encrypted token": f"{segment(head | {'alg': 'dir', 'enc': 'A128GCM'})}..{p}.{s}.{s}",
        "padded": f"{h}=.{p}==.{s}=",
        "with junk in it": f"{h}.{p[:8]}*{p[8:]}.{s}",
        "standard alphabet": good.replace("-", "+").replace("_", "/") + "+",
        "over 8 KiB": signed(claims(user, padding="x" * 8192)),
        "JSON form": segment({"payload": p, "protected": h, "signature": s}),
        # other credentials
        "a refresh token": refresh_token,
        "an API key without its prefix": api_key.removeprefix("hub_"),
        "an API key in upper case": api_key.upper(),
        "an API key of another id": f"hub_{uuid.uuid4()}_{api_key.rpartition('_')[2]}",
        "an API key cut": api_key[:-1],
        "an API key with more": api_key + "x",
        "only a prefix": "hub_",
        "the hash of an API key": "hub_" + hashlib.sha256(api_key.encode()).hexdigest(),
    }


def _neighbour(last: str) -> str:
    """A character that decodes to the same bytes at the end of a 32 byte signature: two of its bits are not read."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(last) ^ 1]
