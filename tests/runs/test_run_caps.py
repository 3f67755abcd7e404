"""When the open runs of a user are counted."""

from hub.domain.ids import UserId, new_id
from hub.sessions.run_caps import RunCaps
from hub.store.caps import NEAR

ADA, BOB = UserId(new_id()), UserId(new_id())


def test_who_had_few_runs_a_moment_ago_is_not_counted() -> None:
    caps = RunCaps(5_000, lately_s=3600)
    assert caps.bound(ADA) == (5_000 - NEAR) // 2
    caps.is_below(ADA)
    assert caps.bound(ADA) is None
    assert caps.bound(BOB) is not None
    assert [caps.bound(ADA) for _ in range(NEAR)][:-1] == [None] * (NEAR - 1), "which is good for so many"
    assert caps.bound(ADA) is not None
    later = RunCaps(5_000, lately_s=0)
    later.is_below(ADA)
    assert later.bound(ADA) is not None


def test_near_a_limit_everybody_is_counted() -> None:
    small = RunCaps(200, lately_s=3600)
    small.is_below(ADA)
    assert small.bound(ADA) == 200 - NEAR
    assert RunCaps(NEAR).always_counts
    assert RunCaps(5_000, per_organisation=10_000).always_counts
    assert not small.always_counts
