"""One message in, tokens out: the whole hub through its door."""

from tests.driver import Door, seqs, streamed


async def test_a_message_is_answered_by_two_agents(hub: Door) -> None:
    async with await hub.person("ada") as ada:
        session = (await ada.ask("session.create", team="scripted"))["id"]
        joined = await ada.ask("session.join", session=session, after_seq=0)
        assert joined["replay_from"] == 1
        sent = await ada.say(session, "/script turns=2 tokens=5")
        frames = await ada.until("run.finished")
        assert sent["run"] is not None
        assert seqs(frames) == list(range(1, seqs(frames)[-1] + 1))
        completed = [f for f in frames if f["type"] == "message.completed"]
        assert [c["data"]["author"]["name"] for c in completed] == ["alpha", "beta"]
        assert [c["data"]["text"] for c in completed] == ["t0.0 t0.1 t0.2 t0.3 t0.4 ", "t1.0 t1.1 t1.2 t1.3 t1.4 "]
        for message in completed:
            assert streamed(frames, message["data"]["message"]) == message["data"]["text"]
        finished = frames[-1]["data"]
        assert (finished["status"], finished["turns"], finished["input_seq"]) == ("completed", 2, sent["seq"])
