"""What a client makes of each close code, and how long it waits."""

import pytest

from hub_client.reconnect import LONGEST_S, Advice, Backoff, advice


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, Advice.AGAIN),
        (1000, Advice.AGAIN),
        (1001, Advice.AGAIN),
        (1006, Advice.AGAIN),
        (1008, Advice.STOP),
        (1009, Advice.STOP),
        (1012, Advice.AFTER_DRAIN),
        (4000, Advice.AFTER_DRAIN),
        (4001, Advice.AGAIN),
        (4042, Advice.AGAIN),
        (4100, Advice.WITH_NEW_CREDENTIAL),
        (4101, Advice.AFTER_BACKING_OFF),
        (4102, Advice.AFTER_BACKING_OFF),
        (4103, Advice.AFTER_BACKING_OFF),
        (4444, Advice.AFTER_BACKING_OFF),
        (4501, Advice.STOP),
        (4503, Advice.STOP),
        (4510, Advice.STOP),
        (4999, Advice.STOP),
    ],
)
def test_the_range_of_a_close_code_is_the_instruction(code: int | None, expected: Advice) -> None:
    assert advice(code) is expected


def longest(_low: float, high: float) -> float:
    return high


def test_attempts_wait_longer_up_to_a_bound_and_start_over_after_success() -> None:
    backoff = Backoff(longest)
    assert [backoff.delay(Advice.AGAIN) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, LONGEST_S, LONGEST_S]
    backoff.succeeded()
    assert backoff.delay(Advice.AGAIN) == 0.5


def test_clients_of_a_draining_hub_spread_over_the_time_it_names() -> None:
    assert Backoff(longest).delay(Advice.AFTER_DRAIN, 3.0) == 3.0
    assert Backoff(lambda low, _high: low).delay(Advice.AFTER_DRAIN, 3.0) == 0.0


def test_backing_off_never_comes_back_at_once() -> None:
    assert Backoff(lambda low, _high: low).delay(Advice.AFTER_BACKING_OFF) > 0
