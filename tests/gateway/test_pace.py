"""The rate limit of one connection, with its own clock."""

from hypothesis import given
from hypothesis import strategies as st

from hub.gateway.pace import Pace


def test_a_burst_passes_and_the_next_must_wait() -> None:
    pace = Pace(per_minute=120, burst=20)
    assert [pace.take(100.0) for _ in range(20)] == [0.0] * 20
    assert pace.take(100.0) == 0.5


def test_waiting_as_told_is_enough() -> None:
    pace = Pace(per_minute=60, burst=1)
    assert pace.take(5.0) == 0
    assert pace.take(5.25) == 0.75
    assert pace.take(6.0) == 0


def test_what_is_refused_costs_nothing() -> None:
    pace = Pace(per_minute=60, burst=1)
    pace.take(0.0)
    for _ in range(1_000):
        assert pace.take(0.5) == 0.5
    assert pace.take(1.0) == 0


@given(st.lists(st.floats(0, 10), max_size=200), st.integers(1, 600), st.integers(1, 50))
def test_never_more_than_burst_and_rate_allow(gaps: list[float], per_minute: int, burst: int) -> None:
    pace = Pace(per_minute, burst)
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        passed += pace.take(now) == 0
    assert passed <= burst + now * per_minute / 60 + 1e-6
