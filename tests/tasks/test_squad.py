"""SQuAD through TFDS: same questions, never stale, never half, from whatever part is there.

What it shares with the treebank (killed, raced and damaged preparations) is tested there.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from shared import shared

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.questions import Answer, Question
from diffmask_jax.tasks.squad import SQUAD, SquadPlaces, load_squad, read_questions
from diffmask_jax.tasks.squad_json import read_squad

PASSAGE = "Bees make honey. Caf\u00e9s \U0001f600 sell it."
DEV = [
    Question("d1", "Who makes it?", PASSAGE, (Answer("Bees", 0), Answer("\U0001f600", 23))),
    Question("d2", "Who eats it?", PASSAGE, ()),
    Question("d3", "Who sells it?", PASSAGE, (Answer("Caf\u00e9s", 17), Answer("Caf\u00e9s", 17))),
]
# Enough for a shuffle to show.
TRAIN = [Question(f"t{i}", f"Which is {i}?", f"n{i}", (Answer(f"{i}", 1),)) for i in range(30)]


def written(questions) -> str:
    """A SQuAD file, a paragraph for each question."""
    paragraphs = [
        {
            "context": one.passage,
            "qas": [
                {
                    "id": one.id,
                    "question": one.question,
                    "answers": [{"text": a.text, "answer_start": a.start} for a in one.answers],
                    "is_impossible": not one.answers,
                }
            ],
        }
        for one in questions
    ]
    return json.dumps({"version": "v2.0", "data": [{"title": "T", "paragraphs": paragraphs}]})


@pytest.fixture
def builder():
    """The TFDS side, to be spoiled by a test."""
    pytest.importorskip("tensorflow_datasets")
    from diffmask_jax.tasks import squad_builder

    return squad_builder


@pytest.fixture
def raw(tmp_path, builder):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "train-v1.1.first44.json").write_text(written(TRAIN))
    (folder / "dev-v1.1.json").write_text(written(DEV))
    return folder


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_split_in_the_order_of_its_file(raw, data):
    assert load_squad("dev", raw, data) == DEV
    assert load_squad("train", raw, data) == TRAIN == read_squad(raw / "train-v1.1.first44.json")


def test_the_task_gives_pairs_and_leaves_out_what_has_no_answer(raw, data):
    places = SquadPlaces(str(raw), str(data))
    assert read_questions(places, "dev") == DEV
    examples = SQUAD.read(places, "dev")
    assert examples.texts == [("Who makes it?", PASSAGE), ("Who sells it?", PASSAGE)]
    assert examples.rows == ["d1", "d3"]
    assert list(examples.gold) == [DEV[0].answers, DEV[2].answers]
    assert examples.notes == ("questions left out, because their passage does not answer them: 1",)
    assert SQUAD.read(places, "train").notes == () and SQUAD.splits == ("train", "dev")


def test_questions_of_which_none_has_an_answer_are_refused(raw, data):
    (raw / "dev-v1.1.json").write_text(written(DEV[1:2]))
    with pytest.raises(UserError, match="no question of dev has an answer"):
        SQUAD.read(SquadPlaces(str(raw), str(data)), "dev")


def test_passages_are_kept_once(raw, data):
    first, second, _ = load_squad("dev", raw, data)
    assert first.passage is second.passage


def test_a_second_call_reuses_the_copy_and_changed_files_are_prepared_anew(
    raw, data, builder, monkeypatch
):
    load_squad("train", raw, data)
    monkeypatch.setattr(builder, "read_squad", lambda path: pytest.fail("prepared again"))
    assert load_squad("dev", raw, data) == DEV
    monkeypatch.undo()
    (raw / "dev-v1.1.json").write_text(written(DEV[1:]))
    assert load_squad("dev", raw, data) == DEV[1:]


def test_which_file_is_a_split_s(raw, builder):
    assert builder.file_of(raw, "train").name == "train-v1.1.first44.json"
    (raw / "dev-v2.0.json").write_text(written(DEV))
    assert builder.file_of(raw, "dev").name == "dev-v1.1.json"
    (raw / "dev-v1.1.json").unlink()
    assert builder.file_of(raw, "dev").name == "dev-v2.0.json"
    (raw / "train-v1.1.json").write_text(written(TRAIN))
    with pytest.raises(
        UserError,
        match=r"several files of train \(train-v1\.1\.first44\.json, train-v1\.1\.json\): keep one",
    ):
        load_squad("train", raw)


def test_a_missing_folder_file_or_split(raw, data):
    with pytest.raises(UserError, match="nowhere is not a folder: it should hold train-v1"):
        load_squad("dev", raw / "nowhere", data)
    (raw / "dev-v1.1.json").unlink()
    with pytest.raises(UserError, match=r"raw lacks dev-v1\.1\.json"):
        load_squad("train", raw, data)
    with pytest.raises(UserError, match="'test': choose train or dev"):
        load_squad("test", raw, data)
    assert not data.exists()


def test_a_broken_question_is_named_and_leaves_nothing(raw, data):
    broken = DEV[0]._replace(answers=(Answer("Wasps", 0),))
    (raw / "dev-v1.1.json").write_text(written([DEV[2], broken]))
    with pytest.raises(
        UserError, match=r"dev-v1\.1\.json, article 1 \('T'\), paragraph 2, question 1 \(d1\): the"
    ):
        load_squad("train", raw, data)
    assert files(data) == []


@pytest.fixture
def official(raw, builder, monkeypatch):
    """Stands in for the files on the network."""
    paths = {"train": raw / "train-v1.1.first44.json", "dev": raw / "dev-v1.1.json"}
    monkeypatch.setattr(
        builder,
        "OFFICIAL",
        {
            split: builder.Download(path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest())
            for split, path in paths.items()
        },
    )
    return paths


def test_the_download_is_read_once(official, data):
    assert load_squad("dev", None, data) == DEV
    for path in official.values():
        path.unlink()
    assert load_squad("train", data_dir=data) == TRAIN


def test_no_network_or_another_file_there(official, data):
    official["dev"].write_text(written(DEV[1:]))
    with pytest.raises(UserError, match=r"dev-v1\.1\.json is not the file it was"):
        load_squad("dev", None, data)
    official["train"].unlink()
    with pytest.raises(UserError, match=r"cannot download file:.*pass raw_dir with the folder"):
        load_squad("dev", None, data)
    assert files(data) == []


def test_the_real_addresses(builder):
    """Those of TFDS's own checksums.tsv."""
    tfds = pytest.importorskip("tensorflow_datasets")
    table = Path(tfds.__file__).parent / "datasets" / "squad" / "checksums.tsv"
    known = {row.split("\t")[0]: row.split("\t")[2] for row in table.read_text().splitlines()}
    assert [known[url] for url, _ in builder.OFFICIAL.values()] == [
        sha256 for _, sha256 in builder.OFFICIAL.values()
    ]


def test_tfds_is_asked_for_only_when_needed(raw, data):
    code = """if True:
        import sys
        from pathlib import Path
        sys.modules["tensorflow_datasets"] = None
        from diffmask_jax.tasks.squad import load_squad
        from diffmask_jax.errors import UserError
        try:
            load_squad("dev", Path(sys.argv[1]), Path(sys.argv[2]))
        except UserError as error:
            print(error)"""
    result = subprocess.run(
        [sys.executable, "-c", code, raw, data],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "run `pip install 'diffmask_jax[sst]'`" in result.stdout


@pytest.mark.long
def test_the_real_files(data, builder):
    (real,) = shared("data/squad")
    for split, name in (("train", "train-v1.1.first44.json"), ("dev", "dev-v1.1.json")):
        assert load_squad(split, real, data) == read_squad(real / name)
    dev = real / "dev-v1.1.json"
    assert hashlib.sha256(dev.read_bytes()).hexdigest() == builder.OFFICIAL["dev"].sha256
