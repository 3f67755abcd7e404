"""The hub's REST interface, as far as a client of sessions needs it: sign-in, lists, exports, erasing oneself."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

from hub.protocol.events import AnyDurableEvent, DurableEvent
from hub.protocol.frames import parse_server_frame
from hub.protocol.pieces import Person, SessionData
from hub.protocol.results import (
    AttachmentResult,
    BudgetResult,
    InviteResult,
    MemberResult,
    NewInviteResult,
    OrganisationMemberResult,
    OrganisationResult,
    RunResult,
    SearchHit,
    SessionUsageResult,
    TeamResult,
    TranscriptMessage,
    UserUsageResult,
)
from hub_client.errors import NotSignedIn, RequestFailed, Unreachable

TIMEOUT_S = 10.0
UPLOAD_TIMEOUT_S = 120.0  # and for downloads
INVITE_MARK = "#invite="  # in the fragment, which browsers send to nobody


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a sign-in gives. `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: float


class Rest:
    """Calls of the REST interface at `url` (`http://host:port`).

    `bearer` gives the access token or API key; without it only `register`, `sign_in`, `refresh` work. Every call raises
    `RequestFailed` for an answer that is an error, `NotSignedIn` for 401, and `Unreachable` when there is no answer.
    """

    def __init__(self, url: str, bearer: Callable[[], Awaitable[str]] | None = None) -> None:
        self._http = httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_S)
        self._bearer = bearer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def use(self, bearer: Callable[[], Awaitable[str]]) -> None:
        """Sign requests with what `bearer` gives from now on."""
        self._bearer = bearer

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # ---- identity

    async def register(self, name: str, password: str) -> Person:
        """Make an account."""
        answer = await self._ask("POST", "/v1/auth/register", json={"name": name, "password": password})
        return Person.model_validate(answer.json())

    async def sign_in(self, name: str, password: str) -> Tokens:
        """Tokens for a name and a password."""
        return await self._tokens({"grant_type": "password", "username": name, "password": password})

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token, which is void afterwards."""
        return await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def revoke(self, refresh_token: str) -> None:
        """End a sign-in: the refresh token and all that came of it."""
        await self._ask("POST", "/v1/auth/revoke", data={"token": refresh_token})

    async def me(self) -> Person:
        """Whose credential this is."""
        return Person.model_validate((await self._signed("GET", "/v1/me")).json())

    # ---- organisations

    async def organisations(self) -> list[OrganisationResult]:
        """The organisations the caller belongs to."""
        return [OrganisationResult.model_validate(item) for item in await self._items("/v1/organisations")]

    async def organisation_members(self, org: str, limit: int = 200) -> list[OrganisationMemberResult]:
        """Who belongs to an organisation (id or name)."""
        items = await self._items(f"/v1/organisations/{quote(org, safe='')}/members", limit=limit)
        return [OrganisationMemberResult.model_validate(item) for item in items]

    async def put_organisation_member(self, org: str, user: str, role: str) -> None:
        """Let a user (id or name) belong to an organisation as `owner`, `admin` or `member`."""
        path = f"/v1/organisations/{quote(org, safe='')}/members/{quote(user, safe='')}"
        await self._signed("PUT", path, json={"role": role})

    async def remove_organisation_member(self, org: str, user: str) -> None:
        """Take a user out of an organisation and of all its sessions."""
        await self._signed("DELETE", f"/v1/organisations/{quote(org, safe='')}/members/{quote(user, safe='')}")

    # ---- what there is

    async def teams(self) -> list[TeamResult]:
        """The teams of this hub."""
        return [TeamResult.model_validate(item) for item in await self._items("/v1/teams")]

    async def sessions(self, limit: int = 50) -> list[SessionData]:
        """The caller's sessions, those with the newest activity first."""
        return [SessionData.model_validate(item) for item in await self._items("/v1/sessions", limit=limit)]

    async def session(self, session: str) -> SessionData:
        """One session."""
        return SessionData.model_validate((await self._signed("GET", f"/v1/sessions/{session}")).json())

    async def rename(self, session: str, title: str) -> None:
        """Give a session a title."""
        await self._signed("PATCH", f"/v1/sessions/{session}", json={"title": title})

    async def add_member(self, session: str, user: str, role: str) -> None:
        """Let a user (id or name) into a session, or change the role."""
        await self._signed("PUT", f"/v1/sessions/{session}/members/{quote(user, safe='')}", json={"role": role})

    async def members(self, session: str) -> list[MemberResult]:
        """Who may be in a session, and as what."""
        return [MemberResult.model_validate(item) for item in await self._items(f"/v1/sessions/{session}/members")]

    async def remove_member(self, session: str, user: str) -> None:
        """Take a user's (id or name) membership away."""
        await self._signed("DELETE", f"/v1/sessions/{session}/members/{quote(user, safe='')}")

    async def invite(
        self, session: str, role: str, *, max_uses: int = 1, expires_at: str | None = None
    ) -> NewInviteResult:
        """A link into a session for `max_uses` people; its token is shown this once. `expires_at` (RFC 3339) None: in 7
        days."""
        body = {"role": role, "max_uses": max_uses, **({"expires_at": expires_at} if expires_at else {})}
        answer = await self._signed("POST", f"/v1/sessions/{session}/invites", json=body)
        return NewInviteResult.model_validate(answer.json())

    async def invites(self, session: str, limit: int = 50) -> list[InviteResult]:
        """The links that let somebody into a session."""
        return [
            InviteResult.model_validate(item)
            for item in await self._items(f"/v1/sessions/{session}/invites", limit=limit)
        ]

    def link(self, token: str) -> str:
        """The address of the hub's page at which an invite can be accepted."""
        return f"{str(self._http.base_url).rstrip('/')}/{INVITE_MARK}{token}"

    async def revoke_invite(self, session: str, invite: str) -> None:
        """End a link."""
        await self._signed("DELETE", f"/v1/sessions/{session}/invites/{invite}")

    async def accept_invite(self, token: str) -> SessionData:
        """Become a member of the session that a link leads into."""
        answer = await self._signed("POST", "/v1/invites/accept", json={"token": token})
        return SessionData.model_validate(answer.json())

    async def delete(self, session: str) -> None:
        """Delete a session, for everybody."""
        await self._signed("DELETE", f"/v1/sessions/{session}")

    async def run(self, run: str) -> RunResult:
        """A run: its status, and what it has used."""
        return RunResult.model_validate((await self._signed("GET", f"/v1/runs/{run}")).json())

    async def usage(self, session: str) -> SessionUsageResult:
        """What a session has used of models, and what it cost."""
        return SessionUsageResult.model_validate((await self._signed("GET", f"/v1/sessions/{session}/usage")).json())

    async def own_usage(self, since: datetime | None = None, until: datetime | None = None) -> UserUsageResult:
        """What the runs that this user has asked for have used: in the last 30 days, or from when to when."""
        asked = {name: at.isoformat() for name, at in (("since", since), ("until", until)) if at is not None}
        return UserUsageResult.model_validate((await self._signed("GET", "/v1/me/usage", params=asked)).json())

    async def budgets(self, session: str) -> list[BudgetResult]:
        """The limits of a session and of its runs, and what is used of them."""
        return [BudgetResult.model_validate(one) for one in await self._items(f"/v1/sessions/{session}/budgets")]

    async def set_budget(self, session: str, scope: str, quantity: str, limit: float | None) -> list[BudgetResult]:
        """Set a limit of a session (`scope` session) or of each of its runs (`run`); None takes back what was set.
        Gives all limits."""
        body = {"scope": scope, "quantity": quantity, "limit": limit}
        answer = (await self._signed("PUT", f"/v1/sessions/{session}/budgets", json=body)).json()
        return [BudgetResult.model_validate(one) for one in answer["items"]]

    async def events(self, session: str, after_seq: int = 0, limit: int = 200) -> list[AnyDurableEvent]:
        """Up to `limit` (1,000 at most) events of the log after `after_seq`, without following the session. Events of
        types that this client does not know are left out."""
        params = {"after_seq": after_seq, "limit": limit}
        answer = await self._signed("GET", f"/v1/sessions/{session}/events", params=params)
        parsed = [parse_server_frame(json.dumps(item)) for item in answer.json()["items"]]
        return [event for event in parsed if isinstance(event, DurableEvent)]

    async def search(self, words: str, limit: int = 20) -> list[SearchHit]:
        """Messages in the caller's transcripts that hold these words, the newest first."""
        return [SearchHit.model_validate(item) for item in await self._items("/v1/search", q=words, limit=limit)]

    async def transcript(self, session: str) -> list[TranscriptMessage]:
        """All finished messages of a session."""
        answer = await self._signed("GET", f"/v1/sessions/{session}/transcript", params={"format": "json"})
        return [TranscriptMessage.model_validate(item) for item in answer.json()["messages"]]

    async def upload(
        self, session: str, content: bytes | AsyncIterable[bytes], *, name: str, media_type: str | None = None
    ) -> AttachmentResult:
        """Upload a picture, a PDF or a text, for a message to this session: `Session.send(attachments=[…])`. What no
        message has within a day is gone.

        Raises `RequestFailed`, among others `too_large`, and `bad_request` for a kind that is not taken.
        """
        path = f"/v1/sessions/{session}/attachments"
        given: dict[str, str] = {"Content-Type": media_type} if media_type is not None else {}
        answer = await self._signed(
            "POST", path, params={"name": name}, content=content, headers=given, timeout=UPLOAD_TIMEOUT_S
        )
        return AttachmentResult.model_validate(answer.json())

    async def download(self, session: str, attachment: str) -> bytes:
        """The content of an attachment."""
        path = f"/v1/sessions/{session}/attachments/{attachment}"
        return (await self._signed("GET", path, timeout=UPLOAD_TIMEOUT_S)).content

    async def discard(self, session: str, attachment: str) -> None:
        """Remove what this user has uploaded and no message has. Raises `RequestFailed`: `conflict` when one has it."""
        await self._signed("DELETE", f"/v1/sessions/{session}/attachments/{attachment}")

    async def export(self, session: str, form: str) -> str:
        """The transcript as text: `json`, `jsonl` or `markdown`."""
        return (await self._signed("GET", f"/v1/sessions/{session}/transcript", params={"format": form})).text

    async def export_session(self, session: str) -> AsyncGenerator[dict[str, Any]]:
        """Everything about a session, one object after the other, each with its `kind`: `export` first, `end` last.

        Raises `Unreachable` when the hub, or what lies between, has cut it off: only after `end` it is whole.
        """
        async for line in self._lines(f"/v1/sessions/{session}/export"):
            yield line

    async def export_me(self) -> AsyncGenerator[dict[str, Any]]:
        """Everything about the caller, as `export_session` gives that of a session."""
        async for line in self._lines("/v1/me/export"):
            yield line

    async def erase_me(self, password: str | None = None) -> str:
        """Erase the caller, for ever: the account, and all they have said. Who has a password gives it. Gives the id
        that is left; the credential has ended then."""
        body = {"password": password} if password is not None else {}
        erased: str = (await self._signed("DELETE", "/v1/me", json=body)).json()["user"]
        return erased

    # ---- asking

    async def _lines(self, path: str) -> AsyncGenerator[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {await self._token()}"}
        between, last = -1, {}
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=UPLOAD_TIMEOUT_S) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise _failure(answer)
                async for text in answer.aiter_lines():
                    last = json.loads(text)
                    between += last["kind"] != "end"
                    yield last
        except (httpx2.HTTPError, ValueError) as e:
            raise Unreachable(f"the export was cut off: {e or type(e).__name__}") from e
        if last.get("kind") != "end" or last["lines"] != between:
            raise Unreachable("the export was cut off")

    async def _token(self) -> str:
        if self._bearer is None:
            raise NotSignedIn("this call needs a sign-in")
        return await self._bearer()

    async def _tokens(self, form: dict[str, str]) -> Tokens:
        answer = (await self._ask("POST", "/v1/auth/token", data=form)).json()
        return Tokens(answer["access_token"], answer["refresh_token"], float(answer["expires_in"]))

    async def _items(self, path: str, **params: Any) -> list[Any]:
        items: list[Any] = (await self._signed("GET", path, params=params)).json()["items"]
        return items

    async def _signed(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any
    ) -> httpx2.Response:
        signed = {"Authorization": f"Bearer {await self._token()}", **(headers or {})}
        return await self._ask(method, path, headers=signed, **request)

    async def _ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        try:
            answer = await self._http.request(method, path, **request)
        except (httpx2.HTTPError, httpx2.InvalidURL) as e:
            raise Unreachable(f"no hub answers at {self._http.base_url}: {e or type(e).__name__}") from e
        if answer.is_error:
            raise _failure(answer)
        return answer


def _failure(answer: httpx2.Response) -> RequestFailed | NotSignedIn | Unreachable:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        return Unreachable(f"{answer.request.url.host} answered HTTP {answer.status_code}, and not like a hub")
    message = str(problem.get("detail") or problem.get("title") or problem["code"])
    if answer.status_code == httpx2.codes.UNAUTHORIZED:
        return NotSignedIn(message)
    return RequestFailed(
        str(problem["code"]),
        message,
        retryable=bool(problem.get("retryable")),
        retry_after=_seconds(answer.headers.get("Retry-After")),
        details=problem.get("details") if isinstance(problem.get("details"), dict) else None,
    )


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
