"""Files people have: what a format's own writer wrote is read back, each row with its place."""

import csv
import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.columns import Columns
from diffmask_jax.tasks.files import open_file, read_file
from diffmask_jax.tasks.formats import table as table_module
from diffmask_jax.tasks.task import source_of

CHARACTERS = st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"])
TEXTS = st.text(CHARACTERS, min_size=1).filter(str.strip)
ONE_LINE = TEXTS.filter(lambda text: not set(text) & set("\r\n\t"))
ROWS = st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 9)), min_size=1, max_size=6)


def write(path, content: str):
    path.write_text(content, encoding="utf-8", newline="")
    return path


def assert_refused(path, says: str, columns=Columns()) -> None:  # noqa: B008
    with pytest.raises(UserError) as refusal:
        read_file(path, columns)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value) and says in str(refusal.value)


def assert_read(path, rows, numbers=None) -> None:
    examples = read_file(path)
    assert examples.texts == [(first, second) for first, second, _ in rows]
    assert [int(label) for label in examples.gold] == [label for *_, label in rows]
    assert examples.rows == [str(number) for number in numbers or range(1, len(rows) + 1)]


# --- what is written is read back ------------------------------------------------------------


@given(ROWS, st.sampled_from(["csv", "tsv"]), st.booleans())
def test_a_written_table_is_read_back(tmp_path_factory, rows, ending, mark):
    path = tmp_path_factory.mktemp("files") / f"a.{ending}"
    with open(path, "w", encoding="utf-8-sig" if mark else "utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="," if ending == "csv" else "\t", lineterminator="\r\n")
        writer.writerow(["premise", "hypothesis", "label"])
        begins = []
        for row in rows:
            file.flush()
            begins.append(
                len(
                    path.read_bytes().decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
                )
            )
            writer.writerow(row)
    assert_read(path, rows, begins)


@given(ROWS, st.lists(st.integers(0, 2), min_size=7, max_size=7), st.booleans())
def test_written_json_lines_are_read_back(tmp_path_factory, rows, blank_lines, escaped):
    path = tmp_path_factory.mktemp("files") / "a.jsonl"
    lines, numbers = [], []
    for row, blanks in zip(rows, blank_lines, strict=False):
        lines += [""] * blanks
        named = dict(zip(("question", "passage", "gold"), row, strict=True))
        lines.append(json.dumps(named, ensure_ascii=escaped))
        numbers.append(len(lines))
    write(path, "\n".join(lines))
    assert_read(path, rows, numbers)


@given(ROWS, st.integers(1, 7), st.sampled_from(["csv", "jsonl"]), st.booleans())
def test_portions_put_together_are_the_file(tmp_path_factory, rows, size, ending, have_ids):
    path = tmp_path_factory.mktemp("files") / f"a.{ending}"
    names = ("sentence1", "sentence2", "gold", "id")
    rows = [(*row, number * have_ids) for number, row in enumerate(rows, start=5)]
    with path.open("w", encoding="utf-8", newline="") as file:
        if ending == "jsonl":
            file.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
        else:
            csv.writer(file).writerows([names, *rows])
    source, whole = open_file(path), read_file(path)
    for _ in range(2):  # they are read anew
        portions = list(source.portions(size))
        assert source.size == len(rows) and {len(one.rows) for one in portions[:-1]} <= {size}
        assert [row for one in portions for row in one.rows] == whole.rows
        assert [text for one in portions for text in one.texts] == whole.texts
        assert [label for one in portions for label in one.gold] == whole.gold.tolist()
        in_memory = list(source_of(whole).portions(size))
        assert [one.texts for one in in_memory] == [one.texts for one in portions]


@given(ROWS)
def test_a_written_parquet_file_and_datasets_folder_are_read_back(tmp_path_factory, rows):
    pyarrow, parquet = map(pytest.importorskip, ("pyarrow", "pyarrow.parquet"))
    folder = tmp_path_factory.mktemp("files")
    columns = dict(zip(("sentence1", "sentence2", "label"), zip(*rows, strict=True), strict=True))
    table = pyarrow.table(columns)
    parquet.write_table(table, folder / "a.parquet")
    assert_read(folder / "a.parquet", rows)
    save_to_disk(folder / "saved", [table.slice(0, 1), table.slice(1)])
    assert_read(folder / "saved", rows)


def save_to_disk(folder, tables):
    """As Hugging Face's Dataset.save_to_disk lays its files out."""
    pyarrow = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    names = [f"data-{part:05}-of-{len(tables):05}.arrow" for part in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pyarrow.ipc.new_stream(str(folder / name), table.schema) as writer:
            writer.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_format_type": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))


@given(st.lists(ONE_LINE, min_size=1, max_size=5))
def test_quotes_in_tabbed_files_without_a_rule_are_plain_signs(tmp_path_factory, texts):
    texts = [f'"so" {text}' for text in texts]
    path = write(tmp_path_factory.mktemp("files") / "a.tsv", "\n".join(["sentence", *texts]))
    assert read_file(path).texts == texts


# --- by hand ---------------------------------------------------------------------------------


def test_a_row_is_the_line_on_which_it_begins(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\r\n"two\nlines",1\r\n\r\n"say ""so""",0\r\n')
    examples = read_file(path)
    assert examples.texts == ["two\nlines", 'say "so"']
    assert examples.rows == ["2", "5"]
    assert examples.gold.tolist() == ["1", "0"]


def test_ids_name_the_rows_where_every_row_has_one(tmp_path):
    path = write(tmp_path / "a.csv", "idx,Text\na7,so\n12,it is\n")
    assert read_file(path).rows == ["a7", "12"] and read_file(path).texts == ["so", "it is"]
    path = write(tmp_path / "a.jsonl", '{"id": 0, "text": "a"}\n\n{"text": "b"}\n')
    assert read_file(path).rows == ["1", "3"]


def test_json_lines_may_be_strings_and_labels_lists(tmp_path):
    assert read_file(write(tmp_path / "a.jsonl", '"a"\n\n"b"')).texts == ["a", "b"]
    content = '{"text": "a", "labels": ["x", "y"]}\n{"text": "b", "labels": []}'
    assert read_file(write(tmp_path / "a.jsonl", content)).gold.tolist() == [["x", "y"], []]


def test_blank_lines_are_no_rows(tmp_path):
    examples = read_file(write(tmp_path / "a.csv", "text,label\na,1\n  \n,\nb,0\n"))
    assert examples.texts == ["a", "b"] and examples.rows == ["2", "5"]


def test_a_quote_over_two_lines_of_tabs_joins_them_only_where_it_must(tmp_path):
    plain = 'text\tlabel\n"Good film\t1\nBad film"\t0\n'
    assert read_file(write(tmp_path / "a.tsv", plain)).texts == ['"Good film', 'Bad film"']
    quoted = 'text\tlabel\n"Good\nfilm"\t1\n"a\ttab"\t0\n'
    assert read_file(write(tmp_path / "a.tsv", quoted)).texts == ["Good\nfilm", "a\ttab"]


def test_long_cells(tmp_path):
    limit = csv.field_size_limit()
    text = "long " * 100_000
    assert read_file(write(tmp_path / "a.csv", f"text,label\n{text},1\n")).texts == [text]
    assert csv.field_size_limit() == limit


def test_labels_are_optional(tmp_path):
    assert read_file(write(tmp_path / "a.csv", "text,label\na,\nb, \n")).gold is None
    assert read_file(write(tmp_path / "a.csv", "text\na\n")).gold is None
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": null}')
    assert read_file(path).gold.tolist() == [1, None]  # whoever needs labels asks `gold_of`


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "contains no text"),
        ("a.csv", "text,label\n", "contains no text, only the names of columns"),
        ("a.jsonl", "\n \n", "contains no text"),
        ("a.csv", "so good,1\nbad,0\n", "only 'so good', '1': add a first line with names"),
        ("a.tsv", "so good\t1\n", "text_column NAME"),
        ("a.csv", "text,label\na\n", "a.csv:2: 1 cells, but 2 in the first line"),
        ("a.tsv", "text\tlabel\na\t1\t2\n", "a.tsv:2: 3 cells, but 2 in the first line"),
        ("a.csv", 'text,label\n"a,1\n', "a.csv:2: wrong quotes"),
        ("a.csv", "text,text\na,b\n", "names the column 'text' twice"),
        ("a.csv", "text,label\n  ,1\n", "row 2: the column 'text' is empty"),
        ("a.csv", "premise,hypothesis\na,\n", "row 2: the column 'hypothesis' is empty"),
        ("a.jsonl", '{"text": "a"}\n{"text": 3}', "row 2: the column 'text' is not text but int"),
        ("a.jsonl", '{"text": "a"}\n{"label": 3}', "row 2: the column 'text' is empty"),
        ("a.jsonl", '{"text": "a"}\n{"text"', "a.jsonl:2: not JSON"),
        ("a.jsonl", "\n[1, 2]", "a.jsonl:2: a line must be a JSON object or string"),
        ("a.jsonl", "[" * 100_000, "a.jsonl:1: not JSON"),
        ("a.json", "{}", "files ending in .json are not supported, only .txt, .tsv, .csv, .jsonl"),
        ("a.xlsx", "", "files ending in .xlsx are not supported"),
        ("a.parquet", "no such thing", "cannot read"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, name, content, says):
    assert_refused(write(tmp_path / name, content), says)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_bytes_that_are_no_text(tmp_path, name):
    for content, says in ((b"text\ncaf\xe9", "not UTF-8"), (b"text\n\0", "NUL")):
        (tmp_path / name).write_bytes(content)
        assert_refused(tmp_path / name, says)
    (tmp_path / name).unlink()
    assert_refused(tmp_path / name, "No such file")


def test_folders_that_are_no_data_set(tmp_path):
    assert_refused(tmp_path, "there is no state.json in it")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert_refused(tmp_path, "contains several splits (train, test): give the folder of one")
    (tmp_path / "dataset_dict.json").unlink()
    for state, says in (("{", "not JSON"), ("{}", "'_data_files' is missing")):
        (tmp_path / "state.json").write_text(state)
        assert_refused(tmp_path, says)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "x.arrow"}]}')
    assert_refused(tmp_path, "names 'x.arrow', which is not a file next to it")


def test_a_data_set_whose_rows_have_an_order_of_their_own_is_refused(tmp_path):
    """As early versions of `datasets` saved what was shuffled: its files are those from before."""
    state = {"_data_files": [{"filename": "data.arrow"}], "_indices_files": []}
    for order, says in (
        ([], "is not a file next to it"),
        ([{"filename": "i.arrow"}], "flatten_indices"),
    ):
        (tmp_path / "state.json").write_text(json.dumps(state | {"_indices_files": order}))
        assert_refused(tmp_path, says)


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl"])
def test_a_file_that_is_changed_meanwhile_is_not_taken_for_what_was_looked_at(tmp_path, ending):
    content = '"text"\n"a film"\n"a plot"\n'
    path = write(tmp_path / f"a.{ending}", content)
    source = open_file(path)
    portions = source.portions(1)
    next(portions)
    path.write_text(content + '"and more"\n')
    with pytest.raises(UserError, match="was changed while it was being read"):
        list(portions)
    with pytest.raises(UserError, match="was changed while it was being read"):
        source.whole()


# --- tables by another name ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        ("text,label\nfun,1\n", ".csv"),
        ('"sentence","gold"\n"a dull, slow plot","0"\n', ".csv"),
        ("sentence\tlabel\nfun\t1\n", ".tsv"),
        ("1\tfun\n0\ta dull plot\n", ".tsv"),
        ('{"text": "fun"}\n{"text": "dull"}\n', ".jsonl"),
    ],
)
def test_a_table_is_not_read_as_prose(tmp_path, content, ending):
    for name, do in (("a.txt", "rename it to end in"), ("a", "give it as a file ending in")):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=rf"a table, not .*: {do} {ending}"):
            read_file(tmp_path / name)


def test_the_name_of_a_column_is_not_read_as_a_text(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text(" Sentence\ngood film\nbad film\n")
    with pytest.raises(UserError, match=r"a\.txt begins with 'Sentence', the name of a col"):
        read_file(file)
    for prose in ("sentence\n", "good film\nsentence\n", "sentence one\ngood film\n"):
        file.write_text(prose)
        assert len(read_file(file).first) == len(prose.splitlines())


def test_trees_are_not_read_as_prose(tmp_path):
    file = tmp_path / "dev.txt"
    file.write_text("(3 (2 It) (4 (2 's) (3 fun)))\n(2 (2 A) (2 film))\n")
    with pytest.raises(UserError, match=r"contains trees in brackets, .*: train on them as `train"):
        read_file(file)
    for prose in (
        "(3 (2 It) (3 fun))\n(not a tree)\n",
        "(5 stars) Loved it (really)\n",
        "(3 of 4)",
    ):
        file.write_text(prose)
        assert len(read_file(file).first) == len(prose.splitlines())


@pytest.mark.parametrize(
    "content",
    [
        "a, b, and c",
        "Text, label and score are words.\nYes, they are.\n",
        "question, answered\nno comma here\n",
        "{curly}\n{braces}\n",
        "one\ttab\nnone here\n",
        "one\ttab\n",
    ],
)
def test_prose_is(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert "".join(f"{text}\n" for text in read_file(tmp_path / "a.txt").first) in (
        content,
        content + "\n",
    )


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such devices")
def test_what_has_no_end_is_refused(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="/dev/zero:1: not a text file, it contains a NUL"):
        read_file("/dev/zero")
    monkeypatch.setattr(table_module, "MOST", 1 << 20)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", 'yes > "$0" 2> /dev/null', pipe])
    with pytest.raises(UserError, match="pipe gives more than 1 MiB: write it to a file"):
        read_file(pipe)
    writer.wait()
