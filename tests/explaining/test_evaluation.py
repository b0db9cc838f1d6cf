"""The table of an evaluation, computed a second time with NumPy and PyTorch."""

import json

import numpy as np
import pytest
import safetensors.numpy

from diffmask_jax import Explainer, cli
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import evaluation
from diffmask_jax.models.huggingface.tokenizers import read_tokenizer
from diffmask_jax.tasks.encoded_examples import encode_examples, gold_labels
from diffmask_jax.tasks.files import read_file
from diffmask_jax.training import run_folder, setup
from diffmask_jax.training.config import run_config

LAYERS = ["W", "E", "1", "2", "mean"]


@pytest.fixture(scope="module", params=["input", "hidden"])
def either(request, tiny_bert, save_run, texts_file, tmp_path_factory):
    """A run of either kind, and its evaluation on the file of texts."""
    folder = save_run(tmp_path_factory.mktemp("runs") / request.param, tiny_bert, request.param)
    return folder, evaluate_file(folder, texts_file)


def evaluate_file(folder, file) -> dict:
    explainer = Explainer.from_pretrained(folder)
    data = encode_examples(explainer.model, read_file(file), truncate=True)
    return evaluation.evaluate(
        explainer, file.name, data, gold_labels(explainer.model, data), str(folder)
    )


def evaluate_split(folder, split: str) -> dict:
    explainer = Explainer.from_pretrained(folder)
    examples = setup.read_split(explainer.config, split)
    data = encode_examples(explainer.model, examples, truncate=True)
    return evaluation.evaluate(
        explainer, split, data, gold_labels(explainer.model, data), str(folder)
    )


# --- the same numbers without JAX ------------------------------------------------------------


class PyTorch:
    """The tiny classifier in PyTorch, whose states can be read and replaced."""

    def __init__(self, folder) -> None:
        import transformers

        model = transformers.BertForSequenceClassification.from_pretrained(folder)
        self.model = model.eval()
        embeddings, blocks = model.bert.embeddings, model.bert.encoder.layer
        self.makers = [embeddings.word_embeddings, embeddings, *blocks]

    def __call__(self, tokens, replaced: int | None = None, state=None):
        """Class probabilities and all states, of one text."""
        import torch

        states = {}

        def keep(number):
            def hook(module, inputs, output):
                if number == replaced:
                    output = torch.tensor(state[None], dtype=torch.float32)
                states[number] = output[0].numpy()
                return output

            return hook

        handles = [
            maker.register_forward_hook(keep(number)) for number, maker in enumerate(self.makers)
        ]
        with torch.inference_mode():
            logits = self.model(input_ids=torch.tensor([tokens])).logits[0].double()
        for handle in handles:
            handle.remove()
        probabilities = torch.softmax(logits, dim=-1).numpy()
        return probabilities, [states[number] for number in range(len(self.makers))]


def keep_probabilities(tensors, gate: str, states) -> np.ndarray:
    """(layers, tokens) from the tensors of probe.safetensors, by the paper's formulas."""
    votes = []
    for k, state in enumerate(states):
        x = np.concatenate([states[0], state], axis=-1) if gate == "input" else state

        def linear(x, name, k=k):
            kernel = tensors[f"gates.{k}.{name}.kernel"].astype(np.float64)
            scale = tensors[f"gates.{k}.{name}_norm.{name}/kernel/scale"]
            bias = tensors[f"gates.{k}.{name}.bias"]
            return x @ (scale * kernel / np.linalg.norm(kernel, axis=0)) + bias

        logit = 10 * np.tanh(linear(np.tanh(linear(x, "first")), "second")[:, 0])
        logit += tensors[f"gates.{k}.shift"]
        votes.append(1 / (1 + np.exp(-(logit - 0.2 * np.log(0.2)))))
    return np.cumprod(votes, axis=0) if gate == "input" else np.stack(votes)


def test_thresholded_gates_agree_with_numpy_and_pytorch(either, tiny_bert, sentences):
    pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    folder, report = either
    pytorch, tokenizer, gate = PyTorch(tiny_bert), read_tokenizer(tiny_bert), report["gate"]
    tensors = safetensors.numpy.load_file(folder / "probe.safetensors")
    rows = np.zeros((4, len(sentences), 3))
    for number, text in enumerate(sentences):
        tokens = tokenizer(text)["input_ids"]
        original, states = pytorch(tokens)
        for layer, keep in enumerate(keep_probabilities(tensors, gate, states)):
            target = 0 if gate == "input" else layer
            kept, baseline = (keep > 0.5)[:, None], tensors[f"baselines.{target}"]
            masked, _ = pytorch(tokens, target, np.where(kept, states[target], baseline))
            divergence = np.sum(original * np.log(original / masked))
            same = original.argmax() == masked.argmax()
            rows[layer, number] = np.mean(~kept), divergence, same
    expected = rows.mean(axis=1)
    expected = np.vstack([expected, expected.mean(axis=0)])
    found = [[row[name] for name in ("masked", "divergence", "agreement")]
             for row in report["thresholded"]]  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # What was compared is neither all kept nor all dropped, nor without consequences.
    assert 0 < expected[-1, 0] < 1 and expected[-1, 1] > 0.01 and 0 < expected[-1, 2] < 1


def test_sampled_gates_drop_what_the_keep_probabilities_say(either, sentences):
    folder, report = either
    found = Explainer.from_pretrained(folder)(sentences)
    expected = np.mean([1 - each.keep.mean(axis=1) for each in found], axis=0)
    masked = [row["masked"] for row in report["sampled"]]
    np.testing.assert_allclose(masked[:-1], expected, atol=0.15)
    assert masked[-1] == pytest.approx(np.mean(masked[:-1]))


# --- the report ------------------------------------------------------------------------------


def test_a_report_names_what_it_is_about(either, sentences, texts_file):
    folder, report = either
    assert report["run"] == str(folder) and report["split"] == texts_file.name
    assert report["texts"] == len(sentences) and report["layers"] == LAYERS
    assert len(report["sampled"]) == len(report["thresholded"]) == len(LAYERS)
    assert report["scores"] == []
    assert report == evaluate_file(folder, texts_file)


HEADINGS = {"sampled": "gates drawn as in training", "thresholded": "gates at ½"}


def table_of(markdown: str, kind: str) -> list[list[str]]:
    """The cells of the table of one kind of gates, without its head."""
    lines = markdown.split(f"\n\n{HEADINGS[kind]}\n\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_markdown_tables_show_the_numbers(either):
    folder, report = either
    markdown = evaluation.as_markdown(report)
    assert markdown.startswith(f"{folder}: {report['gate']} probe on 8 texts (texts.txt)\n")
    for kind in HEADINGS:
        for cells, layer, row in zip(table_of(markdown, kind), LAYERS, report[kind], strict=True):
            assert cells == [
                layer,
                f"{row['masked']:.1%}",
                f"{row['divergence']:z.3f}",
                f"{row['agreement']:.1%}",
            ]


def test_the_command_writes_json_and_markdown(either, texts_file, tmp_path, capsys):
    folder, report = either
    out = tmp_path / "report.json"
    assert cli.main(["evaluate", str(folder), "--texts", str(texts_file), "--out", str(out)]) == 0
    written = capsys.readouterr()
    assert json.loads(out.read_text()) == report
    markdown = evaluation.as_markdown(report) + "\n"
    assert written.out == out.with_suffix(".md").read_text() == markdown
    *_, last = written.err.splitlines()
    assert last == f"written to {out} and report.md"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_without_a_place_the_run_s_folder_takes_it(either, texts_file):
    folder, report = either
    assert cli.main(["evaluate", str(folder), "--texts", str(texts_file)]) == 0
    found = json.loads((folder / "evaluation-texts.txt.json").read_text())
    assert found == report
    assert (folder / "evaluation-texts.txt.md").exists()


# --- labels ----------------------------------------------------------------------------------

TREES = [(2, "bad"), (0, "great fun"), (1, "the film"), (2, "not dull"), (0, "slow plot !")]


def save_treebank(folder, highest: int):
    """SST's three files, of sentences with labels 0 to 2, and one `highest`."""
    folder.mkdir()
    sentences = [*TREES, (highest, "quite warm")]
    lines = [
        f"({label} {' '.join(f'(2 {word})' for word in text.split())})\n"
        for label, text in sentences
    ]
    for split in ("train", "dev", "test"):
        (folder / f"{split}.txt").write_text("".join(lines).replace("((", "("))
    return [label for label, _ in sentences]


@pytest.fixture
def sst_run(tiny_bert, random_probe, tmp_path):
    """highest label -> the gold labels, and a run on such a treebank."""
    pytest.importorskip("tensorflow_datasets")

    def make(highest: int):
        labels = save_treebank(tmp_path / "sst", highest)
        places = {"raw_dir": str(tmp_path / "sst"), "data_dir": str(tmp_path / "data")}
        config = run_config(tiny_bert, "sst", **places, layers="batch")
        run_folder.open_run(tmp_path / "run", config)
        run_folder.save_probe(tmp_path / "run", random_probe("input"), {"masked": 0.5})
        return labels, tmp_path / "run"

    return make


def test_with_gold_labels_there_are_accuracy_and_macro_f1(sst_run):
    labels, folder = sst_run(1)
    report = evaluate_split(folder, "test")
    explainer = Explainer.from_pretrained(folder)
    texts = setup.read_split(explainer.config, "test").texts
    predicted = [explainer.model.labels.index(each.prediction) for each in explainer(texts)]
    scores = []
    for c in {*labels, *predicted}:
        hits = sum(p == label == c for p, label in zip(predicted, labels, strict=True))
        scores.append(2 * hits / (predicted.count(c) + labels.count(c)))
    assert len(report["thresholded"]) == len(LAYERS)
    for row in report["thresholded"]:
        assert row["macro_f1_original"] == pytest.approx(np.mean(scores))
        assert row["accuracy_original"] == pytest.approx(np.mean(np.equal(predicted, labels)))
        assert 0 <= row["macro_f1_masked"] <= 1 and 0 <= row["accuracy_masked"] <= 1
    row = report["thresholded"][0]
    cells = [
        f"{row[f'{name}_original']:.1%} → {row[f'{name}_masked']:.1%}"
        for name in ("accuracy", "macro_f1")
    ]
    assert table_of(evaluation.as_markdown(report), "thresholded")[0][-2:] == cells


def test_labels_that_the_model_does_not_have_are_refused(sst_run):
    _, folder = sst_run(4)
    with pytest.raises(UserError, match="labels 0–4, but the model has 3 classes"):
        evaluate_split(folder, "dev")


def test_a_column_that_nobody_named_gives_no_scores_where_it_is_about_something_else(
    run, tmp_path, capsys
):
    (tmp_path / "votes.csv").write_text("text,score\nquite a film,17\nnot bad!,3\n")
    out = tmp_path / "report.json"
    command = ["evaluate", str(run), "--texts", str(tmp_path / "votes.csv"), "--out", str(out)]
    assert cli.main(command) == 0
    assert "no scores against gold labels: the data has labels 3–17" in capsys.readouterr().err
    assert json.loads(out.read_text())["scores"] == []
    assert cli.main([*command, "--label-column", "score"]) == 2
