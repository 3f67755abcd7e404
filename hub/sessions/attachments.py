"""Uploading what messages are to have beside their words, and fetching it."""

import asyncio
import codecs
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hub.auth.policy import Action
from hub.auth.shares import Shares
from hub.domain.attachment import ALLOWED, TEXTS, Attachment, NotAllowed, clean_name, media_type_of
from hub.domain.errors import BadRequest, Conflict, Forbidden, HubError, NotFound, TooLarge, Unavailable
from hub.domain.ids import AttachmentId, SessionId, new_id, parse_id
from hub.domain.principal import Principal
from hub.sessions.access import reach, session_id, stay
from hub.store import attachments
from hub.store.attachments import PIECE
from hub.store.database import Store

IDLE_S = 15.0  # between two parts of an upload
UPLOAD_S = 110.0
UPLOADS = 32  # at once, in this worker: each holds a piece
UPLOADS_OF_ONE = 8  # of them: a user with slow uploads would keep everybody from theirs
PER_SESSION = 1_000
NO_SUCH = "no such attachment"


@dataclass(frozen=True, slots=True)
class Quotas:
    """Bytes: of one attachment, of all in a session, and of all that a user is charged for. 0 for one: there are
    none."""

    one: int
    session: int
    user: int


class Attachments:
    """Uploads and downloads. `at_once` bounds the uploads of this worker, `each` those of one user, `per_session` the
    attachments of a session; `idle_s` is how long is waited for the next part of an upload, in seconds.

    `bytes_kept` counts what was uploaded here, and `refused` what was not, by reason."""

    def __init__(
        self,
        store: Store,
        quotas: Quotas,
        *,
        at_once: int = UPLOADS,
        each: int = UPLOADS_OF_ONE,
        per_session: int = PER_SESSION,
        idle_s: float = IDLE_S,
    ) -> None:
        self._store = store
        self._quotas = quotas
        self._at_once = at_once
        self._per_session = per_session
        self._idle_s = idle_s
        self._under_way = 0
        self._shares = Shares("uploads", each)
        self.bytes_kept = 0
        self.refused = Counter[tuple[str, ...]]()

    async def upload(
        self,
        principal: Principal,
        session: str,
        body: AsyncIterator[bytes],
        *,
        name: str,
        media_type: str | None,
        size: int | None,
    ) -> Attachment:
        """Keep the content for a message that the caller will send; `media_type` and `size` are what they say about it.
        Without a message it is gone after a day.

        Raises `TooLarge` for what is larger than allowed, or than what is left in the session or to the user, with
        `details.reason`, `BadRequest` for content of a kind that is not taken, or that ends early or does not come in
        time, `RateLimited` when too many of this user are under way, and `Unavailable` when too many of all are.
        """
        id_ = session_id(session)
        try:
            most = self._quotas.one if size is None else size
            if most > self._quotas.one or not self._quotas.one:
                raise too_large("attachment", self._quotas.one)
            with self._place(principal):
                kept = await self._in_time(principal, id_, body, name, media_type, most)
        except HubError as e:
            self.refused[str(e.details.get("reason", e.code)),] += 1
            raise
        self.bytes_kept += kept.size
        return kept

    async def discard(self, principal: Principal, session: str, attachment: str) -> None:
        """Remove what the caller has uploaded and not sent. Raises `Forbidden` for what others have uploaded,
        `Conflict` for what a message has, and `NotFound`."""
        id_, parsed = session_id(session), parse_id(attachment)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, Action.SEND)
            if parsed is None:
                raise NotFound(NO_SUCH)
            if await attachments.discard(db, id_, AttachmentId(parsed), principal.user):
                return
            found = await attachments.get(db, id_, AttachmentId(parsed))
        if found is None:
            raise NotFound(NO_SUCH)
        if found.user != principal.user:
            raise Forbidden("somebody else has uploaded this")
        raise Conflict("a message has it", details={"reason": "sent"})

    async def get(self, principal: Principal, session: str, attachment: str) -> Attachment:
        """What the session's members may know of an attachment. Raises `NotFound`."""
        id_, parsed = session_id(session), parse_id(attachment)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, Action.FETCH)
            found = await attachments.get(db, id_, AttachmentId(parsed)) if parsed is not None else None
        if found is None:
            raise NotFound(NO_SUCH)
        return found

    async def content(self, principal: Principal, attachment: Attachment) -> AsyncGenerator[bytes]:
        """Its content, read piece by piece; access and the credential are checked with each. Raises `NotFound` and
        `Unauthenticated`."""
        for number in range(-(-attachment.size // PIECE)):
            async with self._store.transaction(person=principal.user, session=attachment.session) as db:
                await reach(db, principal, attachment.session, Action.FETCH)
                if number:
                    await stay(db, principal)
                piece = await attachments.piece(db, attachment.session, attachment.id, number)
            if piece is None:
                raise NotFound(NO_SUCH)
            yield piece

    @contextmanager
    def _place(self, principal: Principal) -> Iterator[None]:
        if self._under_way >= self._at_once:
            raise Unavailable("too many uploads are under way", retry_after=2.0)
        self._under_way += 1
        try:
            with self._shares.held(principal.user):
                yield
        finally:
            self._under_way -= 1

    async def _in_time(
        self,
        principal: Principal,
        session: SessionId,
        body: AsyncIterator[bytes],
        name: str,
        media_type: str | None,
        most: int,
    ) -> Attachment:
        parts = _Parts(body, self._quotas.one, self._idle_s)
        try:
            async with asyncio.timeout(UPLOAD_S):
                return await self._receive(principal, session, parts, name, media_type, most)
        except TimeoutError as e:
            raise BadRequest("the body did not arrive in time") from e

    async def _receive(
        self, principal: Principal, session: SessionId, parts: "_Parts", name: str, media_type: str | None, most: int
    ) -> Attachment:
        first = await parts.next()
        if not first:
            raise BadRequest("there is nothing in the body")
        try:
            kind = media_type_of(first, media_type)
        except NotAllowed as e:
            raise _not_allowed(str(e)) from None
        attachment = AttachmentId(new_id())
        async with self._store.transaction(person=principal.user, session=session) as db:
            await reach(db, principal, session, Action.SEND, lock=True)
            in_session, count = await attachments.used(db, session)
            if in_session + most > self._quotas.session or count >= self._per_session:
                raise too_large("session_quota", self._quotas.session)
            if await attachments.charged(db, principal.user) + most > self._quotas.user:
                raise too_large("user_quota", self._quotas.user)
            await attachments.begin(
                db, session, attachment, principal.user, name=clean_name(name), media_type=kind, size=most
            )
        try:
            size, sha256 = await self._keep(principal, session, attachment, parts, first, most, _Text.of(kind))
            async with self._store.transaction(person=principal.user, session=session) as db:
                await reach(db, principal, session, Action.SEND)
                kept = await attachments.end(db, session, attachment, size=size, sha256=sha256)
        except (BadRequest, TooLarge, NotFound, Forbidden):
            await self._give_up(session, attachment)
            raise  # what is cut off otherwise is swept away an hour later
        if kept is None:
            raise NotFound(NO_SUCH)
        return kept

    async def _keep(
        self,
        principal: Principal,
        session: SessionId,
        attachment: AttachmentId,
        parts: "_Parts",
        piece: bytes,
        most: int,
        check: "_Text | None",
    ) -> tuple[int, bytes]:
        """Size and digest of what was kept, from the first piece on."""
        digest, size, number = hashlib.sha256(), 0, 0
        while piece:
            digest.update(piece)
            size += len(piece)
            if size > most:
                raise BadRequest("the body is longer than it was said to be")
            if check is not None:
                check.take(piece, last=len(piece) < PIECE)
            async with self._store.transaction(person=principal.user, session=session) as db:
                await attachments.add(db, session, attachment, number, piece)
            piece, number = await parts.next(), number + 1
        return size, digest.digest()

    async def _give_up(self, session: SessionId, attachment: AttachmentId) -> None:
        """Whoever has no rights here any more leaves nothing either."""
        async with self._store.transaction() as db:
            await attachments.drop(db, session, attachment)


async def described(
    store: Store, session: SessionId, wanted: Sequence[AttachmentId]
) -> Mapping[AttachmentId, Attachment]:
    """What is known of those of these that were sent in the session, for whoever speaks there. Raises `Unavailable`."""
    async with store.statements() as db:
        return await attachments.described(db, session, wanted)


class _Parts:
    """A body in pieces of one size, the last one shorter or empty."""

    def __init__(self, body: AsyncIterator[bytes], most: int, idle_s: float) -> None:
        self._body = body
        self._most = most
        self._idle_s = idle_s
        self._seen = 0
        self._buffer = bytearray()
        self._ended = False

    async def next(self) -> bytes:
        """The next piece; empty after the last one. Raises `TooLarge`, and `BadRequest` when nothing comes."""
        while len(self._buffer) < PIECE and not self._ended:
            try:
                async with asyncio.timeout(self._idle_s):
                    part = await anext(self._body, None)
            except TimeoutError as e:
                raise BadRequest("the body did not arrive in time") from e
            if part is None:
                self._ended = True
                break
            self._seen += len(part)
            if self._seen > self._most:
                raise too_large("attachment", self._most)
            self._buffer += part
        piece = bytes(self._buffer[:PIECE])
        del self._buffer[:PIECE]
        return piece


class _Text:
    """Whether content is text all through."""

    @classmethod
    def of(cls, media_type: str) -> "_Text | None":
        """What to look at content of this kind with, if it is to be text."""
        return cls() if media_type in TEXTS else None

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def take(self, piece: bytes, *, last: bool) -> None:
        """Raises `BadRequest` at the first piece that is none."""
        try:
            text = self._decoder.decode(piece, last)
        except UnicodeDecodeError:
            text = "\x00"
        if "\x00" in text:
            raise _not_allowed("this kind of content is not taken")


def too_large(reason: str, limit: int) -> TooLarge:
    """The error for what does not fit: `attachment`, `session_quota` or `user_quota`."""
    words = {
        "attachment": "the attachment is too large",
        "session_quota": "the session has no room for more attachments",
        "user_quota": "you have no room for more attachments",
    }
    return TooLarge(words[reason], details={"reason": reason, "max_bytes": limit})


def _not_allowed(why: str) -> BadRequest:
    return BadRequest(why, details={"reason": "media_type", "allowed": list(ALLOWED)})
