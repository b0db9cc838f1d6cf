"""One text a line, exactly as it stands in the file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.texts import Texts, check_labels, read_lines


def assert_refused(path, *words: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_lines(path)
    assert "\n" not in str(refusal.value)
    for word in (str(path), *words):
        assert word in str(refusal.value)


# What a reader may take for the end of a line, and what is none.
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
LINES = st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]))


@given(lines=st.lists(LINES), end=ENDS, last=st.booleans())
def test_every_line_that_is_not_blank_is_a_text(tmp_path_factory, lines, end, last):
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_bytes((end.join(lines) + end * last).encode())
    texts = [line for line in lines if line.strip()]
    if texts:
        assert read_lines(file) == Texts(texts, None)
    else:
        assert_refused(file, "no text")


def test_a_line_ends_where_other_tools_see_its_end(tmp_path):
    """Unlike str.splitlines, which breaks lines at characters that a text may hold."""
    texts = ["one\u2028text", "another\x0cone", "and\x85one", " blanks stay "]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    assert read_lines(tmp_path / "texts.txt").texts == texts


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"\xef\xbb\xbffun\n")
    assert read_lines(tmp_path / "texts.txt").texts == ["fun"]


def test_a_file_that_is_not_utf_8_is_named_with_the_place(tmp_path):
    (tmp_path / "texts.txt").write_bytes("fun\ncaf\xe9\n".encode("latin-1"))
    assert_refused(tmp_path / "texts.txt", "not UTF-8", "byte 7")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert_refused(tmp_path / "nothing.txt", "No such file")
    assert_refused(tmp_path, "directory")


@pytest.mark.parametrize("classes", [3, 4])
def test_labels_must_be_among_the_classes(classes):
    check_labels(np.array([0, 2]), classes)
    check_labels(None, classes)
    for wrong, span in ((4, "0–4"), (-1, "-1–0")):
        with pytest.raises(UserError, match=f"labels {span}, but the model has {classes} classes"):
            check_labels(np.array([wrong, 0]), classes)
