"""One text a line, exactly as it stands in the file; and the task of anyone's texts."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.models.heads import SINGLE_LABEL
from diffmask_jax.tasks.files import read_file
from diffmask_jax.tasks.task import Examples
from diffmask_jax.tasks.tasks import TASKS
from diffmask_jax.tasks.texts import TEXTS, TextPlaces


def assert_refused(path, *words: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_file(path)
    assert "\n" not in str(refusal.value)
    for word in (str(path), *words):
        assert word in str(refusal.value)


# What a reader may take for the end of a line, and what is none.
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
LINES = st.text(st.characters(exclude_characters="\r\n\ufeff\0", exclude_categories=["Cs"]))


@given(
    lines=st.lists(LINES),
    end=ENDS,
    last=st.booleans(),
    name=st.sampled_from(["texts.txt", "TEXTS.TXT", "texts"]),
)
def test_every_line_that_is_not_blank_is_a_text(tmp_path_factory, lines, end, last, name):
    file = tmp_path_factory.mktemp("texts") / name
    file.write_bytes((end.join(lines) + end * last).encode())
    numbered = [(str(row), line) for row, line in enumerate(lines, 1) if line.strip()]
    if numbered:
        rows, texts = map(list, zip(*numbered, strict=True))
        tabs = {text.count("\t") for text in texts}
        if len(texts) > 1 and len(tabs) == 1 and tabs != {0}:
            assert_refused(file, "a table")
            return
        assert read_file(file) == Examples(texts, None, None, rows)
    else:
        assert_refused(file, "no text")


def test_a_line_ends_where_other_tools_see_its_end(tmp_path):
    """Unlike str.splitlines, which breaks lines at characters that a text may hold."""
    texts = ["one\u2028text", "another\x0cone", "and\x85one", " blanks stay "]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    assert read_file(tmp_path / "texts.txt").texts == texts


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"\xef\xbb\xbffun\n")
    assert read_file(tmp_path / "texts.txt").texts == ["fun"]


def test_a_file_that_is_not_utf_8_is_named_with_the_place(tmp_path):
    (tmp_path / "texts.txt").write_bytes("fun\ncaf\xe9\n".encode("latin-1"))
    assert_refused(tmp_path / "texts.txt", "not UTF-8", "byte 7")


def test_a_nul_is_in_no_text_file(tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"fun\nfun\0\n")
    assert_refused(tmp_path / "texts.txt", "texts.txt:2: not a text file", "NUL")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert_refused(tmp_path / "nothing.txt", "No such file")
    assert_refused(tmp_path, "folder")


def test_lines_come_from_another_program_too():
    code = "from diffmask_jax.tasks.files import read_file; print(read_file('/dev/stdin'))"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, input="a\n\nb\n", capture_output=True, text=True, check=True)
    examples = Examples(["a", "b"], None, None, ["1", "3"])
    assert done.stdout.strip() == str(examples)


@pytest.mark.parametrize("classes", [3, 4])
def test_labels_must_be_among_the_classes(classes):
    SINGLE_LABEL.check_gold(np.array([0, 2]), classes)
    for wrong, span in ((4, "0–4"), (-1, "-1–0")):
        with pytest.raises(UserError, match=f"labels {span}, but the model has {classes} classes"):
            SINGLE_LABEL.check_gold(np.array([wrong, 0]), classes)


# --- the task --------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    for split in TEXTS.splits:
        (tmp_path / f"{split}.csv").write_text(f"a,b,c,label\n{split},is,it,1\n")
    return tmp_path


def test_each_split_from_its_file_by_its_columns(files):
    train, dev = (str(files / f"{split}.csv") for split in TEXTS.splits)
    examples = TEXTS.read(TextPlaces(train, dev, text_column="a"), "dev")
    assert examples.texts == ["dev"] and examples.gold.tolist() == ["1"] and examples.rows == ["2"]
    pairs = TEXTS.read(TextPlaces(train, dev, "a", "b", "c"), "train")
    assert pairs.texts == [("train", "is")] and pairs.gold.tolist() == ["it"]


def test_both_files_are_needed(files):
    for places in (TextPlaces(), TextPlaces(train="t"), TextPlaces(dev=str(files / "dev.csv"))):
        with pytest.raises(UserError, match="training on texts needs train FILE and dev FILE"):
            TEXTS.read(places, "dev")


def test_the_table_of_tasks_is_made_without_anything_heavy():
    assert list(TASKS) == ["sst", "texts", "squad", "questions"]
    assert TASKS["sst"].labels[0] == "very negative" and TASKS["texts"].labels is None
    assert TASKS["squad"].labels == TASKS["questions"].labels == ("start", "end")
    heavy = ["jax", "torch", "transformers", "pyarrow", "tensorflow_datasets"]
    code = f"import sys, diffmask_jax.tasks.tasks; print([n for n in {heavy} if n in sys.modules])"
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == "[]"
