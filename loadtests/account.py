"""A user to put load on a hub with: registered for the purpose, or given."""

import json
import secrets
import time
import urllib.parse
import urllib.request

RENEW_AFTER_S = 600.0  # an access token lives 900 s by default


class Account:
    """A sign-in at the hub at `url`. `token` gives one that lasts at least five more minutes on a default hub."""

    def __init__(self, url: str, name: str | None = None, password: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._name = name or f"load-{secrets.token_hex(6)}"
        self._password = password or secrets.token_urlsafe(18)
        self._given = name is not None
        self._token = ""
        self._since = float("-inf")

    def token(self) -> str:
        """An access token; registers on first use unless the account was given. Raises `urllib.error.HTTPError`."""
        if time.monotonic() - self._since < RENEW_AFTER_S:
            return self._token
        if not self._token and not self._given:
            body = json.dumps({"name": self._name, "password": self._password}).encode()
            self._post("/v1/auth/register", body, "application/json")
        form = {"grant_type": "password", "username": self._name, "password": self._password}
        answer = self._post(
            "/v1/auth/token", urllib.parse.urlencode(form).encode(), "application/x-www-form-urlencoded"
        )
        self._token, self._since = str(answer["access_token"]), time.monotonic()
        return self._token

    def _post(self, path: str, body: bytes, content_type: str) -> dict[str, object]:
        request = urllib.request.Request(self._url + path, body, {"Content-Type": content_type})
        with urllib.request.urlopen(request, timeout=20) as answer:
            found: dict[str, object] = json.load(answer)
            return found
