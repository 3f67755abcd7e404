"""Secrets and words that are planted everywhere turn up in no log, metric, error, or file beside the database."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.driver import Door
from tests.process.serving import serving
from tests.provider import CLIENT, OpenIdProvider, openid_provider

MODEL_KEYS = ("model-key", "other-model-key")
MODELS = """models:
  claude: {provider: anthropic, name: c, api_key_env: CLAUDE_KEY, base_url: http://127.0.0.1:1, fallbacks: [openai]}
"""


def canary(what: str) -> str:
    """A word that nobody else writes."""
    return f"canary-{what}-{uuid.uuid4().hex}"


class Plot:
    """Everything that is planted, by what it is, and every error that came back."""

    def __init__(self, provider: OpenIdProvider) -> None:
        self.provider = provider
        self.planted = {
            what: canary(what) for what in (*MODEL_KEYS, "password", "subject", "text", "title", "junk", "bad-token")
        }
        self.planted["client secret"] = canary("client-secret")
        self.errors: list[str] = []

    async def play(self, door: Door) -> str:
        """Use all of it, rightly and wrongly; gives the metrics."""
        words = self.planted
        async with door.rest() as rest:

            async def post(path: str, **given: Any) -> Any:
                answer = await rest.post(path, **given)
                if answer.is_error:
                    self.errors.append(answer.text)
                return answer.json()

            account = {"name": "ann", "password": words["password"]}
            await post("/v1/auth/register", json=account)
            await post("/v1/auth/register", json=account)  # taken
            await post("/v1/auth/register", json={**account, "extra": words["junk"]})
            await post("/v1/auth/token", data={"grant_type": "password", "username": "x", "password": words["junk"]})
            await self.sign_in_by_provider(rest)
            form = {"grant_type": "password", "username": "ann", "password": words["password"]}
            pair = await post("/v1/auth/token", data=form)
            words["token"], words["refresh token"] = pair["access_token"], pair["refresh_token"]
            await post("/v1/auth/token", data={"grant_type": "refresh_token", "refresh_token": words["bad-token"]})
            await rest.get("/v1/me", params={"access_token": words["token"]})
            await rest.get("/v1/me", headers={"Authorization": f"Bearer {words['bad-token']}"})
            rest.headers["Authorization"] = f"Bearer {words['token']}"
            words["API key"] = (await post("/v1/api-keys", json={"name": "bot"}))["key"]
            words["ticket"] = (await post("/v1/auth/tickets"))["ticket"]
            await post("/v1/sessions", json={"team": words["junk"], "title": [words["title"]]})
            teams = [team["name"] for team in (await rest.get("/v1/teams")).json()["items"]]
            for team in ("scripted", next(name for name in teams if not name.startswith("scripted"))):
                session = (await post("/v1/sessions", json={"team": team, "title": words["title"]}))["id"]
                await self.talk(door, session)
            async with connect(f"{door.ws_url}?ticket={words['ticket']}", proxy=None):
                pass
            for query in (f"?ticket={words['ticket']}", f"?token={words['token']}", f"?ticket={words['bad-token']}"):
                with pytest.raises(InvalidStatus):
                    await connect(door.ws_url + query, proxy=None)
            await self.take_away(rest, session)
            return (await rest.get("/metrics")).text

    async def sign_in_by_provider(self, rest: httpx2.AsyncClient) -> None:
        """Rightly, with a token that is refused, with another's code, and with nonsense."""
        words, provider = self.planted, self.provider
        for number, claims in enumerate(
            ({"nonce": words["junk"]}, {"sub": words["subject"], "name": words["junk"][:60]})
        ):
            provider.claims = claims
            begun = await rest.get("/v1/auth/oidc")
            back = await rest.get(provider.authorise(urlsplit(begun.headers["location"]).query))
            self.errors.append(back.headers["location"].partition("=")[2] if number == 0 else "")
            words |= {f"{what} {number}": secret for what, secret in provider.seen.items()}
        words["browser's secret"] = rest.cookies["hub-oidc"]
        words["one-time code"] = back.headers["location"].partition("=")[2]
        pair = (await rest.post("/v1/auth/oidc/token", json={"code": words["one-time code"]})).json()
        words |= {"their token": pair["access_token"], "their refresh token": pair["refresh_token"]}
        for path in (f"?state={words['junk']}&code={words['bad-token']}", f"?error={words['junk']}"):
            self.errors.append((await rest.get(f"/v1/auth/oidc/callback{path}")).headers["location"])
        self.errors.append((await rest.post("/v1/auth/oidc/token", json={"code": words["bad-token"]})).text)
        begun = await rest.get("/v1/auth/oidc")
        provider.answer = 400, json.dumps({"error": words["junk"], "error_description": words["junk"]}).encode()
        self.errors.append(
            (await rest.get(provider.authorise(urlsplit(begun.headers["location"]).query))).headers["location"]
        )
        rest.cookies.clear()

    async def take_away(self, rest: httpx2.AsyncClient, session: str) -> None:
        """Exports hold what was said, and go to whoever asked; who is refused, and who is erased, is told nothing."""
        for path in ("/v1/me/export", f"/v1/sessions/{session}/export"):
            assert self.planted["text"] in (await rest.get(path)).text
        for path in (f"/v1/admin/users/{self.planted['junk']}/export", f"/v1/sessions/{self.planted['junk']}/export"):
            self.errors.append((await rest.get(path)).text)
        for word in ("junk", "password"):
            answer = await rest.request("DELETE", "/v1/me", json={"password": self.planted[word]})
            self.errors.append(answer.text)
        assert answer.is_success

    async def talk(self, door: Door, session: str) -> None:
        """A message that is answered (or whose model cannot be reached), and frames that are none."""
        async with connect(f"{door.ws_url}?ticket={await self.ticket(door)}", proxy=None) as socket:
            command = {"session": session, "text": self.planted["text"], "client_id": self.planted["junk"][:60]}
            for frame in (
                {"id": "1", "type": "session.join", "session": session},
                {"id": "2", "type": "message.send", **command},
                {"id": "3", "type": "message.send", **command, "text": self.planted["text"] + " other"},
                {"id": "4", "type": "no.such.command", "text": self.planted["junk"]},
                {"id": "5", "type": "auth", "token": self.planted["bad-token"]},
                {"id": "6", "type": "ping", "extra": self.planted["junk"]},
            ):
                await socket.send(json.dumps(frame))
            await socket.send(self.planted["junk"])
            async with asyncio.timeout(60):
                while True:
                    for line in str(await socket.recv()).split("\n"):
                        frame = json.loads(line)
                        if frame.get("ok") is False:
                            self.errors.append(json.dumps(frame["error"]))
                        if frame["type"] == "run.finished":
                            self.errors.append(json.dumps(frame["data"].get("error")))
                            return

    async def ticket(self, door: Door) -> str:
        async with door.rest(self.planted["token"]) as rest:
            ticket = (await rest.post("/v1/auth/tickets")).json()["ticket"]
            self.planted[f"used ticket {len(self.planted)}"] = ticket
            return str(ticket)


def files(data_dir: Path) -> Iterator[Path]:
    """Everything the hub wrote, but the database itself."""
    for path in data_dir.parent.rglob("*"):
        in_database = any((parent / "PG_VERSION").exists() for parent in path.parents)
        if path.is_file() and not in_database:
            yield path


def test_what_is_secret_or_said_is_nowhere_but_in_the_database(data_dir: Path) -> None:
    with openid_provider() as provider:
        look(data_dir, Plot(provider))


def look(data_dir: Path, plot: Plot) -> None:
    """Play it on a hub of its own, and look everywhere."""
    plot.provider.secret = plot.planted["client secret"]
    models = data_dir.with_name("models.yaml")
    models.write_text(MODELS)
    variables = {
        "HUB_LOG_LEVEL": "debug",
        "HUB_LOG_FORMAT": "json",
        "HUB_DEFAULT_MODEL": "claude",
        "HUB_MODELS_FILE": str(models),
        "CLAUDE_KEY": plot.planted["other-model-key"],
        "HUB_OPENAI_BASE_URL": "http://127.0.0.1:1/v1",  # nobody listens: the error is the interesting part
        "HUB_OPENAI_API_KEY": plot.planted["model-key"],
        "HUB_OIDC_ISSUER": plot.provider.url,
        "HUB_OIDC_CLIENT_ID": CLIENT,
        "HUB_OIDC_CLIENT_SECRET": plot.planted["client secret"],
    }
    with serving(data_dir, **variables) as hub:
        metrics = asyncio.run(plot.play(Door(hub.url)))
        assert hub.end() == 0
    looked_at = {str(path): path.read_bytes() for path in files(data_dir)}
    assert any(name.endswith("serve.log") for name in looked_at)
    assert any(name.endswith("postgres.log") for name in looked_at), sorted(looked_at)
    looked_at |= {"metrics": metrics.encode(), "errors": "\n".join(plot.errors).encode()}
    assert len(plot.errors) >= 8
    found = [
        f"{what} in {where}" for where, text in looked_at.items() for what, word in plot.planted.items()
        if word.encode() in text
    ]  # fmt: skip
    assert not found, "\n".join(found)
    # It can be found: the text stands in the database, or at least in its write-ahead log, for its author was erased.
    heap = b"".join(
        path.read_bytes() for path in data_dir.rglob("*") if path.is_file() and {"base", "pg_wal"} & {*path.parts}
    )
    assert plot.planted["text"].encode() in heap
    assert plot.planted["password"].encode() not in heap
    assert plot.planted["subject"].encode() in heap
    for what in ("client secret", "one-time code", "ID token 1", "verifier 1", "their refresh token"):
        assert plot.planted[what].encode() not in heap, what
    assert plot.planted["API key"].split("_", 2)[2].encode() not in heap
