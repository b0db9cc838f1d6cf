"""A classifier of anyone's texts, pairs, sets of labels or numbers, for PyTorch and for `train`."""

import json

import jax
import numpy as np
import pytest

from diffmask_jax import cli
from diffmask_jax.data import batches
from diffmask_jax.models.loading import load_classifier

PAIRS = [
    ("the film is great fun", "a dull plot"),
    ("not bad!", "the actor was warm"),
    ("quite a film", "HATE it!"),
    ("love the plot", "a warm film"),
] * 2
NAMES = ["yes", "no", "no", "yes"] * 2
SETS = [["long", "funny"], [], ["funny"], ["long", "old"]] * 2
NUMBERS = [0.5, -1, 2.5, 3] * 2
FEW = ["--epochs", "2", "--batch-size", "4", "--encoder-rate", "0.001", "--head-rate", "0.01"]


@pytest.fixture(scope="module", autouse=True)
def one_length():
    """The texts padded to 20 word pieces, all that the model takes: one program for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LENGTHS", (20,))
        yield


@pytest.fixture
def finetune(shallow_bert, tmp_path):
    """(labels, options) -> (status, folder) of a fine-tuning on pairs with these labels."""

    def command(labels, *options: str):
        file, out = tmp_path / "pairs.jsonl", tmp_path / "model"
        rows = zip(PAIRS, labels, strict=True)
        objects = [{"sentence1": a, "sentence2": b, "label": label} for (a, b), label in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in objects))
        places = ["--model", shallow_bert, "--train", file, "--dev", file, "--out", out]
        return cli.main(["finetune", "texts", *map(str, places), *FEW, *options]), out

    return command


def assert_pytorch_agrees(folder) -> None:
    """PyTorch loads the folder and says of a padded batch of pairs what we say."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(*map(list, zip(*PAIRS, strict=True)), padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**given).logits.numpy()
    ours = load_classifier(folder)
    assert theirs.config.problem_type == ours.head.problem_type
    logits, _ = jax.jit(ours.network.states)(ours.params, batches.pad(ours.encode(PAIRS), 20))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def train_on(folder) -> int:
    file, out = folder.parent / "pairs.jsonl", folder.parent / "run"
    places = ["--model", folder, "--train", file, "--dev", file, "--out", out]
    few = ["--steps", "2", "--steps-per-call", "2", "--batch-size", "4", "--validate-every", "2"]
    loose = ["--tolerance", "1e6", "--min-agreement", "1e-9"]
    return cli.main(["train", "texts", *map(str, places), *few, *loose])


def test_pairs_with_named_classes(finetune, capsys):
    status, folder = finetune(NAMES)
    out = capsys.readouterr().out
    assert status == 0 and "dev accuracy " in out and "macro-F1 " in out
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "no", "1": "yes"}
    assert config["problem_type"] == "single_label_classification"
    assert_pytorch_agrees(folder)
    assert finetune(NAMES) == (0, folder)  # a finished one is left as it is
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == out.splitlines()[-1]


@pytest.mark.long
def test_what_was_fine_tuned_is_trained_on_and_explained(finetune, capsys):
    _, folder = finetune(NAMES)
    assert train_on(folder) == 0
    capsys.readouterr()
    explain = ["explain", str(folder.parent / "run"), *PAIRS[0][:1], "--pair", PAIRS[0][1]]
    assert cli.main(explain) == 0
    assert capsys.readouterr().out.startswith(("“yes”", "“no”"))


@pytest.mark.long
def test_sets_of_labels(finetune, capsys):
    status, folder = finetune(SETS, "--problem-type", "multi_label_classification")
    assert status == 0 and "micro-F1" in capsys.readouterr().out
    config = json.loads((folder / "config.json").read_text())
    assert [*config["id2label"].values()] == ["funny", "long", "old"]
    assert config["problem_type"] == "multi_label_classification"
    assert_pytorch_agrees(folder)
    assert load_classifier(folder).labels == ("funny", "long", "old")


def test_numbers(finetune, capsys):
    status, folder = finetune(NUMBERS, "--problem-type", "regression")
    assert status == 0 and "Pearson's r" in capsys.readouterr().out
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == "regression" and len(config["id2label"]) == 1
    assert_pytorch_agrees(folder)


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        (NAMES, "--batch-size 9", "8 texts do not fill one batch of 9"),
        (["yes"] * 8, "", "the data has only one class, 'yes'"),
        ([None] * 8, "", "fine-tuning needs labels"),
        ([*NAMES[:7], None], "", "row 8 has no label"),
        (NAMES, "--label-column gold", "no column 'gold'"),
        (NAMES, "--problem-type regression", "row 1: the label 'yes' is not a number"),
        (NAMES, "--embeddings m", "--embeddings goes with --model gru"),
        (NAMES, "--model nothing/here/at-all", "no folder nothing/here/at-all"),
        (NAMES, "--dev nothing.csv", "nothing.csv: No such file"),
    ],
)
def test_a_mistake_leaves_no_folder(finetune, capsys, labels, options, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, folder = finetune(labels, *options.split())
    out, err = capsys.readouterr()
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert says in err
    assert not folder.exists()


def test_labels_of_dev_that_training_has_not_are_told(finetune, capsys, tmp_path):
    dev = tmp_path / "dev.csv"
    dev.write_text("sentence1,sentence2,label\na,b,yes\na,b,perhaps\n")
    status, folder = finetune(NAMES, "--dev", str(dev))
    err = capsys.readouterr().err
    assert status == 2 and "row 3: the label 'perhaps' is not one of no, yes" in err
    assert not folder.exists()


def test_a_place_that_holds_something_else(finetune, capsys, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("not yours")
    status, folder = finetune(NAMES)
    assert status == 2 and "is not empty and contains no fine-tuning" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
