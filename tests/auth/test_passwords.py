"""Passwords: hashed off the event loop, in a bounded queue, and the same effort for users who do not exist."""

import asyncio
import os
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator

import pytest

from hub.auth.passwords import MAX_BYTES, Passwords
from hub.domain.errors import BadRequest, RateLimited


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


async def test_the_right_password_and_no_other(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert await passwords.verify("correct horse", kept)
    assert not await passwords.verify("correct horsf", kept)
    assert not await passwords.verify("", kept)


async def test_the_same_password_from_another_keyboard(passwords: Passwords) -> None:
    kept = await passwords.hash("passw\u00f6rter")
    assert await passwords.verify("passwo\u0308rter", kept)


@pytest.mark.parametrize("password", ["", "seven77", "x" * (MAX_BYTES + 1), "\ud800" * 8])
async def test_passwords_that_will_not_do(passwords: Passwords, password: str) -> None:
    with pytest.raises(BadRequest):
        await passwords.hash(password)


async def test_what_is_beyond_the_bound_is_not_cut_off_silently(passwords: Passwords) -> None:
    kept = await passwords.hash("x" * MAX_BYTES)
    assert await passwords.verify("x" * MAX_BYTES, kept)
    assert not await passwords.verify("x" * (MAX_BYTES + 1), kept)


async def test_a_user_who_does_not_exist_takes_as_long(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(9):
        for known in (True, False):
            begun = time.process_time()
            assert not await passwords.verify("wrong password", kept if known else None)
            times[known].append(time.process_time() - begun)
    exists, unknown = statistics.median(times[True]), statistics.median(times[False])
    assert unknown == pytest.approx(exists, rel=0.5)


async def test_nobody_gets_in_without_a_hash(passwords: Passwords) -> None:
    assert not await passwords.verify("nobody's password", None)


async def test_a_storm_is_turned_away_and_the_loop_stays_free() -> None:
    passwords = Passwords(threads=1, waiting=4)
    try:
        kept = await passwords.hash("correct horse")
        lag = 0.0
        async with asyncio.TaskGroup() as tasks:
            tries = [tasks.create_task(_outcome(passwords, kept)) for _ in range(30)]
            while not all(task.done() for task in tries):
                begun = time.thread_time()  # not what others of the machine take
                await asyncio.sleep(0)
                lag = max(lag, time.thread_time() - begun)
        outcomes = [task.result() for task in tries]
        assert outcomes.count(True) == 5
        assert outcomes.count(None) == 25
        assert lag < 0.5
        assert await passwords.verify("correct horse", kept), "the queue is free again"
    finally:
        passwords.close()


async def _outcome(passwords: Passwords, kept: str) -> bool | None:
    try:
        return await passwords.verify("correct horse", kept)
    except RateLimited:
        return None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_a_sign_in_lets_the_event_loop_go_first(passwords: Passwords) -> None:
    await passwords.hash("correct horse")
    hashing = [thread for thread in threading.enumerate() if thread.name.startswith("password")]
    assert hashing
    for thread in hashing:
        assert thread.native_id is not None
        assert os.getpriority(os.PRIO_PROCESS, thread.native_id) > os.getpriority(os.PRIO_PROCESS, 0)
