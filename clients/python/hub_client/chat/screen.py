"""The terminal: what is said scrolls by above, the agents at work and the input line stay below.

Nothing takes over the whole screen: what is said lands in the terminal's own scrollback, to be searched and copied.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import ConditionalContainer, Dimension, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.output import Output
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import SearchToolbar, TextArea

from hub_client.chat.entries import Entry
from hub_client.chat.face import ChatFace
from hub_client.chat.render import ansi, table

TWICE_S = 3.0  # a second Ctrl-C within this time leaves
STYLE = Style.from_dict(
    {
        "quiet": "ansibrightblack",
        "good": "ansigreen",
        "warning": "ansiyellow",
        "bad": "ansired bold",
        "prompt": "bold",
        "auto-suggestion": "ansibrightblack",
    }
)


@dataclass(slots=True)
class Wishes:
    """What the user can ask for by keys; the screen calls these."""

    line: Callable[[str], bool]  # False: it cannot be taken now and stays in the input
    stop: Callable[[], None]
    typing: Callable[[], None]
    _last_interrupt: float = field(default=float("-inf"), init=False)

    def interrupted_twice(self) -> bool:
        """Note a Ctrl-C; whether it is the second in a row."""
        now = time.monotonic()
        twice, self._last_interrupt = now - self._last_interrupt < TWICE_S, now
        return twice


class Screen:
    """The terminal of one chat. `run` returns when the user leaves."""

    def __init__(
        self,
        face: ChatFace,
        wishes: Wishes,
        history: Path | None,
        *,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self._face = face
        self._wishes = wishes
        self._hint = ""
        search = SearchToolbar()
        self._line = TextArea(
            prompt=[("class:prompt", "› ")],
            multiline=True,
            wrap_lines=True,
            height=Dimension(min=1, max=10),
            dont_extend_height=True,
            history=_history(history),
            auto_suggest=AutoSuggestFromHistory(),
            search_field=search,
        )
        self._line.buffer.on_text_changed += self._text_changed
        above = Window(FormattedTextControl(self._above), dont_extend_height=True, wrap_lines=False)
        hints = ConditionalContainer(
            Window(FormattedTextControl(self._hints), dont_extend_height=True), Condition(lambda: bool(self._hints()))
        )
        status = Window(FormattedTextControl(self._below), height=1)
        self._app: Application[None] = Application(
            layout=Layout(HSplit([above, self._line, hints, search, status]), focused_element=self._line),
            key_bindings=self._keys(),
            style=STYLE,
            erase_when_done=True,
            mouse_support=False,
            min_redraw_interval=0.03,
            input=input,
            output=output,
        )
        self._app.ttimeoutlen = 0.05  # Alt-Enter comes as Escape, Enter; a lone Escape need not wait for long

    async def run(self) -> None:
        """Show the screen until `leave`."""
        await self._app.run_async(handle_sigint=False)

    def leave(self) -> None:
        """End `run`."""
        if self._app.is_running and not self._app.is_done:
            self._app.exit()

    def redraw(self) -> None:
        """Something changed."""
        self._app.invalidate()

    async def show(self, *entries: Entry) -> None:
        """Put entries above everything, for good."""
        await self._write(ansi(entries, self._face.palette, self.width))

    async def show_table(self, rows: Sequence[tuple[str, str]], title: str) -> None:
        """Put a list of names and what they are above everything, for good."""
        await self._write(table(rows, title, self.width))

    async def _write(self, text: str) -> None:

        def put() -> None:
            self._app.output.write_raw(text)
            self._app.output.flush()

        if self._app.is_running and not self._app.is_done:
            await run_in_terminal(put)
        else:
            put()

    def put_back(self, text: str) -> None:
        """Text that could not be sent, into the input line again, unless there is something in it."""
        if not self._line.text:
            self._line.buffer.set_document(self._line.buffer.document.__class__(text))

    def forget_hint(self) -> None:
        """What Ctrl-C would do has changed."""
        self._hint = ""

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._app.output.get_size().columns

    # ---- drawing

    def _above(self) -> StyleAndTextTuples:
        size = self._app.output.get_size()
        return _without_last_newline(self._face.above(size.columns, max(6, size.rows * 2 // 3 - 2)))

    def _hints(self) -> StyleAndTextTuples:
        text: StyleAndTextTuples = []
        for insert, about in self._face.hints(self._line.text)[:6]:
            text += [("", f"  {insert:<14}"), ("class:quiet", f" {about}\n")]
        return _without_last_newline(text)

    def _below(self) -> StyleAndTextTuples:
        if self._hint:
            return [("class:warning", self._hint)]
        return self._face.below(self.width)

    # ---- keys

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        keys.add("enter", filter=~is_searching)(self._enter)
        keys.add("escape", "enter")(self._new_line)
        keys.add("c-j")(self._new_line)
        keys.add("tab")(self._complete)
        keys.add("c-c")(self._interrupt)
        keys.add("c-d")(self._end)
        return keys

    def _enter(self, _event: KeyPressEvent) -> None:
        text = self._line.text
        if not text.strip():
            return
        if self._wishes.line(text):
            self._line.buffer.reset(append_to_history=True)

    def _new_line(self, event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    def _complete(self, event: KeyPressEvent) -> None:
        offered = self._face.hints(self._line.text)
        if offered:
            event.current_buffer.text = offered[0][0] + " "
            event.current_buffer.cursor_position = len(event.current_buffer.text)

    def _interrupt(self, _event: KeyPressEvent) -> None:
        if self._line.text and not self._face.busy:
            self._line.buffer.reset()
        elif self._wishes.interrupted_twice():
            self.leave()
        elif self._face.busy:
            self._wishes.stop()
            self._hint = "stopping … Ctrl-C again leaves"
        else:
            self._hint = "Ctrl-C again leaves (the session stays)"

    def _end(self, _event: KeyPressEvent) -> None:
        if not self._line.text:
            self.leave()

    def _text_changed(self, buffer: Buffer) -> None:
        self._hint = ""
        if buffer.text and not buffer.text.startswith("/"):
            self._wishes.typing()


def _history(path: Path | None) -> History:
    return FileHistory(str(path)) if path is not None else InMemoryHistory()


def _without_last_newline(text: StyleAndTextTuples) -> StyleAndTextTuples:
    if text and text[-1][1].endswith("\n"):
        text[-1] = (text[-1][0], text[-1][1][:-1])
    return text
