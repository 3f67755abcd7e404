"""When a dead process may be started again."""

from hub.process.restarts import PAUSES_S, QUICK_S, Restarts


def test_after_a_long_life_at_once() -> None:
    restarts = Restarts()
    restarts.started(0)
    assert restarts.died(QUICK_S)
    assert restarts.due(QUICK_S)


def test_a_death_counts_once() -> None:
    restarts = Restarts()
    restarts.started(0)
    assert restarts.died(1)
    assert not restarts.died(1)


def test_quick_deaths_wait_longer_each_time_and_five_are_hopeless() -> None:
    restarts, now, pauses = Restarts(), 0.0, []
    for _ in range(len(PAUSES_S) + 1):
        restarts.started(now)
        restarts.died(now)
        died = now
        while not restarts.hopeless and not restarts.due(now):
            now += 0.05
        pauses.append(now - died)
    assert restarts.hopeless
    assert pauses[:-1] == sorted(pauses[:-1])
    assert pauses[0] == 0, "one death is an accident"
    assert pauses[1] > 0
    assert not restarts.due(now + 3600)


def test_one_that_was_ready_is_always_worth_another_try() -> None:
    restarts = Restarts()
    for now in range(20):
        restarts.started(now)
        restarts.died(now + 0.5, was_ready=True)
        assert restarts.due(now + 0.5)


def test_a_long_life_makes_quick_deaths_forgotten() -> None:
    restarts, now = Restarts(), 0.0
    for _ in range(3):
        for life in (0.1, 0.1, QUICK_S):
            restarts.started(now)
            now += life
            restarts.died(now)
    assert not restarts.hopeless
