"""The lock of the data directory."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.embedded.lock import DataDirLock, read_note
from hub.embedded.process import EmbeddedError
from tests.conftest import short_dir
from tests.embedded.test_servers import in_a_parent, kill


@pytest.fixture
def home() -> Iterator[Path]:
    folder = short_dir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_second_holder_is_refused_and_told_who_has_it(home: Path) -> None:
    holder = in_a_parent(home, "lock = DataDirLock(home)")
    try:
        with pytest.raises(EmbeddedError, match=rf"pid {holder.pid}.*--data-dir"):
            DataDirLock(home)
    finally:
        kill(holder)
    DataDirLock(home).release()  # the kernel gave it back


def test_a_note_is_readable_while_the_lock_is_held(home: Path) -> None:
    with DataDirLock(home / "new") as lock:
        lock.note(url="http://127.0.0.1:1", pid="12")
        lock.note(url="http://127.0.0.1:2")
        assert read_note(home / "new") == {"url": "http://127.0.0.1:2"}
    assert read_note(home / "absent") == {}


def test_a_folder_that_cannot_be_used_names_the_setting(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(EmbeddedError, match="HUB_DATA_DIR"):
        DataDirLock(home / "file")
