"""The conversation as plain text, streamed: for pipes, files, dumb terminals and scripts.

Text cannot be taken back once it is written, and two agents cannot write on one line. So one message has the floor and
streams; what others write meanwhile follows when it is done.
"""

from typing import TextIO

from hub.protocol.events import AnyEvent, RunFinished, TurnSuperseded
from hub_client.chat.conversation import Conversation
from hub_client.chat.entries import AgentSaid, Asked, Entry, Notice, Tone, ToolUsed, UserSaid
from hub_client.chat.safe import safe


class PlainView:
    """Writes answers to `out` and everything about them to `err`.

    `for_terminal`: `out` is one, so text that could control it is made harmless. `show_users` also writes what the
    other users say.
    """

    def __init__(
        self, conversation: Conversation, out: TextIO, err: TextIO, *, for_terminal: bool, show_users: bool = False
    ) -> None:
        self._conversation = conversation
        self._out = out
        self._err = err
        self._clean = safe if for_terminal else str
        self._show_users = show_users
        self._floor = ""  # the message that streams
        self._written = ""  # as far as it is out
        self._finished: list[AgentSaid] = []  # meanwhile, by others
        self._began = False  # something was written: the next speaker gets a blank line in front

    def apply(self, event: AnyEvent) -> None:
        """Take an event in and write what can be written."""
        entries = self._conversation.apply(event)
        for entry in entries:
            self._settle(entry)
        if isinstance(event, TurnSuperseded | RunFinished):
            self._give_up_floor()
        self._stream()
        self._out.flush()

    def _stream(self) -> None:
        writing = {lane.message: lane for lane in self._conversation.lanes.values() if lane.text}
        if not self._floor and writing:
            lane = next(iter(writing.values()))
            self._floor = lane.message
            self._heading(lane.display_name)
        if self._floor in writing:
            self._write(writing[self._floor].text)

    def _write(self, text: str) -> None:
        if text.startswith(self._written):  # else the message will be written anew when it is done
            self._out.write(self._clean(text[len(self._written) :]))
            self._written = text

    def _settle(self, entry: Entry) -> None:
        match entry:
            case AgentSaid():
                self._agent_said(entry)
            case UserSaid():
                if self._show_users and not entry.own:
                    self._heading(entry.name)
                    self._out.write(self._clean(entry.text) + "\n")
            case ToolUsed():
                outcome = "failed with" if entry.is_error else "used"
                self._note(f"{entry.display_name} {outcome} {entry.tool}: {entry.result}".strip())
            case Asked():
                self._note(f"{entry.display_name} asks (#{entry.number}): {entry.prompt}")
            case Notice():
                if entry.tone is not Tone.QUIET:
                    self._note(entry.text)

    def _agent_said(self, entry: AgentSaid) -> None:
        if self._floor and self._floor != entry.message:
            self._finished.append(entry)
            return
        if not self._floor:
            self._heading(entry.display_name)
        elif not entry.text.startswith(self._written):
            self._out.write("\n")
            self._heading(entry.display_name)
            self._written = ""
        self._write(entry.text)
        self._end_line(entry)
        self._catch_up()

    def _end_line(self, entry: AgentSaid) -> None:
        self._out.write("\n")
        self._floor = self._written = ""
        if entry.note:
            self._note(f"{entry.display_name} {entry.note}")

    def _give_up_floor(self) -> None:
        """What streamed is void, or will never be finished."""
        if self._floor:
            self._out.write("\n")
            self._floor = self._written = ""
        self._catch_up()

    def _catch_up(self) -> None:
        waiting, self._finished = self._finished, []
        for entry in waiting:
            self._heading(entry.display_name)
            self._write(entry.text)
            self._end_line(entry)

    def _heading(self, name: str) -> None:
        self._out.write(f"{chr(10) if self._began else ''}{safe(name)}: ")
        self._began = True

    def _note(self, text: str) -> None:
        self._out.flush()
        self._err.write(f"[{safe(text)}]\n")
        self._err.flush()
