"""Damaged texts: tables of every format, trees, questions and their tags."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import damaged, json_texts, line_texts
from trying import some, tried

from diffmask_jax.tasks.files import read_file
from diffmask_jax.tasks.gold import class_names, gold_of
from diffmask_jax.tasks.question_lines import read_question_lines
from diffmask_jax.tasks.question_tags import read_question_tags
from diffmask_jax.tasks.squad_json import read_squad
from diffmask_jax.tasks.tags import read_tags
from diffmask_jax.tasks.trees import Sentence, read_trees

ROWS = [("the film is fun", "bad", "r1"), ('a "dull", slow plot', "good", "r2"), ("été", "1", "r3")]
SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "A film",
            "paragraphs": [
                {
                    "context": "the film is great fun",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "what is fun",
                            "answers": [{"text": "the film", "answer_start": 0}],
                        }
                    ],
                }
            ],
        }
    ],
}
QUESTION = {"id": "q1", "question": "what is fun", "passage": "the film", "answers": ["film"]}
TAGS = {"context": "the film is great fun", "spans": [[0, 3, "DET"]], "questions": {"q1": []}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(name, content) -> a file."""
    folder = tmp_path_factory.mktemp("data")

    def write(name: str, content: bytes):
        (folder / name).write_bytes(content)
        return folder / name

    return write


def lines_of(draw, *objects) -> bytes:
    """Lines of JSON, one of them changed."""
    lines = [json.dumps(value).encode() for value in objects]
    number = draw(st.integers(0, len(lines) - 1))
    lines[number] = draw(json_texts(objects[number]))
    return b"\n".join(lines)


def check_examples(examples) -> None:
    """What is wrong of no file that was accepted."""
    assert len(examples.first) == len(examples.rows) > 0
    assert all(text.strip() for text in examples.first)
    assert len(set(examples.rows)) == len(examples.rows)
    if examples.gold is not None:
        labels = class_names(examples.gold, "single_label_classification")
        gold = gold_of(examples.gold, labels, "single_label_classification", examples.rows)
        assert gold.min() >= 0 and gold.max() < len(labels)


@pytest.mark.parametrize(("ending", "mark"), [("csv", ","), ("tsv", "\t"), ("txt", None)])
@given(data=st.data())
@some
def test_tables(place, ending, mark, data):
    rows = [("text", "label", "id"), *ROWS] if mark else [(text,) for text, _, _ in ROWS]
    written = io.StringIO()
    csv.writer(written, delimiter=mark or "\t", lineterminator="\n").writerows(rows)
    file = place(f"a.{ending}", data.draw(line_texts(written.getvalue().rstrip("\n"))))
    with tried(f".{ending}"):
        check_examples(read_file(file))


@given(data=st.data())
@some
def test_json_lines(place, data):
    objects = [{"text": text, "label": label, "id": name} for text, label, name in ROWS]
    file = place("a.jsonl", lines_of(data.draw, *objects))
    with tried(".jsonl"):
        check_examples(read_file(file))


@given(data=st.data())
@some
def test_tables_of_arrow(place, tmp_path_factory, data):
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    table = pyarrow.table({"text": [text for text, _, _ in ROWS], "label": [0, 1, 1]})
    path = place("whole.parquet", b"")
    pyarrow.parquet.write_table(table, path)
    file = place("a.parquet", data.draw(damaged(path.read_bytes())))
    with tried(".parquet"):
        check_examples(read_file(file))
    folder = tmp_path_factory.mktemp("saved")
    with pyarrow.ipc.new_stream(str(folder / "data.arrow"), table.schema) as writer:
        writer.write_table(table)
    state = {"_data_files": [{"filename": "data.arrow"}], "_format_type": None}
    (folder / "state.json").write_bytes(data.draw(json_texts(state)))
    with tried("state.json of datasets"):
        check_examples(read_file(folder))


@given(data=st.data())
@some
def test_trees_and_tags(place, data):
    lines = "(3 (2 It) (4 (2 's) (3 good)))\n(1 (2 a) (0 dull))"
    file = place("dev.txt", data.draw(line_texts(lines)))
    with tried("trees"):
        for sentence in read_trees(file):
            assert sentence.words and 0 <= sentence.label <= 4
    sentences = [Sentence(("It", "works"), (2, 2), 2)]
    content = lines_of(data.draw, {"words": ["It", "works"], "upos": ["PRON", "VERB"]})
    with tried("tags"):
        assert [len(tags) for tags in read_tags(place("a.pos", content), sentences)] == [2]


@given(data=st.data())
@some
def test_questions(place, data):
    file = place("a.json", data.draw(json_texts(SQUAD)))
    with tried("SQuAD"):
        questions = read_squad(file)
        assert all(q.passage[a.start : a.stop] == a.text for q in questions for a in q.answers)
    content = lines_of(data.draw, QUESTION, QUESTION | {"answers": None})
    with tried("questions .jsonl"):
        questions = read_question_lines(place("a.jsonl", content))
        assert all(q.passage[a.start : a.stop] == a.text for q in questions for a in q.answers)
    asked = read_squad(place("whole.json", json.dumps(SQUAD).encode()))
    file = place("t.jsonl", lines_of(data.draw, TAGS))
    with tried("tags of questions"):
        (tags,) = read_question_tags(file, asked)
        assert all(word.start < word.stop for word in [*tags.question, *tags.passage])


# --- long ones, for which a hang is more than some seconds -----------------------------------

LONG = {
    "tree, deep": ("dev.txt", "(1 " * 100_000 + "(4 x)" + ")" * 100_000, read_trees),
    "tree, open": ("dev.txt", "(1 " * 300_000, read_trees),
    "tree, wide": ("dev.txt", "(1 " + "(2 a)" * 50_000 + ")", read_trees),
    "tree, blanks": ("dev.txt", "(1" + " " * 1_000_000 + "(2 a)", read_trees),
    "tree, a long word": ("dev.txt", "(1 " + "x" * 1_000_000, read_trees),
    ".csv, a line": ("a.csv", "text\n" + "x" * 1_000_000, read_file),
    ".csv, columns": ("a.csv", ",".join(map(str, range(50_000))) + "\n", read_file),
    ".csv, empty columns": ("a.csv", "," * 1_000_000, read_file),
    ".csv, quotes": ("a.csv", 'text\n"' + '""' * 500_000, read_file),
    ".jsonl, a line": ("a.jsonl", json.dumps({"text": "x" * 1_000_000}), read_file),
    ".jsonl, deep": ("a.jsonl", "[" * 1_000_000, read_file),
    ".jsonl, names": (
        "a.jsonl",
        json.dumps({"text": "x"} | dict.fromkeys(map(str, range(30_000)))),
        read_file,
    ),
    ".txt, lines": ("a.txt", "x\n" * 100_000, read_file),
    "questions, many places": (
        "a.jsonl",
        json.dumps({"question": "q", "passage": "a" * 20_000, "answers": ["a"]}),
        read_question_lines,
    ),
}


@pytest.mark.parametrize("kind", LONG)
def test_what_is_long_is_read_in_linear_time(place, kind):
    name, content, read = LONG[kind]
    with tried(f"long: {kind.split(',')[0]}"):
        assert len(read(place(name, content.encode()))) > 0
