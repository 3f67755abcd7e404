"""YAML from strangers: what is taken, what is refused, and where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.engine.yaml_source import MAX_BYTES, MAX_NODES, Place, Unreadable, read


def test_values_and_places() -> None:
    document = read(b"a: 1\nb:\n  - no\n  - c: 1.5\n    d: 'true'\ne: true\nf: ~\n1: x\ng:\n")
    assert document.value == {
        "a": 1,
        "b": ["no", {"c": 1.5, "d": "true"}],
        "e": True,
        "f": None,
        "1": "x",
        "g": None,
    }
    assert document.place(("b", 1, "d")) == Place(5, 5)
    assert document.place(("b", 0)) == Place(3, 5)
    assert document.place(("b", 1, "nothing", 3)) == Place(4, 5)
    assert document.place(("nothing",)) == Place(1, 1)


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        (b"a: &x [1]\nb: *x\n", "anchors", Place(1, 4)),
        (b"a: *x\n", "anchors", Place(1, 4)),
        (b"a: !!python/object/apply:os.system ['id']\n", "tags", Place(1, 4)),
        (b"a: !thing 1\n", "tags", Place(1, 4)),
        (b"a: 1\nb: 2\na: 3\n", "'a' stands here twice", Place(3, 1)),
        (b"base: 1\n<<: {a: 1}\n", "merging", Place(2, 1)),
        (b"? [a]\n: 1\n", "a key is a word", Place(1, 3)),
        (b"a: 1\n---\nb: 2\n", "one document", Place(2, 1)),
        (b"a: [1\nb: 2\n", "expected ',' or", Place(2, 2)),
        (b"\ta: 1\n", "cannot start", Place(1, 1)),
        (b"a: \xff\n", "not UTF-8", Place(1, 4)),
        (b"a: 1\nb: \x07\n", "does not allow", Place(2, 4)),
        (b'a: "\\0"\n', "control characters", Place(1, 4)),
        (b'a: "\\ud800"\n', "control characters", Place(1, 4)),
        (b"a: " + b"[" * 40 + b"]" * 40, "deep", Place(1, 20)),
        (b"a: " + b"{b: " * 40 + b"}" * 40, "deep", Place(1, 65)),
        (b"[" + b"1," * MAX_NODES + b"1]", "values", Place(1, 2 * MAX_NODES)),
        (b"#" * (MAX_BYTES + 1), "bytes", Place(1, 1)),
    ],
)
def test_what_is_refused(text: bytes, words: str, place: Place) -> None:
    with pytest.raises(Unreadable, match=words) as refused:
        read(text)
    assert refused.value.place == place


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"\\ \n\t#%@<0x1.", max_size=80).map(str.encode))
def test_any_bytes_are_a_document_or_refused_with_their_place(text: bytes) -> None:
    try:
        place, words = read(text).place(()), "a document"
    except Unreadable as e:
        place, words = e.place, str(e)
    assert place >= Place(1, 1)
    assert words
