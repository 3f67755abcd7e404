"""The chat's way in: who, which session, drawn or plain; and its exit codes."""

import asyncio
import sys

from prompt_toolkit import PromptSession

from hub_client.chat.choice import LastSessions, choose_team
from hub_client.chat.conversation import Conversation
from hub_client.chat.identity import Ask, identify
from hub_client.chat.once import Streams, say_and_print, say_line_by_line, standard_streams
from hub_client.chat.options import Options
from hub_client.chat.places import Places
from hub_client.chat.safe import safe
from hub_client.chat.signins import SignIns
from hub_client.chat.talk import Talk
from hub_client.client import Hub
from hub_client.errors import HubClientError
from hub_client.link import Status
from hub_client.rest import Rest
from hub_client.session import Session
from hub_client.socket import rest_url

OK, FAILED, NOT_POSSIBLE, INTERRUPTED = 0, 1, 2, 130


def main(options: Options) -> int:
    """Chat. The exit code: 0, 1 when a run failed, 2 when chatting was not possible, 130 after Ctrl-C."""
    streams = standard_streams()
    try:
        return asyncio.run(chat(options, Places.of_user(), streams))
    except KeyboardInterrupt:
        return INTERRUPTED
    except ValueError as e:
        streams.err.write(f"hub chat: {e}\n")
        return NOT_POSSIBLE
    except HubClientError as e:
        streams.err.write(f"hub chat: {safe(str(e))}\n")
        return NOT_POSSIBLE


async def chat(options: Options, places: Places, streams: Streams) -> int:
    """The same inside an event loop. Raises `HubClientError`, and `ValueError` for an address that is none."""
    url = rest_url(options.url)
    drawn = _can_draw(options, streams)
    ask = _asker() if streams.input.isatty() and streams.err.isatty() else None
    rest = Rest(url)
    try:
        credential = await identify(options, url, rest, SignIns(places), ask)
    except BaseException:
        await rest.close()
        raise
    rest.use(credential.token)
    listeners: list[Talk] = []

    def noticed(status: Status) -> None:
        for listener in listeners:
            listener.noticed(status)

    async with Hub(options.url, credential, rest=rest, on_status=noticed) as hub:
        if not drawn:
            return await _undrawn(hub, options, url, places, streams)
        talk = Talk(hub, options, url, places)
        listeners.append(talk)
        farewell = await talk.run()
    if farewell:
        streams.err.write(f"hub chat: {safe(farewell)}\n")
        return NOT_POSSIBLE
    return OK


def _can_draw(options: Options, streams: Streams) -> bool:
    return (
        options.message is None
        and not options.plain
        and not options.as_json
        and streams.input.isatty()
        and streams.out.isatty()
    )


async def _undrawn(hub: Hub, options: Options, url: str, places: Places, streams: Streams) -> int:
    text = _whole_message(options, streams)
    session, conversation = await _session(hub, options, LastSessions(places), url)
    if text is None:
        well = await say_line_by_line(session, conversation, streams)
    else:
        well = await say_and_print(session, text, conversation, streams, as_json=options.as_json)
    return OK if well else FAILED


def _whole_message(options: Options, streams: Streams) -> str | None:
    """What is to be said in one piece; None when lines are to be read one by one."""
    if options.plain and options.message is None:
        return None
    if streams.input.isatty():
        return options.message
    given = streams.input.read().strip()
    parts = [part for part in (options.message, given) if part]
    if not parts:
        raise ValueError("nothing to say: give -m TEXT, or text on the standard input")
    return "\n\n".join(parts)


async def _session(hub: Hub, options: Options, last: LastSessions, url: str) -> tuple[Session, Conversation]:
    teams = await hub.rest.teams()
    wanted = options.session or (last.get(url) if options.resume else None)
    if wanted is None:
        found = await hub.create_session(choose_team(teams, options.team).name)
    else:
        found = await hub.rest.session(wanted)
    last.put(url, found.id)
    agents = next((tuple(team.agents) for team in teams if team.name == found.team), ())
    session = await hub.join(found.id, after_seq=found.last_seq)
    return session, Conversation(hub.user, agents, found.title)


def _asker() -> Ask:
    prompt: PromptSession[str] = PromptSession()

    async def ask(question: str, secret: bool) -> str:
        try:
            return await prompt.prompt_async(question, is_password=secret)
        except EOFError:
            raise KeyboardInterrupt from None

    return ask


if __name__ == "__main__":
    sys.exit(main(Options()))
