"""An OpenID provider for tests: a real HTTP server that signs ID tokens, and misbehaves when it is told to."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwk, jws

Json = dict[str, Any]
CLIENT, SECRET = "hub-client", "a secret/with: odd+characters%"


@cache
def rsa_key(name: str) -> tuple[str, Json]:
    """A private key as PEM and its public half as a JWK, made once per process."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = jwk.construct(pem, "RS256").public_key().to_dict()
    return pem, {**public, "kid": name, "use": "sig"}


def segment(value: Json | bytes) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


class OpenIdProvider:
    """`person` is who signs in next: their claims. `claims` and `header` change what a token says (`...`: not there),
    `sign` how it is signed, `description` the discovery document, `answer` what the token endpoint says; with `drips`
    answers come byte by byte until it is set, `filler` makes those with tokens longer, `moved` has them elsewhere.
    `asked` counts requests by path; `seen` is everything that was secret on the way, by what it is."""

    def __init__(self) -> None:
        self.url = ""
        self.reset()

    def reset(self) -> None:
        """Well-behaved again."""
        self.person: Json = {"sub": secrets.token_hex(8)}
        self.claims: Json = {}
        self.header: Json = {}
        self.description: Json = {}
        self.answer: tuple[int, bytes] | None = None
        self.refuses: str | None = None
        self.names_itself: str | None = None
        self.sign: Callable[[Json, Json], str] = self.signed
        self.key = "one"
        self.secret = SECRET
        self.public = True
        self.drips: threading.Event | None = None
        self.filler = 0
        self.strange_keys: list[Any] = []
        self.moved = False
        self.asked: Counter[str] = Counter()
        self.requests: list[dict[str, str]] = []
        self.seen: dict[str, str] = {}
        self._codes: dict[str, dict[str, str]] = {}

    @property
    def settings(self) -> Json:
        """Of a hub that uses it."""
        return {"oidc_issuer": self.url, "oidc_client_id": CLIENT, "oidc_name": "Test ID", "oidc_client_secret": SECRET}

    def authorise(self, query: str) -> str:
        """What a browser is sent back to, as if the person had signed in at once."""
        asked = dict(parse_qsl(query, strict_parsing=True))
        self.requests.append(asked)
        back: dict[str, str] = {"state": asked["state"]}
        if self.refuses is not None:
            back["error"] = self.refuses
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = asked
            self.seen |= {"code": code, "state": asked["state"], "nonce": asked["nonce"]}
            back["code"] = code
        if self.names_itself is not None:
            back["iss"] = self.names_itself
        return asked["redirect_uri"] + "?" + urlencode(back)

    def discovery(self) -> Json:
        document: Json = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        return {name: value for name, value in (document | self.description).items() if value is not ...}

    def token(self, form: dict[str, str], authorization: str | None) -> tuple[int, Json]:
        """The answer for a code: once, to who has the secret and the verifier."""
        if authorization is not None:
            id_, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            if (unquote(id_), unquote(secret)) != (CLIENT, self.secret):
                return 401, {"error": "invalid_client"}
        elif (form.get("client_id"), form.get("client_secret")) != (CLIENT, None if self.public else self.secret):
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = segment(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        claims |= self.person | self.claims
        header = {"alg": "RS256", "kid": self.key, "typ": "JWT"} | self.header
        token = self.sign(*({k: v for k, v in part.items() if v is not ...} for part in (header, claims)))
        self.seen |= {"verifier": form["code_verifier"], "ID token": token}
        told = {"access_token": "nobody needs it", "token_type": "Bearer", "id_token": token}
        return 200, told | {"filler": "x" * self.filler}

    def keys(self) -> Json:
        return {"keys": [*self.strange_keys, rsa_key(self.key)[1]]}

    # ---- ways to sign

    def signed(self, header: Json, claims: Json) -> str:
        pem, _ = rsa_key(self.key)
        return str(jws.sign(claims, pem, {k: v for k, v in header.items() if k != "alg"}, "RS256"))

    def unsigned(self, header: Json, claims: Json) -> str:
        return f"{segment({**header, 'alg': 'none'})}.{segment(claims)}."

    def none_with_a_signature(self, header: Json, claims: Json) -> str:
        return f"{segment({**header, 'alg': 'none'})}.{segment(claims)}.{segment(b'x')}"

    def with_the_public_key_as_secret(self, header: Json, claims: Json) -> str:
        key = jwk.construct(rsa_key(self.key)[1], "RS256").public_key().to_pem()
        return self._hmac(key, {**header, "alg": "HS256"}, claims)

    def with_the_client_secret(self, header: Json, claims: Json) -> str:
        return self._hmac(SECRET.encode(), {**header, "alg": "HS256"}, claims)

    def by_somebody_else(self, header: Json, claims: Json) -> str:
        pem, _ = rsa_key("stranger")
        return str(jws.sign(claims, pem, {k: v for k, v in header.items() if k != "alg"}, "RS256"))

    def with_a_claim_twice(self, header: Json, claims: Json) -> str:
        pem, _ = rsa_key(self.key)
        text = (
            f"{segment(header)}.{segment(json.dumps(claims)[:-1].encode() + b', ' + json.dumps(claims)[1:].encode())}"
        )
        return f"{text}.{segment(jwk.construct(pem, 'RS256').sign(text.encode()))}"

    def with_a_critical_header(self, header: Json, claims: Json) -> str:
        return self.signed({**header, "crit": ["b64"], "b64": True}, claims)

    def too_long(self, header: Json, claims: Json) -> str:
        return self.signed(header, {**claims, "filler": "x" * 40_000})

    def _hmac(self, key: bytes, header: Json, claims: Json) -> str:
        text = f"{segment(header)}.{segment(claims)}"
        return f"{text}.{segment(hmac.digest(key, text.encode(), 'sha256'))}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: OpenIdProvider

    def do_GET(self) -> None:
        provider, url = self.provider, urlsplit(self.path)
        provider.asked[url.path] += 1
        match url.path:
            case "/.well-known/openid-configuration":
                self._say(200, json.dumps(provider.discovery()).encode())
            case "/keys":
                self._say(200, json.dumps(provider.keys()).encode())
            case "/authorize":
                self._say(303, b"", location=provider.authorise(url.query))
            case _:
                self._say(404, b"{}")

    def do_POST(self) -> None:
        provider = self.provider
        provider.asked[self.path] += 1
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if provider.answer is not None:
            self._say(*provider.answer)
            return
        if provider.moved and self.path == "/token":
            self._say(307, b"{}", location=f"{provider.url}/elsewhere")
            return
        form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
        status, told = provider.token(form, self.headers.get("authorization"))
        self._say(status, json.dumps(told).encode())

    def _say(self, status: int, body: bytes, location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if location is not None:
            self.send_header("location", location)
        self.end_headers()
        if (drips := self.provider.drips) is not None:
            with suppress(OSError):
                while not drips.wait(0.05):
                    self.wfile.write(b" ")
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def openid_provider() -> Iterator[OpenIdProvider]:
    """A provider that answers, in threads of its own."""
    provider = OpenIdProvider()

    class Handler(_Handler):
        pass

    Handler.provider = provider
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.url = f"http://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
