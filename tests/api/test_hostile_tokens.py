"""A hundred hostile tokens, shown in every way a credential can be shown; and the keys that real ones have."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jose import jwt

from hub.auth.keys import pem_key, secret_key
from hub.composition.auth import signing_keys
from tests.api.people import problem
from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import PASSWORD, Door, Refused
from tests.gateway.server import Raw, frame
from tests.hostile import Signers, claims, hostile_tokens, hs256


@dataclass(frozen=True)
class Attack:
    door: Door
    keys: Signers
    token: str
    user: str
    hostile: Mapping[str, str]

    @property
    def port(self) -> int:
        return int(self.door.url.rsplit(":", 1)[1])


@pytest.fixture(scope="module")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signers, str]:
    folder, keys = tmp_path_factory.mktemp("keys"), Signers.make()
    (folder / "ec.pem").write_bytes(keys.ec)
    (folder / "rsa.pem").write_bytes(keys.rsa)
    return keys, f"ec:{folder / 'ec.pem'},rsa:{folder / 'rsa.pem'}"


@pytest.fixture(scope="module")
async def attack(cluster: Cluster, valkey_server: str, key_files: tuple[Signers, str]) -> AsyncIterator[Attack]:
    keys, files = key_files
    dsn = await cluster.clone()
    settings = settings_for(dsn, valkey_server, secret_keys=f"secret:{keys.secret.decode()}", key_files=files)
    async with running_worker(settings) as door:
        await door.register("victim")
        async with door.rest() as rest:
            form = {"grant_type": "password", "username": "victim", "password": PASSWORD}
            pair = (await rest.post("/v1/auth/token", data=form)).json()
        async with door.rest(pair["access_token"]) as rest:
            user = (await rest.get("/v1/me")).json()["id"]
            key = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()["key"]
        yield Attack(door, keys, pair["access_token"], user, hostile_tokens(user, keys, pair["refresh_token"], key))
    await cluster.drop(dsn)


async def test_the_forger_would_be_believed_without_the_tricks(attack: Attack) -> None:
    head = {"alg": "HS256", "typ": "at+jwt", "kid": "secret"}
    async with attack.door.rest(hs256(head, claims(attack.user), attack.keys.secret)) as rest:
        assert (await rest.get("/v1/me")).json()["name"] == "victim"


async def test_over_rest(attack: Attack) -> None:
    async with attack.door.rest() as rest:
        for name, token in attack.hostile.items():
            answer = await rest.get("/v1/me", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401, (name, answer.text)
            problem(answer, 401, "unauthenticated")
        assert (await rest.get("/v1/me", headers={"Authorization": f"Bearer {attack.token}"})).status_code == 200


async def test_to_mint_a_ticket_and_as_a_ticket(attack: Attack) -> None:
    async with attack.door.rest() as rest:
        for name, token in list(attack.hostile.items())[::5]:
            answer = await rest.post("/v1/auth/tickets", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401, name
    for name, token in attack.hostile.items():
        assert await handshake(attack, path=f"/v1/ws?ticket={token}") in REFUSED, name


REFUSED = {400, 401, 414, 431}  # the latter two: it is so long that nobody has read it


async def handshake(attack: Attack, *, path: str = "/v1/ws", headers: str = "") -> int:
    raw = await Raw.connect(attack.port)
    try:
        return await raw.upgrade(path, headers)
    finally:
        await raw.leave()


async def test_in_the_header_of_a_handshake(attack: Attack, caplog: pytest.LogCaptureFixture) -> None:
    for name, token in attack.hostile.items():
        assert await handshake(attack, headers=f"Authorization: Bearer {token}\r\n") in REFUSED, name
    assert not caplog.records, "who is refused cannot fill the log"
    assert await handshake(attack, headers=f"Authorization: Bearer {attack.token}\r\n") == 101


async def test_as_a_subprotocol(attack: Attack) -> None:
    for name, token in attack.hostile.items():
        assert await handshake(attack, headers=f"Sec-WebSocket-Protocol: hub.v1, bearer.{token}\r\n") in REFUSED, name
    assert await handshake(attack, headers=f"Sec-WebSocket-Protocol: hub.v1, bearer.{attack.token}\r\n") == 101


async def test_in_the_first_frame(attack: Attack) -> None:
    for name, token in attack.hostile.items():
        raw = await Raw.open(attack.port, "/v1/ws")
        raw.send(frame(json.dumps({"id": "1", "type": "auth", "token": token}).encode()))
        assert await raw.close_code() == 4501, name
        await raw.leave()


async def test_to_renew_an_open_connection(attack: Attack) -> None:
    async with await attack.door.enter(attack.token) as person:
        for name, token in attack.hostile.items():
            with pytest.raises(Refused) as refused:
                await person.ask("auth", token=token)
            assert refused.value.code in ("unauthenticated", "bad_request"), name
        assert (await person.ask("auth", token=attack.token))["user"]["name"] == "victim"


async def test_to_refresh_and_to_sign_out(attack: Attack) -> None:
    async with attack.door.rest() as rest:
        for name, token in attack.hostile.items():
            if name != "a refresh token":
                form = {"grant_type": "refresh_token", "refresh_token": token}
                assert (await rest.post("/v1/auth/token", data=form)).status_code in (400, 401), name
                answer = await rest.post("/v1/auth/revoke", data={"token": token})
                assert answer.status_code in (200, 400), name
        # Nobody was signed out by any of them.
        assert (await rest.get("/v1/me", headers={"Authorization": f"Bearer {attack.token}"})).status_code == 200


# ---- keys


async def test_the_public_keys_are_published_and_verify(attack: Attack) -> None:
    async with attack.door.rest() as rest:
        answer = await rest.get("/.well-known/jwks.json")
    keys = {key["kid"]: key for key in answer.json()["keys"]}
    assert set(keys) == {"ec", "rsa"}, "a secret is never published"
    assert {(key["alg"], key["use"]) for key in keys.values()} == {("ES256", "sig"), ("RS256", "sig")}
    assert not any(part in key for key in keys.values() for part in ("d", "p", "q", "k"))
    header = jwt.get_unverified_header(attack.token)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": "ec"}
    said = jwt.decode(attack.token, keys["ec"], algorithms=["ES256"], audience="agent-hub", issuer="agent-hub")
    assert said["sub"] == attack.user


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "no unencrypted PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no unencrypted PEM"),
        ("rsa 1024", "2048"),
        ("p384", "P-256"),
        ("ed25519", "RSA and P-256"),
        ("encrypted", "no unencrypted PEM"),
    ],
)
def test_a_key_that_is_not_taken(pem: bytes | str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pem_key(made_to_fail(pem) if isinstance(pem, str) else pem)


def made_to_fail(kind: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    keys: dict[str, Any] = {
        "rsa 1024": lambda: rsa.generate_private_key(65537, 1024),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "encrypted": lambda: ec.generate_private_key(ec.SECP256R1()),
    }
    lock = BestAvailableEncryption(b"x") if kind == "encrypted" else NoEncryption()
    pem: bytes = keys[kind]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    return pem


def test_a_short_secret_is_not_taken() -> None:
    with pytest.raises(ValueError, match="32"):
        secret_key(b"x" * 31)


def test_a_secret_that_looks_like_a_public_key_is_a_secret() -> None:
    pem = Signers.make().rsa_public
    assert secret_key(pem).algorithm == "HS256"


def test_the_first_key_must_be_able_to_sign(tmp_path: Path, dsn: str, redis_url: str) -> None:
    (tmp_path / "public.pem").write_bytes(Signers.make().ec_public)
    keys = signing_keys(settings_for(dsn, redis_url, key_files=f"ec:{tmp_path / 'public.pem'}"))
    assert [key.signing is None for key in keys.values()] == [True, False]


@pytest.mark.parametrize("value", ["ec", ":x", "ec:/nonexistent", "test:/nonexistent"])
def test_key_files_that_are_not_given_properly(value: str, dsn: str, redis_url: str) -> None:
    with pytest.raises(ValueError, match="key file"):
        signing_keys(settings_for(dsn, redis_url, key_files=value))


# ---- rotation


OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


async def test_keys_are_rotated_under_load_and_nobody_notices(cluster: Cluster, valkey_server: str) -> None:
    """Publish, sign, retire: at each step one worker has it already and the other has not."""
    dsn = await cluster.clone()
    steps = [f"old:{OLD}", f"old:{OLD},new:{NEW}", f"new:{NEW},old:{OLD}", f"new:{NEW}"]
    settings = [settings_for(dsn, valkey_server, secret_keys=keys) for keys in steps]
    async with running_worker(settings[0]) as door:
        await door.register("ada")
        for step in range(1, len(steps)):
            async with running_worker(settings[step - 1]) as before, running_worker(settings[step]) as after:
                if step == 3:  # the old key is retired when its last token has ended: these were signed by the new one
                    assert await spurious(before, after, [await before.sign_in("ada")]) == 0
                else:
                    tokens = [await before.sign_in("ada"), await after.sign_in("ada")]
                    assert await spurious(before, after, tokens) == 0
    # The test can fail: signing before publishing is noticed.
    async with running_worker(settings[0]) as before, running_worker(settings[2]) as after:
        assert await spurious(before, after, [await after.sign_in("ada")]) > 0
    await cluster.drop(dsn)


async def spurious(one: Door, two: Door, tokens: list[str]) -> int:
    """How many of a crowd's calls to both workers are answered with 401."""
    refused = 0

    async def call(door: Door, token: str) -> None:
        nonlocal refused
        async with door.rest(token) as rest:
            for _ in range(10):
                answer = await rest.get("/v1/me")
                refused += answer.status_code == 401

    async with asyncio.TaskGroup() as tasks:
        for token in tokens:
            for door in (one, two):
                tasks.create_task(call(door, token))
    return refused
