"""A user to put load on a hub with: registered for the purpose, or given."""

import json
import secrets
import threading
import time
import urllib.parse
import urllib.request
from typing import Any

RENEW_AFTER_S = 600.0  # an access token lives 900 s by default


class Account:
    """A sign-in at the hub at `url`. `token` gives one that lasts at least five more minutes on a default hub."""

    def __init__(self, url: str, name: str | None = None, password: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._name = name or f"load-{secrets.token_hex(6)}"
        self._password = password or secrets.token_urlsafe(18)
        self._given = name is not None
        self._one_at_a_time = threading.Lock()
        self._token = ""
        self._since = float("-inf")

    def token(self) -> str:
        """An access token; registers on first use unless the account was given. Raises `urllib.error.HTTPError`."""
        with self._one_at_a_time:
            return self._current()

    def form(self) -> dict[str, str]:
        """What signs it in, as a form."""
        return {"grant_type": "password", "username": self._name, "password": self._password}

    def get(self, path: str) -> Any:
        """Read something as this user. Raises `urllib.error.HTTPError`."""
        return self._call(path, None, {"Authorization": f"Bearer {self.token()}"})

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask for something as this user. Raises `urllib.error.HTTPError`."""
        head = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"}
        return self._call(path, json.dumps(body).encode() if body is not None else b"", head)

    def _current(self) -> str:
        if time.monotonic() - self._since < RENEW_AFTER_S:
            return self._token
        if not self._token and not self._given:
            body = json.dumps({"name": self._name, "password": self._password}).encode()
            self._call("/v1/auth/register", body, {"Content-Type": "application/json"})
        answer = self._call("/v1/auth/token", urllib.parse.urlencode(self.form()).encode())
        self._token, self._since = str(answer["access_token"]), time.monotonic()
        return self._token

    def _call(self, path: str, body: bytes | None, head: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(self._url + path, body, head or {})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
