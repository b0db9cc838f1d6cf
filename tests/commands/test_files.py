"""Texts and pairs on the command line: from arguments and files of every kind, rows and all."""

import csv
import json
import shutil

import pytest

from diffmask_jax import cli

PAIRS = [
    ("the film is great fun", "a dull plot"),
    ("not bad!", "the actor was very warm"),
    ("quite a film", "HATE it!"),
]


@pytest.fixture
def command(capsys):
    """(arguments) -> (stdout, stderr) of a command that must go well."""

    def run(*arguments: object) -> tuple[str, str]:
        status = cli.main([*map(str, arguments)])
        out, err = capsys.readouterr()
        assert status == 0, err
        return out, err

    return run


@pytest.fixture
def refused(capsys, tmp_path):
    """(arguments) -> the line on stderr of a command that must fail and leave nothing behind."""

    def run(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert cli.main([*map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("diffmask: ") and err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


@pytest.fixture
def explained(command, run, tmp_path):
    """(file, options) -> the objects that `explain --file … --jsonl` writes."""

    def explain(file, *options: object) -> list[dict]:
        out = tmp_path / "out.jsonl"
        assert command("explain", run, "--file", file, "--jsonl", out, *options)[1] == ""
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    return explain


def write_table(path, rows, delimiter) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


# --- explaining a file -----------------------------------------------------------------------


def test_the_lines_of_a_txt_keep_their_numbers(explained, tmp_path):
    (tmp_path / "a.txt").write_text("\nthe film\n\n  \na dull plot\n")
    found = explained(tmp_path / "a.txt")
    assert [(line["row"], line["text"]) for line in found] == [
        ("2", "the film"),
        ("5", "a dull plot"),
    ]
    assert all("pair" not in line for line in found)


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_the_rows_of_a_table_are_called_by_their_lines_or_ids(
    explained, tmp_path, ending, delimiter
):
    file = tmp_path / f"a.{ending}"
    write_table(
        file,
        [["sentence", "other"], ["the film", "x"], [], ["a\nplot", "y"], ["fun", "z"]],
        delimiter,
    )
    assert [(line["row"], line["text"]) for line in explained(file)] == [
        ("2", "the film"),
        ("4", "a\nplot"),
        ("6", "fun"),
    ]  # fmt: skip
    chosen = explained(file, "--text-column", "other")
    assert [line["text"] for line in chosen] == ["x", "y", "z"]

    write_table(file, [["id", "text"], ["b-7", "the film"], ["a-9", "fun"]], delimiter)
    assert [line["row"] for line in explained(file)] == ["b-7", "a-9"]


def test_objects_of_a_jsonl(explained, tmp_path):
    file = tmp_path / "a.jsonl"
    lines = [json.dumps({"idx": n + 5, "review": first}) for n, (first, _) in enumerate(PAIRS)]
    file.write_text("\n\n".join(lines))
    found = explained(file)
    assert [(line["row"], line["text"]) for line in found] == [
        (str(n + 5), first) for n, (first, _) in enumerate(PAIRS)
    ]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_two_columns_are_pairs(explained, tmp_path, ending):
    def write(first, second):
        file = tmp_path / f"a.{ending}"
        if ending == "jsonl":
            objects = [{first: a, second: b} for a, b in PAIRS]
            file.write_text("".join(json.dumps(pair) + "\n" for pair in objects))
        else:
            write_table(file, [(first, second), *PAIRS], {"csv": ",", "tsv": "\t"}[ending])
        return file

    usual = explained(write("premise", "hypothesis"))
    assert [(line["text"], line["pair"]) for line in usual] == PAIRS
    named = explained(write("a", "b"), "--text-column", "b", "--pair-column", "a")
    assert [(line["pair"], line["text"]) for line in named] == PAIRS
    assert usual[0]["keep"] != named[0]["keep"]
    alone = explained(write("premise", "hypothesis"), "--text-column", "premise")
    assert all("pair" not in line for line in alone)


def test_a_column_that_is_not_there(refused, run, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\nx,y\n")
    explain = ["explain", run, "--file", tmp_path / "a.csv"]
    assert "has no column of texts, only 'a', 'b'" in refused(*explain)
    assert "has no column 'c'" in refused(*explain, "--text-column", "c")
    (tmp_path / "a.xls").write_text("")
    assert "files ending in .xls are not supported" in refused(*explain[:3], tmp_path / "a.xls")


def test_pairs_of_a_file_beside_a_picture_and_a_page(command, run, tmp_path):
    write_table(tmp_path / "a.csv", [("text", "pair"), PAIRS[0]], ",")
    places = [word for kind in ("png", "html") for word in (f"--{kind}", tmp_path / f"a.{kind}")]
    out, err = command("explain", run, "--file", tmp_path / "a.csv", *places)
    assert "with probability" in out and err == ""
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert all(word in page for half in PAIRS[0] for word in half.split())


# --- a pair as arguments ---------------------------------------------------------------------


def test_a_pair_is_drawn_as_two_texts(command, run):
    out, err = command("explain", run, PAIRS[0][0], "--pair", PAIRS[0][1])
    assert err == "" and all(word in out for half in PAIRS[0] for word in half.split())
    joined, _ = command("explain", run, " ".join(PAIRS[0]))
    assert out != joined
    assert command("explain", run, "--pair", PAIRS[0][1], PAIRS[0][0])[0] == out
    always, _ = command("explain", run, PAIRS[0][0], "--pair", PAIRS[0][1], "--color", "always")
    assert "\x1b[" in always


def test_a_pair_has_one_first_text(refused, run, texts_file):
    line = "--pair goes with one text"
    assert line in refused("explain", run, "fun", "dull", "--pair", "film")
    assert line in refused("explain", run, "--file", texts_file, "--pair", "film")
    assert line in refused("explain", run, "--pair", "film")
    assert "not both" in refused("explain", run, "a", "--pair", "b", "--file", texts_file)
    assert "second text of the pair is empty" in refused("explain", run, "a", "--pair", " ")


def test_columns_without_a_file_are_refused(refused, run):
    """What is given and has no effect is a mistake."""
    for column in ("text", "pair", "label"):
        if column != "label":
            line = refused("explain", run, "fun", f"--{column}-column", "a")
            assert f"--{column}-column" in line and "--file" in line
        line = refused("evaluate", run, f"--{column}-column", "a")
        assert f"--{column}-column" in line and "--texts" in line


@pytest.mark.long
def test_a_pair_is_compared(command, refused, run, texts_file, tmp_path):
    """The run's own files lie nowhere: its statistics are made from another's."""
    folder = shutil.copytree(run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config |= {"train": str(texts_file), "dev": str(texts_file)}
    (folder / "config.json").write_text(json.dumps(config))
    drawn = [tmp_path / "a.html", tmp_path / "a.png"]
    compare = ["compare", folder, "--text", PAIRS[0][0], "--pair", PAIRS[0][1]]
    command(*compare, "--html", drawn[0], "--png", drawn[1])
    page = drawn[0].read_text(encoding="utf-8")
    assert " / ".join(PAIRS[0]) in page and "DiffMask, input" in page
    assert drawn[1].read_bytes().startswith(b"\x89PNG")
    empty = ["compare", folder, "--text", "fun", "--pair", ""]
    assert "second text of the pair is empty" in refused(*empty, "--html", tmp_path / "b.html")


# --- evaluating a file -----------------------------------------------------------------------


def test_labels_of_a_file_give_scores_and_without_them_there_are_none(command, run, tmp_path):
    labels = ["bad", "good", "mixed"]
    rows = [(first, label) for (first, _), label in zip(PAIRS, labels, strict=True)]
    write_table(tmp_path / "a.csv", [("sentence", "gold"), *rows], ",")
    evaluate = ["evaluate", run, "--texts", tmp_path / "a.csv", "--out", tmp_path / "a.json"]
    out, _ = command(*evaluate)
    assert "accuracy original → masked" in out and "macro-F1 original → masked" in out
    report = json.loads((tmp_path / "a.json").read_text())
    assert [score["name"] for score in report["scores"]] == ["accuracy", "macro_f1"]
    assert {"accuracy_original", "macro_f1_masked"} <= set(report["sampled"][0])

    write_table(tmp_path / "a.csv", [("sentence", "no label"), *rows], ",")
    out, _ = command(*evaluate)
    assert "accuracy" not in out and json.loads((tmp_path / "a.json").read_text())["scores"] == []
    assert "macro-F1" in command(*evaluate, "--label-column", "no label")[0]


def test_texts_of_a_kind_that_the_probe_was_not_trained_on_are_told(command, run, tmp_path):
    known = shutil.copytree(run, tmp_path / "run")
    (known / "fingerprint.json").write_text(json.dumps({"train pairs": False}))
    write_table(tmp_path / "a.csv", [("premise", "hypothesis"), *PAIRS], ",")
    places = ["--texts", tmp_path / "a.csv", "--out", tmp_path / "a.json"]
    told = command("evaluate", known, *places)[1]
    assert "warning: not to be trusted: the probe was trained on single texts, not on pairs" in told


def test_labels_may_be_numbers_or_names_and_unknown_ones_are_told(command, refused, run, tmp_path):
    file, out = tmp_path / "a.jsonl", ["--out", tmp_path / "a.json"]

    def write(*labels) -> None:
        pairs = zip(PAIRS, labels, strict=True)
        lines = [json.dumps({"text": first, "label": label}) for (first, _), label in pairs]
        file.write_text("\n".join(lines))

    write(0, 2, 1)
    numbered = command("evaluate", run, "--texts", file, *out)[0]
    write("bad", "good", "Mixed")
    assert command("evaluate", run, "--texts", file, *out)[0] == numbered
    named = ["evaluate", run, "--texts", file, "--label-column", "label", *out]
    write("bad", "awful", "bad")
    line = refused(*named)
    assert "row 2" in line and "'awful' is not one of bad, mixed, good" in line
    write(0, 3, 1)
    assert "labels 0–3, but the model has 3 classes" in refused(*named)
    write(0, None, 1)
    assert "row 2 has no label" in refused(*named)


# --- what is no run --------------------------------------------------------------------------


def test_a_model_in_place_of_a_run(refused, tiny_bert, tmp_path):
    """The likeliest mistake of all: to explain a classifier without a probe."""
    model = shutil.copytree(tiny_bert, tmp_path / "my-bert")
    for command in (["explain", model, "hi"], ["evaluate", model]):
        line = refused(*command)
        assert f"{model} contains a model, not a run: train a probe on it first" in line


# --- what is told of a row, and what is written ----------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        ("a.txt", "the film\n\n\n{long}\n", "row 4"),
        ("a.jsonl", '{{"text": "the film"}}\n\n{{"text": "{long}"}}\n', "row 3"),
        ("a.csv", "id,text\nx,the film\n\nx,{long}\n", "row 4"),
        ("a.csv", "id,text\nx,the film\n\ny,{long}\n", "row y"),
    ],
)
def test_a_message_names_the_row_as_the_file_has_it(refused, run, tmp_path, name, content, row):
    (tmp_path / name).write_text(content.format(long="film " * 30))
    said = refused("explain", run, "--file", tmp_path / name)
    assert f"diffmask: {row}: the text has 32 word pieces" in said


def test_two_outputs_of_one_name(refused, run, tmp_path):
    out = tmp_path / "x"
    assert "are the same file" in refused("explain", run, "film", "--html", out, "--jsonl", out)
    assert "are the same file" in refused(
        "compare", run, "--text", "a", "--html", out, "--png", out
    )


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "RUN", "--texts", "TEXTS", "--out", "RUN/config.json"),
        ("report", "RUN", "--texts", "TEXTS", "--tags", "DIR/x.json", "--out", "DIR/x.html"),
        ("explain", "RUN", "film", "--html", "RUN/probe.safetensors"),
        ("explain", "RUN", "film", "--jsonl", "MODEL/vocab.txt"),
        ("compare", "RUN", "--text", "film", "--html", "MODEL/config.json"),
    ],
)
def test_an_output_replaces_nothing_that_is_read(
    refused, run, tiny_bert, texts_file, tmp_path, words
):
    """Of the run, of its model, or beside the texts."""
    (tmp_path / "x.json").write_text("{}")
    places = {"RUN": run, "MODEL": tiny_bert, "TEXTS": texts_file, "DIR": tmp_path}
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    assert "are the same file: one would overwrite the other" in refused(*words)
