"""Calls a turn stands at, what is asked about them, and runs that wait or are paused."""

from dataclasses import replace
from datetime import timedelta

import pytest

from hub.domain.calls import Call, CallStatus, Decision, InputRequest, RequestKind, Resolution
from hub.domain.errors import BadRequest
from hub.domain.ids import CallId, RequestId, SessionId, UserId, new_id
from hub.domain.run import Lease, RunStatus
from hub.store import calls, input_requests, leases, runs
from hub.store.database import Db, Store
from hub.store.log import LeaseLost
from tests.store.conftest import enqueue, make_lease
from tests.store.test_runs import DONE, claim

ANSWER = Resolution(7, Decision.APPROVE, None, None)


def call_of(lease: Lease, status: CallStatus = CallStatus.ASKED, tool: str = "transfer") -> Call:
    slot = new_id()
    return Call(slot, CallId(slot), lease.run, 0, "alpha", tool, '{"key":"k"}', status)


async def ask(db: Db, lease: Lease, call: Call, *, expires_s: float = 60) -> InputRequest:
    now = await input_requests.now(db)
    request = InputRequest(
        RequestId(new_id()), lease.session, lease.run, 0, RequestKind.APPROVAL, "alpha", "May I?", call.id, call.slot,
        call.tool, call.arguments, b"digest", now, now + timedelta(seconds=expires_s),
    )  # fmt: skip
    await input_requests.insert(db, [request])
    return request


async def test_calls_are_there_until_the_next_checkpoint(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    first, second, third = (
        call_of(lease, status) for status in (CallStatus.CALLED, CallStatus.READY, CallStatus.ASKED)
    )
    async with store.transaction() as db:
        await calls.replace(db, session, [first, second, third])
        assert await calls.of_session(db, session) == [first, second, third]
        await calls.finish(db, first.slot, "1", is_error=False)
        await calls.begin(db, second.slot)
        await calls.allow(db, third.slot)
        done, begun, ready = await calls.of_session(db, session)
        assert (done.status, done.result, done.is_error) == (CallStatus.DONE, "1", False)
        assert (begun.status, ready.status) == (CallStatus.CALLED, CallStatus.READY)
        await calls.ask(db, second.slot)
        again = CallId(new_id())
        await calls.allow(db, second.slot, again=again)
        retried = (await calls.of_session(db, session))[1]
        assert (retried.slot, retried.id, retried.status) == (second.slot, again, CallStatus.READY)
        other = call_of(lease)
        await calls.replace(db, session, [other])
        assert await calls.of_session(db, session) == [other]
        await calls.forget(db, session)
        assert await calls.of_session(db, session) == []


async def test_only_an_approval_allows_the_arguments(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    call = call_of(lease)
    async with store.transaction() as db:
        await calls.replace(db, session, [call])
        request = await ask(db, lease, call)
        assert (await calls.of_session(db, session))[0].allowed_sha256 is None
        assert await input_requests.resolve(db, request.id, ANSWER)
        assert not await input_requests.resolve(db, request.id, ANSWER)
        assert (await calls.of_session(db, session))[0].allowed_sha256 == b"digest"


async def test_what_is_open_and_what_has_expired(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        late = await ask(db, lease, call_of(lease), expires_s=-1)
        second, third = [await ask(db, lease, call_of(lease)) for _ in range(2)]
        page, cursor = await input_requests.open_page(db, session, limit=2)
        assert page == [late, second]
        assert await input_requests.open_page(db, session, limit=2, cursor=cursor) == ([third], None)
        with pytest.raises(BadRequest):
            await input_requests.open_page(db, session, limit=2, cursor="x")
        assert await input_requests.expired(db, limit=9) == [late]
        await input_requests.resolve(db, late.id, replace(ANSWER, decision=Decision.REJECT, text="expired"))
        found = await input_requests.get(db, session, late.id)
        assert found is not None
        assert found.resolution == Resolution(7, Decision.REJECT, "expired", None)
        assert await input_requests.get(db, SessionId(new_id()), late.id) is None
        await runs.finish(db, lease, DONE)  # and nothing of it waits any more
        assert await input_requests.open_page(db, session, limit=2) == ([], None)
        assert await input_requests.expired(db, limit=9) == []


async def test_a_waiting_run_is_claimed_when_nothing_is_open(store: Store, session: SessionId, alice: UserId) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        requests = [await ask(db, lease, call_of(lease)) for _ in range(2)]
        assert await runs.wait(db, lease) == (RunStatus.WAITING, None)
        with pytest.raises(LeaseLost):
            await runs.wait(db, lease)
        await enqueue(db, session, alice, 9)
        for request in requests:
            assert not await runs.unblock(db, lease.run)
            await input_requests.resolve(db, request.id, ANSWER)
    assert await claim(store) == []  # the queue waits behind it
    async with store.transaction() as db:
        assert await runs.unblock(db, lease.run)
    [claimed] = await claim(store)
    assert (claimed.lease.run, claimed.attempt, claimed.cut_off) == (lease.run, 2, False)


async def test_a_run_that_was_to_pause_or_stop_does_so_instead_of_waiting(
    store: Store, session: SessionId, alice: UserId
) -> None:
    lease = await make_lease(store, session, alice)
    async with store.transaction() as db:
        await ask(db, lease, call_of(lease))
        assert await runs.pause(db, lease.run) is RunStatus.RUNNING
        assert await runs.ask_stop(db, lease.run, "cancelled")
        assert await runs.wait(db, lease) == (RunStatus.RUNNING, "cancelled")
        await db.connection.execute("UPDATE runs SET cancel_reason = NULL")
        assert await runs.pause(db, lease.run) is RunStatus.RUNNING
        assert await runs.wait(db, lease) == (RunStatus.PAUSED, None)
        assert await runs.resume(db, lease.run) is RunStatus.WAITING
        assert await runs.finish_idle(db, lease.run, "cancelled")
        assert await runs.pause(db, lease.run) is None
        assert await runs.resume(db, lease.run) is None


async def test_a_lost_worker_is_told_from_one_that_left_in_order(
    store: Store, session: SessionId, alice: UserId
) -> None:
    lease = await make_lease(store, session, alice)
    for clean in (True, False):
        async with store.transaction() as db:
            await leases.release(db, lease, clean=clean)
        [claimed] = await claim(store)
        assert claimed.cut_off is not clean
        lease = claimed.lease
