"""Access tokens: ours are accepted, everything that merely looks like one is not."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.auth.keys import secret_key
from hub.auth.tokens import MAX_LIFETIME_S, Tokens
from hub.domain.errors import Unauthenticated
from hub.domain.ids import UserId, new_id

SECRETS = {"new": b"n" * 32, "old": b"o" * 32}
KEYS = {id_: secret_key(secret) for id_, secret in SECRETS.items()}
USER = UserId(new_id())
HEADER = {"alg": "HS256", "typ": "at+jwt", "kid": "new"}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": "agent-hub",
        "aud": "agent-hub",
        "sub": USER,
        "name": "ann",
        "adm": False,
        "ver": 1,
        "iat": now,
        "exp": now + 60,
        "jti": "1",
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forge(header: object = HEADER, body: object = None, key: bytes = SECRETS["new"], digest: str = "sha256") -> str:
    signed = f"{part(header)}.{part(body if body is not None else claims())}"
    signature = hmac.new(key, signed.encode(), digest).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(KEYS, lifetime_s=900)


def test_what_was_issued_is_accepted(tokens: Tokens) -> None:
    grant = new_id()
    token = tokens.issue(user=USER, name="ann", is_admin=True, auth_version=3, grant=grant)
    said = tokens.verify(token)
    assert (said.user, said.auth_version, said.grant) == (USER, 3, grant)
    assert abs(said.expires_at.timestamp() - time.time() - 900) < 15


def test_the_wire_form_is_the_documented_one(tokens: Tokens) -> None:
    token = tokens.issue(user=USER, name="ann", is_admin=False, auth_version=1, grant=None)
    header, body, _ = (base64.urlsafe_b64decode(p + "==") for p in token.split("."))
    assert json.loads(header) == HEADER
    said = json.loads(body)
    assert set(said) == {"iss", "aud", "sub", "name", "adm", "ver", "iat", "exp", "jti"}
    assert said["iss"] == said["aud"] == "agent-hub"


def test_the_forger_used_below_would_be_believed(tokens: Tokens) -> None:
    assert tokens.verify(forge()).user == USER


def test_all_keys_verify_and_the_first_signs(tokens: Tokens) -> None:
    assert tokens.verify(forge(HEADER | {"kid": "old"}, key=SECRETS["old"])).user == USER
    retired = Tokens({"old": KEYS["old"]}, lifetime_s=60).issue(
        user=USER, name="ann", is_admin=False, auth_version=1, grant=None
    )
    assert tokens.verify(retired).user == USER
    with pytest.raises(Unauthenticated):
        Tokens({"new": KEYS["new"]}, lifetime_s=60).verify(retired)


def test_there_must_be_a_key() -> None:
    with pytest.raises(ValueError, match="key"):
        Tokens({}, lifetime_s=60)


@pytest.mark.parametrize(
    "header",
    [
        HEADER | {"alg": "none"},
        HEADER | {"alg": "None"},
        HEADER | {"alg": "HS384"},
        HEADER | {"alg": "RS256"},
        HEADER | {"alg": ["HS256"]},
        HEADER | {"typ": "JWT"},
        HEADER | {"typ": "at+JWT"},
        {k: v for k, v in HEADER.items() if k != "typ"},
        {k: v for k, v in HEADER.items() if k != "kid"},
        HEADER | {"kid": "old"},  # known, but it did not sign
        HEADER | {"kid": "other"},
        HEADER | {"kid": None},
        HEADER | {"kid": ["new"]},
        HEADER | {"crit": ["x"]},
        HEADER | {"jku": "https://example.org/keys"},
        HEADER | {"jwk": {"kty": "oct", "k": "bm4"}},
        HEADER | {"x5c": ["MII"]},
        HEADER | {"x5u": "https://example.org/cert"},
        HEADER | {"zip": "DEF"},
        HEADER | {"b64": False},
        [],
        "at+jwt",
        7,
    ],
)
def test_a_header_that_is_not_exactly_ours_is_refused(tokens: Tokens, header: object) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forge(header))


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "ver", "iat", "exp", "jti"])
def test_every_claim_is_required(tokens: Tokens, name: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forge(body=claims(**{name: ...})))


@pytest.mark.parametrize(
    "changes",
    [
        lambda _: {"iss": "agent-hub2"},
        lambda _: {"aud": "other"},
        lambda _: {"aud": ["agent-hub"]},
        lambda _: {"aud": ["agent-hub", "other"]},
        lambda _: {"sub": "ann"},
        lambda _: {"sub": 7},
        lambda _: {"sub": ""},
        lambda _: {"jti": ""},
        lambda _: {"jti": 7},
        lambda _: {"jti": "x" * 129},
        lambda _: {"ver": "1"},
        lambda _: {"ver": True},
        lambda _: {"sid": "not an id"},
        lambda now: {"exp": now - 1},
        lambda now: {"exp": now - 3600, "iat": now - 7200},
        lambda now: {"exp": (now + 60) * 1000},  # milliseconds
        lambda now: {"exp": now + MAX_LIFETIME_S + 60},
        lambda _: {"exp": "tomorrow"},
        lambda now: {"exp": now + 60.5},
        lambda now: {"iat": now + 300, "exp": now + 360},
        lambda _: {"iat": True},
        lambda now: {"nbf": now + 300},
    ],
)
def test_a_claim_with_a_wrong_value_is_refused(tokens: Tokens, changes: Callable[[int], dict[str, Any]]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forge(body=claims(**changes(int(time.time())))))


@pytest.mark.parametrize("digest", ["sha384", "sha512"])
def test_another_hash_is_refused(tokens: Tokens, digest: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forge(digest=digest))


@pytest.mark.parametrize(
    "key",
    [b"", b"x" * 32, hashlib.sha256(SECRETS["new"]).digest(), SECRETS["new"][:-1]],
    ids=["empty", "other", "hash", "cut"],
)
def test_a_signature_by_another_key_is_refused(tokens: Tokens, key: bytes) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forge(key=key))


def malformed() -> list[str]:
    good = forge()
    head, body, signature = good.split(".")
    deep = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
    return [
        "",
        ".",
        "..",
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature}.{signature}.{signature}",  # five parts: an encrypted token
        f"{head}.{part(claims(sub=new_id()))}.{signature}",
        f"{head}.{body}.{'A' * len(signature)}",
        f"{deep}.{body}.{signature}",
        f"{head}.{body}.{signature}" + "A" * 8192,
        "é" + good,
        good + "\n.",
        "eyJ.\x00.\ud800",
        forge(body=[1, 2]),
        forge(body="text"),
    ]


@pytest.mark.parametrize("token", malformed(), ids=range(len(malformed())))
def test_what_is_not_a_token_is_refused(tokens: Tokens, token: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(token)


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda b: f"{part(HEADER)}.{b.hex()}.x"))
def test_no_text_makes_it_fail_in_another_way(token: str) -> None:
    with pytest.raises(Unauthenticated):
        Tokens(KEYS, lifetime_s=60).verify(token)


def test_a_token_over_the_size_limit_is_not_even_looked_at(tokens: Tokens) -> None:
    assert tokens.verify(forge(body=claims(padding="x" * 4000))).user == USER
    with pytest.raises(Unauthenticated):
        tokens.verify(forge(body=claims(padding="x" * 8192)))


def test_a_refusal_does_not_say_why(tokens: Tokens) -> None:
    answers = set()
    for token in ("x", forge(key=b"x" * 32), forge(HEADER | {"kid": "other"}), forge(body=claims(aud="other"))):
        with pytest.raises(Unauthenticated) as refused:
            tokens.verify(token)
        answers.add(refused.value.message)
    assert len(answers) == 1
