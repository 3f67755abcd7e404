"""Which session and which team: what was asked for, found among what there is."""

import json
from collections.abc import Sequence

from hub.protocol.pieces import SessionData
from hub.protocol.results import TeamResult
from hub_client.chat.places import Places
from hub_client.chat.signins import replace_privately
from hub_client.errors import RequestFailed

PREFERRED_TEAM = "duo"
TITLE_CHARS = 60


def choose_team(teams: Sequence[TeamResult], wanted: str | None) -> TeamResult:
    """The team of this name, or the usual one. Raises `RequestFailed` when there is none."""
    by_name = {team.name: team for team in teams}
    if wanted:
        if wanted not in by_name:
            raise RequestFailed("not_found", f"there is no team {wanted!r}; there are: {', '.join(by_name)}")
        return by_name[wanted]
    if not teams:
        raise RequestFailed("not_found", "this hub has no teams")
    return by_name.get(PREFERRED_TEAM, teams[0])


def called(session: SessionData) -> str:
    """What a session is called in a list: its title, or else how its first message begins."""
    return session.title or " ".join((session.preview or "").split())[:TITLE_CHARS] or "(no title)"


def choose_session(sessions: Sequence[SessionData], which: str) -> SessionData:
    """The session meant by a number (from 1), an id or its beginning, or a part of the title, or of how the
    first message begins where there is none.

    Raises `RequestFailed` when there is none, or more than one by title.
    """
    if which.isdecimal() and 1 <= int(which) <= len(sessions):
        return sessions[int(which) - 1]
    by_id = [session for session in sessions if session.id.startswith(which.casefold())]
    by_title = [
        session for session in sessions if which.casefold() in (session.title or session.preview or "").casefold()
    ]
    for found in (by_id, by_title):
        if len(found) == 1:
            return found[0]
        if found:
            raise RequestFailed("conflict", f"{which!r} may mean {len(found)} sessions; /sessions lists them")
    raise RequestFailed("not_found", f"no session is meant by {which!r}; /sessions lists them")


class LastSessions:
    """The session one was in last, for each hub."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._path = places.state / "last-sessions.json"

    def get(self, url: str) -> str | None:
        """The id of the last session at this hub."""
        found = self._read().get(url)
        return found if isinstance(found, str) else None

    def put(self, url: str, session: str) -> None:
        """This is the last one now."""
        self._places.make()
        replace_privately(self._path, json.dumps({**self._read(), url: session}, indent=1))

    def _read(self) -> dict[str, object]:
        try:
            read = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}
