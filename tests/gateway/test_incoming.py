"""Frames out of bytes: the same as the library's, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from hub.gateway.incoming import Incoming, Violation, end_of, next_frame

DATA = st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT])
CONTROL = st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE])
SIZES = st.sampled_from([0, 1, 125, 126, 127, 300, 65_535, 65_536])
FRAMES = st.one_of(
    st.builds(lambda opcode, size, fin: Frame(opcode, b"x" * size, fin), DATA, SIZES, st.booleans()),
    st.builds(lambda opcode, size: Frame(opcode, bytes(range(size))), CONTROL, st.integers(0, 125)),
)


@given(st.lists(FRAMES, min_size=1, max_size=4))
def test_frames_come_out_as_they_were_put_in(frames: list[Frame]) -> None:
    data, at = b"".join(frame.serialize(mask=True) for frame in frames), 0
    for frame in frames:
        found = next_frame(data, at, max_bytes=65_536)
        assert found is not None
        assert (found.opcode, found.is_final, found.payload) == (frame.opcode, frame.fin, frame.data)
        at = found.end
    assert at == len(data)
    assert next_frame(data, at, max_bytes=65_536) is None


@pytest.mark.parametrize("size", [0, 125, 126, 65_536])
def test_a_frame_that_is_not_whole_is_none(size: int) -> None:
    data = Frame(Opcode.TEXT, b"x" * size).serialize(mask=True)
    for end in (*range(min(16, len(data))), len(data) - 1):
        assert next_frame(data[:end], 0, max_bytes=65_536) is None
    assert isinstance(next_frame(data, 0, max_bytes=65_536), Incoming)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\x83\x80", 1002),  # an opcode that there is not
        (b"\x81\x05", 1002),  # not masked
        (b"\xc1\x80", 1002),  # a reserved bit
        (b"\x09\x80", 1002),  # a ping in fragments
        (b"\x89\xfe\x00\x7e", 1002),  # a ping that is too long
        (b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x01", 1009),
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
    ],
)
def test_what_cannot_be_taken_is_known_by_its_beginning(head: bytes, code: int) -> None:
    with pytest.raises(Violation) as broken:
        next_frame(head, 0, max_bytes=65_536)
    assert broken.value.code == code


def test_a_ping_in_the_middle_of_a_large_message_counts_for_nothing() -> None:
    ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
    assert next_frame(ping, 0, max_bytes=0) is not None
    with pytest.raises(Violation):
        next_frame(Frame(Opcode.CONT, b"x").serialize(mask=True), 0, max_bytes=0)


def test_close_frames() -> None:
    assert (end_of(b"").code, end_of(b"\x03\xe8bye").code, end_of(b"\x03\xe8bye").reason) == (1005, 1000, "bye")
    for payload, code in ((b"\x03", 1002), (b"\x00\x01", 1002), (b"\x03\xe8\xff", 1007)):
        with pytest.raises(Violation) as broken:
            end_of(payload)
        assert broken.value.code == code
