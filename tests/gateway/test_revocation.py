"""Open sockets on two workers, whose right to be there ends in every way and at any moment, and comes back, while Redis
comes and goes: nothing is taken from them and nothing delivered to them more than five seconds after an end.

`HUB_TEST_REVOCATIONS=100` plays so many, the suite plays two, the same each time.
"""

import os
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from hub.domain.session import Role
from tests.conftest import Cluster
from tests.gateway.revocation_world import PROMISED_S, Credential, Play, Socket, User, World, world

T = TypeVar("T")

IN_THE_SUITE = 2
PLAYS = int(os.environ.get("HUB_TEST_REVOCATIONS", IN_THE_SUITE))
STEPS = 20
USERS = 5
SOCKETS = 9
LATER_S = 0.4  # how long is looked for what must not come any more

KINDS = st.sampled_from(["sign-in", "key", "token", "short token"])
LIVES = st.floats(3, 6)  # of a short token, in seconds
WORKERS = st.integers(0, 1)

pytestmark = pytest.mark.timeout(300 + 60 * PLAYS)


class Season:
    """Plays one after the other, each watched on until its last end is five seconds ago, and judged then: what was
    broken is told with the story of its play. (It depends on the clock: a play that is played again is another one.)"""

    def __init__(self, world: World) -> None:
        self.world = world
        self.running: list[Play] = []
        self.begun = 0
        self.plays = self.credentials = self.rights = 0  # that were judged, and what ended in them
        self.wrong: list[str] = []

    def judge(self) -> None:
        """Judge the plays that are over."""
        for play in [p for p in self.running if p.last_end + PROMISED_S + LATER_S < time.monotonic()]:
            self.running.remove(play)
            wrong = play.judge(self.world.clients.lag_s)
            credentials, rights = play.shown()
            self.plays += 1
            self.credentials += credentials
            self.rights += rights
            self.world.clients.run(play.end())
            if wrong:
                self.wrong += [*wrong, "--- after:", *play.story]

    def close(self) -> None:
        """Judge the rest, when it is over."""
        while self.running:
            time.sleep(max(0, min(p.last_end for p in self.running) + PROMISED_S + LATER_S - time.monotonic()) + 0.01)
            self.judge()


class Revocations(RuleBasedStateMachine):
    def __init__(self, season: Season) -> None:
        super().__init__()
        self.season = season
        self.world = season.world
        self.play = Play(season.world)
        self.changes_of_redis = 0

    @initialize(entering=st.lists(st.tuples(KINDS, WORKERS, LIVES), min_size=USERS, max_size=USERS))
    def begin(self, entering: list[tuple[str, int, float]]) -> None:
        self.season.judge()
        if not self.world.redis:
            self.world.give_redis()
        self.run(self.play.begin(USERS, 2))
        for user, (kind, worker, life_s) in zip(self.play.users, entering, strict=True):
            self.run(self.play.enter(user, self.new_credential(user, kind, life_s), worker))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.world.clients.run(coroutine)

    # ---- whom it may befall

    def user(self, data: st.DataObject) -> User:
        return data.draw(st.sampled_from([user for user in self.play.users if user.active.there]), "user")

    def open_sockets(self) -> list[Socket]:
        return [s for s in self.play.sockets if s.spans() and s.credential.there and s.user.active.there]

    def living(self) -> list[str]:
        return [session for session, right in self.play.sessions.items() if right.there]

    def member(self, data: st.DataObject) -> tuple[User, str] | None:
        found = [
            (user, session) for user in self.play.users for session in self.living() if user.role(session) is not None
        ]
        return data.draw(st.sampled_from(found), "member") if found else None

    # ---- rules

    @precondition(lambda self: len(self.play.sockets) < SOCKETS and any(u.active.there for u in self.play.users))
    @rule(
        data=st.data(),
        kind=KINDS,
        worker=WORKERS,
        life_s=LIVES,
    )
    def enter(self, data: st.DataObject, kind: str, worker: int, life_s: float) -> None:
        user = self.user(data)
        credential = self.new_credential(user, kind, life_s)
        self.run(self.play.enter(user, credential, worker))

    def new_credential(self, user: User, kind: str, life_s: float) -> Credential:
        if kind == "sign-in":
            if user.signed_in.there:
                return user.signed_in
            kind = "token"
        return self.run(self.play.credential(user, kind, life_s if kind == "short token" else 3600))

    @precondition(lambda self: self.open_sockets())
    @rule(data=st.data(), kind=KINDS, life_s=LIVES)
    def renew(self, data: st.DataObject, kind: str, life_s: float) -> None:
        socket = data.draw(st.sampled_from(self.open_sockets()), "socket")
        self.run(self.play.renew(socket, self.new_credential(socket.user, kind, life_s)))

    @rule(seconds=st.floats(0, 0.8))
    def time_passes(self, seconds: float) -> None:
        time.sleep(seconds)

    @precondition(lambda self: self.changes_of_redis < 5)
    @rule()
    def redis_goes_or_comes(self) -> None:
        self.changes_of_redis += 1
        if self.world.redis:
            self.world.take_redis()
        else:
            self.world.give_redis()
        self.play.tell(f"Redis: {self.world.redis}")

    @precondition(lambda self: self.living())
    @rule(data=st.data(), role=st.sampled_from([Role.VIEWER, Role.APPROVER, Role.EDITOR]))
    def role_changes(self, data: st.DataObject, role: Role) -> None:
        session = data.draw(st.sampled_from(self.living()), "session")
        user = self.user(data) if any(user.active.there for user in self.play.users) else self.play.users[0]
        self.run(self.play.put(user, session, role))

    @precondition(lambda self: any(user.active.there for user in self.play.users))
    @rule(data=st.data(), by_owner=st.booleans())
    def membership_ends(self, data: st.DataObject, by_owner: bool) -> None:
        found = self.member(data)
        if found is not None and (by_owner or found[0].active.there):
            self.run(self.play.remove(*found, by_owner=by_owner))

    @precondition(lambda self: len(self.living()) > 1)
    @rule(data=st.data())
    def session_is_deleted(self, data: st.DataObject) -> None:
        self.run(self.play.delete(data.draw(st.sampled_from(self.living()), "session")))

    @precondition(lambda self: any(user.active.there for user in self.play.users))
    @rule(data=st.data())
    def key_is_revoked(self, data: st.DataObject) -> None:
        user = self.user(data)
        keys = [credential for credential in user.credentials if credential.kind == "key" and credential.there]
        if keys:
            self.run(self.play.revoke_key(user, data.draw(st.sampled_from(keys), "key")))

    @precondition(lambda self: any(user.active.there for user in self.play.users))
    @rule(data=st.data(), from_afar=st.booleans())
    def signs_out(self, data: st.DataObject, from_afar: bool) -> None:
        user = self.user(data)
        if user.signed_in.there:
            self.run(self.play.sign_out(user, from_afar=from_afar))

    @precondition(lambda self: any(user.active.there for user in self.play.users))
    @rule(data=st.data(), keys=st.booleans(), by_admin=st.booleans())
    def signs_out_everywhere(self, data: st.DataObject, keys: bool, by_admin: bool) -> None:
        user = self.user(data)
        self.run(self.play.sign_out_everywhere(user, keys=keys, by_admin=by_admin))

    @precondition(lambda self: self.world.redis and any(user.active.there for user in self.play.users))
    @rule(data=st.data())
    def password_changes(self, data: st.DataObject) -> None:
        user = self.user(data)
        self.run(self.play.change_password(user))

    @precondition(lambda self: any(user.active.there for user in self.play.users))
    @rule(data=st.data())
    def is_suspended(self, data: st.DataObject) -> None:
        user = self.user(data)
        self.run(self.play.suspend(user))

    @precondition(lambda self: not all(user.active.there for user in self.play.users))
    @rule(data=st.data())
    def is_restored(self, data: st.DataObject) -> None:
        user = data.draw(st.sampled_from([user for user in self.play.users if not user.active.there]), "user")
        self.run(self.play.restore(user))

    def teardown(self) -> None:
        """The play goes on for as long as the promise may still come due, beside the next ones."""
        if self.play.users:
            if not self.world.redis:
                self.world.give_redis()
            self.run(self.play.gather())
            self.season.begun += 1
            if self.season.begun % 2 == 0:  # nobody is told: only the clock makes the workers look
                self.world.take_redis()
            self.run(self.play.finale())
            self.season.running.append(self.play)


def test_nothing_goes_on_five_seconds_after_the_end(cluster: Cluster) -> None:
    with world(cluster) as there:
        season = Season(there)
        try:
            run_state_machine_as_test(
                lambda: Revocations(season),  # type: ignore[arg-type]
                settings=settings(
                    max_examples=PLAYS,
                    stateful_step_count=STEPS,
                    derandomize=PLAYS == IN_THE_SUITE,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            season.close()
    ended = f"ended while served: {season.credentials} credentials, {season.rights} rights"
    print(f"{season.plays} plays; {ended}; clients or workers were late by {there.clients.lag_s:.2f} s")
    assert not season.wrong, "\n".join(season.wrong)
    assert season.credentials >= PLAYS, "too few sockets lost their credential while served: this shows nothing"
    assert season.rights >= PLAYS, "too few sockets lost a right in a session while served: this shows nothing"
