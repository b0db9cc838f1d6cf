"""A run knows the model and the texts that it was made with, and says so where they are others."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from bert_folder import save_msgpack, save_rest, save_safetensors, save_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax import cli
from diffmask_jax.commands.parse import parse
from diffmask_jax.commands.shared import data_of
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.comparing import noise_of
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.models.heads import HEADS
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.tasks.files import read_file
from diffmask_jax.training import fingerprint, run_folder
from diffmask_jax.training.train import prepare

TEXT = "the film is great fun"


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_classifier(tiny_bert)


@pytest.fixture
def made(tiny_bert, save_run, sentences, tmp_path, monkeypatch):
    """A run and its texts, with its fingerprint, as training leaves it."""
    monkeypatch.chdir(tmp_path)
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).write_text("".join(f"{text}\n" for text in sentences))
    folder = save_run(tmp_path / "run", tiny_bert)
    fingerprint.keep(folder, prepare(run_folder.load_config(folder)).made_with)
    return folder


@pytest.fixture
def other(save_bert, tmp_path):
    """A model of the same sizes with other weights."""
    return save_bert(tmp_path / "other", seed=13)


# --- what it sees ----------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=30)
def test_every_number_of_every_tensor_counts(model, data):
    leaves, tree = jax.tree.flatten(model.params)
    which = data.draw(st.integers(0, len(leaves) - 1))
    changed = np.array(leaves[which])
    place = data.draw(st.integers(0, changed.size - 1))
    changed.flat[place] = np.nextafter(changed.flat[place], np.float32(9))  # its last bit
    params = tree.unflatten([*leaves[:which], changed, *leaves[which + 1 :]])
    before, after = map(fingerprint.of_model, (model, model._replace(params=params)))
    assert fingerprint.differing(before, after) == ["weights"]


def test_two_tensors_that_have_changed_places_are_another_model(model):
    """But to a run of an older version, which remembers no places."""
    first, second = model.params["blocks"]
    swapped = model.params | {"blocks": [first | {"query": second["query"]}, second]}
    swapped["blocks"][1] = second | {"query": first["query"]}
    before, after = map(fingerprint.of_model, (model, model._replace(params=swapped)))
    assert fingerprint.differing(before, after) == [fingerprint.PLACES]
    del before[fingerprint.PLACES]
    assert fingerprint.differing(before, after) == []


def test_a_model_in_another_place_and_format_is_the_same(tmp_path):
    found = []
    for save in (save_safetensors, save_shards, save_msgpack):
        folder = tmp_path / save.__name__
        folder.mkdir()
        save_rest(folder)
        save(folder)
        found.append(fingerprint.of_model(load_classifier(folder)))
    assert found[0] == found[1] == found[2]
    assert json.loads(json.dumps(found[0])) == found[0]


def test_what_else_makes_another_model(model, tiny_bert, tmp_path):
    def differing(changed) -> list[str]:
        return fingerprint.differing(*map(fingerprint.of_model, (model, changed)))

    config = dataclasses.replace(model.config, heads=4, epsilon=1e-5)
    found = differing(model._replace(config=config))
    assert found == ["num_attention_heads", "layer_norm_eps"]
    assert differing(model._replace(head=HEADS["multi_label_classification"])) == ["problem_type"]
    assert differing(model._replace(labels=("a", "b", "c"))) == []
    vocabulary = (tiny_bert / "vocab.txt").read_text()
    for name, content in {
        "vocab.txt": vocabulary.replace("good\nbad", "x").replace("great\nbad", "bad\ngreat"),
        "tokenizer_config.json": '{"do_lower_case": false}',
    }.items():
        folder = shutil.copytree(tiny_bert, tmp_path / name)
        (folder / name).write_text(content)
        assert differing(load_classifier(folder)) == ["tokenizer"], name


def test_texts_are_told_apart_and_labels_are_not_looked_at(tmp_path):
    def digest(content: str) -> str:
        (tmp_path / "a.csv").write_text(content)
        return fingerprint.of_texts(dev=read_file(tmp_path / "a.csv"))["dev texts"]

    assert digest("text,label\nfun,1\ndull,0\n") == digest("text,label\nfun,0\ndull,0\n")
    contents = ("text\nfun\ndull", "text\ndull\nfun", "text\nfun", "text,pair\nfun,dull")
    assert len({digest(content) for content in contents}) == 4


def test_a_pair_for_a_single_text_is_told_by_the_texts(tmp_path):
    (tmp_path / "one.csv").write_text("text\nfun\n")
    (tmp_path / "two.csv").write_text("text,pair\nfun,dull\n")
    one, two = (
        fingerprint.of_texts(train=read_file(tmp_path / name)) for name in ("one.csv", "two.csv")
    )
    assert fingerprint.differing(one, two) == ["train texts"]


# --- what a run says -------------------------------------------------------------------------


def test_training_remembers_it_in_the_folder(made):
    kept = json.loads((made / fingerprint.FILE).read_text())
    assert {"weights", "tokenizer", "train texts", "dev texts", "hidden_size"} <= set(kept)
    assert fingerprint.pairs_in(made) is False
    config = run_folder.load_config(made)
    for file in made.iterdir():
        file.unlink()
    assert run_folder.open_run(made, config, kept) is False
    assert json.loads((made / fingerprint.FILE).read_text()) == kept
    (made / "config.json").unlink()  # killed right here
    assert run_folder.open_run(made, config, kept) is False


COMMANDS = ("explain RUN", "evaluate RUN", "report RUN", "compare RUN --html a.html --text")


@pytest.mark.parametrize("command", COMMANDS)
def test_another_model_is_refused(made, other, command, capsys):
    words = [str(made) if word == "RUN" else word for word in command.split()]
    words += [TEXT] if words[0] in ("explain", "compare") else []
    assert cli.main([*words, "--model", str(other)]) == 2
    assert capsys.readouterr() == (
        "",
        f"diffmask: {made} was made with other weights: restore those, retrain, or pass --anyway "
        "to continue\n",
    )


def test_another_model_is_taken_by_who_asks_for_it(made, other, capsys):
    assert cli.main(["explain", str(made), TEXT, "--model", str(other), "--anyway"]) == 0
    out, err = capsys.readouterr()
    assert "with probability" in out
    assert err == f"warning: {made} was made with other weights\n"


def test_training_goes_on_with_the_same_model_and_texts_alone(made, tmp_path, other, capsys):
    """But with any in a run of an older version, which remembers nothing."""
    config = run_folder.load_config(made)
    changed = prepare(config, model=load_classifier(other)).made_with
    with pytest.raises(UserError, match="was made with other weights:"):
        run_folder.open_run(made, config, changed)
    for split in ("train", "dev"):
        file = tmp_path / f"{split}.txt"
        file.write_text(file.read_text().replace("fun", "dull"))
    changed = prepare(config).made_with
    with pytest.raises(UserError, match="was made with other train texts, dev texts:"):
        run_folder.open_run(made, config, changed)
    assert run_folder.open_run(made, config, changed, anyway=True)
    assert "warning: " in capsys.readouterr().err
    (made / fingerprint.FILE).unlink()
    assert run_folder.open_run(made, config, changed)
    assert not (made / fingerprint.FILE).exists()


def test_other_pieces_of_the_same_texts_are_other_data(made, tmp_path):
    """As of a run that was begun with --truncate, and is continued without."""
    config = run_folder.load_config(made)
    before = prepare(config)
    cut = [text._replace(ids=text.ids[:2]) for text in before.texts.train]
    changed = dict(before.made_with) | fingerprint.of_pieces(train=cut)
    with pytest.raises(UserError, match="was made with other train pieces: restore"):
        run_folder.open_run(made, config, changed)
    assert run_folder.open_run(made, config, before.made_with)
    first, second, *rest = before.texts.train
    moved = [
        first._replace(ids=first.ids[:-1]),
        second._replace(ids=np.r_[first.ids[-1:], second.ids]),
    ]
    assert fingerprint.of_pieces(train=[*moved, *rest]) != fingerprint.of_pieces(
        train=before.texts.train
    )


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_texts_that_were_edited_are_refused_where_they_are_read(made, tmp_path, command):
    explainer = Explainer.from_pretrained(made)
    file = tmp_path / "dev.txt"
    file.write_text(file.read_text().replace("fun", "dull"))
    with pytest.raises(UserError, match="was made with other dev texts"):
        data_of(parse([command, str(made)]), explainer)
    for more in (["--anyway"], ["--split", "train"], ["--texts", str(file)]):
        assert len(data_of(parse([command, str(made), *more]), explainer)[1].encoded) == 8


def test_a_damaged_fingerprint_is_named(made, capsys):
    (made / fingerprint.FILE).write_text("[]")
    assert cli.main(["explain", str(made), TEXT]) == 2
    assert f"{made / fingerprint.FILE} is damaged" in capsys.readouterr().err


def test_the_statistics_of_a_comparison_are_those_of_its_model(made, other, tmp_path, capsys):
    file = made / "statistics.safetensors"
    ours, theirs = (
        Explainer.from_pretrained(made),
        Explainer.from_pretrained(made, other, anyway=True),
    )

    def kept(explainer: Explainer) -> bytes:
        noise_of(made, explainer)
        return file.read_bytes()

    first = kept(ours)
    assert kept(ours) == first
    capsys.readouterr()
    assert kept(theirs) != first
    assert f"{file} belongs to another model: computing it again" in capsys.readouterr().err
    assert kept(ours) == first
    train = tmp_path / "train.txt"
    train.write_text(train.read_text() + "a slow film\n")
    assert kept(ours) == first  # of the texts that the run was trained on
    file.unlink()
    with pytest.raises(UserError, match="was made with other train texts"):
        kept(ours)
    noise_of(made, ours, anyway=True)
    train.unlink()
    with pytest.raises(UserError, match=r"cannot read .*; some methods need .* methods gradient,"):
        noise_of(made, ours, anyway=True)
    assert not file.exists()  # or who has not asked for them would get them
