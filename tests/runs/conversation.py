"""What the agents of a session know, as they tell it themselves."""

from typing import Any

from tests.driver import Door, Person

Frame = dict[str, Any]


async def finish(person: Person, run: str | None) -> list[Frame]:
    """All frames up to and with the end of this run."""
    frames: list[Frame] = []
    while not frames or frames[-1].get("type") != "run.finished" or frames[-1].get("run") != run:
        frames.append(await person.next_frame(f"the end of run {run}"))
    return frames


async def known(person: Person, session: str) -> list[str]:
    """The agents' context, as `source:first 20 characters`, without the question itself."""
    sent = await person.say(session, "/script history turns=1", on_busy="queue")
    frames = await finish(person, sent["run"])
    (told,) = [f["data"] for f in frames if f["type"] == "message.completed" and f.get("run") == sent["run"]]
    count, *lines = told["text"].split("\n")
    assert int(count) == len(lines)
    assert lines[-1].endswith(":/script history turn"), lines
    return list(lines[:-1])


async def transcript(door: Door, person: Person, session: str) -> list[Frame]:
    """The messages of the session, as REST exports them."""
    async with door.rest(person.token) as rest:
        answer = await rest.get(f"/v1/sessions/{session}/transcript")
        assert answer.status_code == 200, answer.text
        messages: list[Frame] = answer.json()["messages"]
        return messages


async def log_of(door: Door, person: Person, session: str) -> list[Frame]:
    """The whole log."""
    items: list[Frame] = []
    async with door.rest(person.token) as rest:
        while True:
            after = items[-1]["seq"] if items else 0
            answer = await rest.get(f"/v1/sessions/{session}/events", params={"after_seq": after, "limit": 1000})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            items += page["items"]
            if not page["items"] or items[-1]["seq"] == page["last_seq"]:
                return items
