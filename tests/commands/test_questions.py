"""Questions, from `finetune` and `train` to `evaluate`: anyone's in .jsonl, and SQuAD's."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest
from long_set import EITHER_GATE

from diffmask_jax import Explainer, cli, run_config
from diffmask_jax.analysis import faithfulness
from diffmask_jax.data import batches
from diffmask_jax.models.heads import SPANS
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.loading import load_answerer, load_encoder
from diffmask_jax.tasks.question_lines import read_question_lines
from diffmask_jax.tasks.squad_scores import scores
from diffmask_jax.training import classifier_calls, run_folder
from diffmask_jax.training.train import prepare

# The answer is what is said of the film.
LINES = [
    {"id": f"{number}", "question": "film", "passage": passage, "answers": [answer]}
    for number, (answer, passage) in enumerate(
        (answer, form.format(answer))
        for form in ("the film is {}", "{} is the film , and the plot !", "a plot and a {} film .")
        for answer in ("great", "dull", "very slow", "bad", "warm", "quite fun", "not dull", "slow")
    )
]
# A word more than it learns to answer.
HARD = [
    {
        "id": f"{first}-{second}",
        "question": "plot",
        "passage": f"the film is {first} , the plot is {second} !",
        "answers": [f"is {second}", f"is {first}", f"is {second}"],
    }
    for first, second in (("dull", "great"), ("very slow", "bad"), ("fun", "too slow"))
]
LONG = {"question": "film", "passage": "the film is dull , " * 5, "answers": ["dull"]}
FEW = "--epochs 3 --batch-size 8 --steps-per-call 2 --encoder-rate 0.01 --head-rate 0.01"
STEPS = "--steps-per-call 2 --batch-size 4 --validate-every 2 --margin 0.5"


@pytest.fixture(scope="module", autouse=True)
def one_length():
    """The questions padded to 20 word pieces, all that the model takes: one program for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LENGTHS", (20,))
        yield


def write(file, lines):
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def encoder(tiny_bert, tmp_path_factory):
    """The folder of a tiny network that has learned nothing yet."""
    folder = tmp_path_factory.mktemp("model") / "encoder"
    model = load_encoder(tiny_bert, ("start", "end"), 0, SPANS)
    fresh = model.architecture.init(jax.random.key(1), model.config)
    save(folder, model._replace(params=fresh))
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The files to train on and to select by, as options."""
    folder = tmp_path_factory.mktemp("questions")
    files = write(folder / "train.jsonl", 6 * LINES), write(folder / "dev.jsonl", LINES + HARD)
    return both(*files)


def both(train, dev=None) -> list:
    """A file to train on and one to select by, as options."""
    return ["--train", train, "--dev", dev or train]


def finetune(model, places, out, *options: str) -> int:
    places = ["--model", model, *places, "--out", out]
    return cli.main(["finetune", "questions", *map(str, places), *FEW.split(), *options])


def train(model, places, out, *options: str) -> int:
    places = ["--model", model, *places, "--out", out]
    return cli.main(["train", "questions", *map(str, places), *STEPS.split(), *options])


@pytest.fixture(scope="module")
def answerer(encoder, places, tmp_path_factory):
    """The folder of a network that has learned to answer the questions."""
    out = tmp_path_factory.mktemp("model") / "answerer"
    assert finetune(encoder, places, out) == 0
    return out


@pytest.fixture(scope="module", params=EITHER_GATE)
def run(request, answerer, places, tmp_path_factory):
    """A run that nobody stopped."""
    out = tmp_path_factory.mktemp("runs") / request.param
    assert train(answerer, places, out, "--gate", request.param, "--steps", "4") == 0
    return out


def files(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- fine-tuning -----------------------------------------------------------------------------


def test_questions_are_learned(answerer):
    lines = (answerer / "finetuning" / "history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["loss"] < 0.5 and history[-1]["f1"] > 0.8
    config = json.loads((answerer / "config.json").read_text())
    assert config["architectures"] == ["BertForQuestionAnswering"]
    assert load_answerer(answerer).labels == ("start", "end")


def test_the_kept_scores_are_those_of_the_best_spans_words(answerer, places):
    """Against every span tried one by one."""
    model, questions = load_answerer(answerer), read_question_lines(places[-1])
    expected = scores(
        [best_answer(model, question) for question in questions],
        [[answer.text for answer in question.answers] for question in questions],
    )
    lines = (answerer / "finetuning" / "history.jsonl").read_text().splitlines()
    best = max((json.loads(line) for line in lines), key=lambda line: line["f1"])
    np.testing.assert_allclose([best["exact_match"], best["f1"]], np.array(expected) / 100)
    assert 0.5 < best["exact_match"] < best["f1"] < 1


def best_answer(model, question) -> str:
    """The words of the best legal span, by trying all of them on an unpadded text."""
    (encoded,) = model.encode([(question.question, question.passage)])
    network = jax.jit(model.network.states)
    logits = np.asarray(network(model.params, batches.pad([encoded], 20))[0][0])
    pieces = np.flatnonzero(encoded.parts == 1)
    spans = [(i, j) for i in pieces for j in pieces if i <= j]
    i, j = max(spans, key=lambda span: logits[span[0], 0] + logits[span[1], 1])
    return question.passage[encoded.offsets[i][0] : encoded.offsets[j][1]]


def test_a_stopped_fine_tuning_ends_as_a_whole_one(
    encoder, places, answerer, tmp_path, monkeypatch
):
    class Stopped(BaseException):
        pass

    rest, real = iter(range(2)), classifier_calls.check_finite

    def stopping(*arguments):
        if next(rest, None) is None:
            raise Stopped
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(classifier_calls, "check_finite", stopping)
        with pytest.raises(Stopped):
            finetune(encoder, places, tmp_path / "model")
    assert finetune(encoder, places, tmp_path / "model") == 0
    assert files(tmp_path / "model") == files(answerer)


# --- training --------------------------------------------------------------------------------


@pytest.mark.long
def test_a_run_goes_on_where_it_was_left(run, answerer, places, tmp_path, capsys):
    gate = run_folder.load_config(run).gate
    for steps in ("2", "4"):
        assert train(answerer, places, tmp_path / "run", "--gate", gate, "--steps", steps) == 0
    assert "continues after step 2" in capsys.readouterr().err
    for name in ("probe.safetensors", "validation.jsonl"):
        assert (run / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_what_is_too_long_is_left_out_or_cut_and_told_in_a_line(answerer, tmp_path, capsys):
    some = str(write(tmp_path / "some.jsonl", [*LINES[:4], LONG, *LINES[4:8], LONG]))
    config = run_config(answerer, "questions", train=some, dev=some)
    assert len(prepare(config).texts.train) == 8
    err = capsys.readouterr().err
    left_out = "questions left out, with over 20 word pieces together with their passages: 2"
    assert err == f"train: {left_out}\ndev: {left_out}\n"
    assert len(prepare(config, truncate=True).texts.train) == 10
    told = "passages cut, to fit in 20 word pieces together with their whole questions: 2; "
    told += "gold answers lost (cut away, or without any word piece): 4"
    assert capsys.readouterr().err == f"train: {told}\ndev: {told}\n"


def test_a_probe_needs_no_answers_not_even_where_some_questions_have_them(answerer, tmp_path):
    some = [LINES[0], LINES[1] | {"answers": []}, *LINES[2:8]]
    place = str(write(tmp_path / "some.jsonl", some))
    prepared = prepare(run_config(answerer, "questions", train=place, dev=place))
    assert len(prepared.texts.dev) == 8


# --- evaluation ------------------------------------------------------------------------------


def test_positions_spans_and_answers_are_counted(run, places, random_probe, tmp_path, capsys):
    """With a probe that drops much, against logits that are read one layer at a time."""
    run = shutil.copytree(run, tmp_path / "run")
    gate = run_folder.load_config(run).gate
    run_folder.save_probe(run, random_probe(gate), {"masked": 0.5, "step": 4})
    capsys.readouterr()
    out = tmp_path / "report.json"
    assert cli.main(["evaluate", str(run), "--out", str(out)]) == 0
    head = [cell.strip() for cell in capsys.readouterr().out.splitlines()[4].split("|")[1:-1]]
    changes = ["exact match original → masked", "F1 original → masked"]
    assert head == ["layer", "masked", "KL (nats)", "positions kept", "spans kept", *changes]
    report = json.loads(out.read_text())
    assert report["texts"] == len(LINES + HARD) and report["layers"] == ["W", "E", "1", "2", "mean"]

    explainer, questions = Explainer.from_pretrained(run), read_question_lines(places[-1])
    encoded = explainer.model.encode([(one.question, one.passage) for one in questions])
    read = functools.partial(
        faithfulness.outcome_of, explainer.game, faithfulness.thresholded, read=lambda x: x
    )
    together = faithfulness.Numbered(np.arange(len(encoded)), batches.pad(encoded, 20))
    found = jax.jit(read)(*explainer.params, jax.random.key(0), together)
    original, masked = (np.asarray(x).argmax(-2) for x in (found.original, found.prediction))
    same = original == masked
    rows = report["thresholded"]
    np.testing.assert_allclose([row["agreement"] for row in rows[:-1]], same.mean((1, 2)))
    np.testing.assert_allclose([row["spans_kept"] for row in rows[:-1]], same.all(-1).mean(1))
    for name in ("agreement", "spans_kept", "masked", "f1_masked"):
        layers = [row[name] for row in rows[:-1]]
        assert rows[-1][name] == pytest.approx(np.mean(layers))
    assert 0 < rows[-1]["masked"] < 1 and 0 < rows[-1]["spans_kept"] < rows[-1]["agreement"] < 1
    assert rows[0]["f1_original"] > 0.8 > rows[-1]["f1_masked"]


def test_a_file_of_questions_with_or_without_answers(run, tmp_path, capsys):
    out = tmp_path / "report.json"

    def evaluated(lines) -> dict:
        some = write(tmp_path / "some.jsonl", lines)
        command = ["evaluate", str(run), "--texts", str(some), "--out", str(out)]
        assert cli.main(command) == 0
        return json.loads(out.read_text())

    with_answers = evaluated(LINES[:4])
    assert [score["name"] for score in with_answers["scores"]] == ["exact_match", "f1"]
    bare = evaluated([line | {"answers": []} for line in LINES[:4]])
    assert bare["scores"] == [] and "f1_masked" not in bare["thresholded"][0]
    for name in ("masked", "divergence", "agreement", "spans_kept"):
        assert bare["thresholded"][-1][name] == with_answers["thresholded"][-1][name]
    capsys.readouterr()
    assert evaluated([LINES[0], LINES[1] | {"answers": []}, LONG])["scores"] == []
    err = capsys.readouterr().err
    assert (
        "some.jsonl: questions left out, with over 20 word pieces together with their passages: 1"
        in err
    )
    assert "no scores against gold labels: row 1 has no answer" in err
    assert "compiling, then processing 2 questions" in err


# --- SQuAD -----------------------------------------------------------------------------------


def test_squad_s_own_files(answerer, tmp_path, capsys):
    pytest.importorskip("tensorflow_datasets")
    paragraphs = [
        {
            "context": line["passage"],
            "qas": [
                {
                    "id": line["id"],
                    "question": line["question"],
                    "answers": [
                        {"text": text, "answer_start": line["passage"].index(text)}
                        for text in line["answers"]
                    ],
                    "is_impossible": not line["answers"],
                }
            ],
        }
        for line in [*LINES[:8], LINES[8] | {"answers": []}]
    ]
    content = json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}]})
    for split in ("train", "dev"):
        (tmp_path / f"{split}-v2.0.json").write_text(content)
    places = ["--raw-dir", tmp_path, "--data-dir", tmp_path / "data", "--out", tmp_path / "run"]
    command = ["train", "squad", "--model", str(answerer), *map(str, places), "--steps", "2"]
    assert cli.main([*command, *STEPS.split()]) == 0
    assert "dev: questions left out, because their passage does not answer them: 1" in (
        capsys.readouterr().err
    )
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0
    report = json.loads((tmp_path / "run" / "evaluation-dev.json").read_text())
    assert report["texts"] == 8 and report["thresholded"][0]["f1_original"] > 0


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"passage": None}, ":1: the passage is missing"),
        ({"question": " "}, ":1: the question is empty"),
        ({"answers": ["warm"]}, ":1: the answer 'warm' is not in the passage"),
        (
            {"answers": [{"text": "film", "answer_start": 0}]},
            ":1: the answer 'film' is not at character 0 of the passage",
        ),
        (LONG, "every question has more than 20 word pieces together with its passage"),
    ],
)
@pytest.mark.parametrize("command", [train, finetune])
def test_a_mistake_leaves_no_folder(answerer, tmp_path, capsys, command, change, says):
    lines = [LINES[0] | change] * (8 if change is LONG else 1)
    places = both(write(tmp_path / "questions.jsonl", lines))
    assert command(answerer, places, tmp_path / "out") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("diffmask: ") and err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("answers", "says"),
    [([[]] * 8, 'needs "answers"'), ([["great"], *[[]] * 7], "row film-1 has no answer")],
)
def test_answers_are_needed_to_learn_from(encoder, tmp_path, capsys, answers, says):
    lines = [
        line | {"id": f"film-{number}", "answers": own}
        for number, (line, own) in enumerate(zip([LINES[0]] * 8, answers, strict=True))
    ]
    assert finetune(encoder, both(write(tmp_path / "a.jsonl", lines)), tmp_path / "out") == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_model_of_the_other_kind(answerer, tiny_bert, places, texts_file, run, tmp_path, capsys):
    def told(status: int) -> str:
        assert status == 2 and not (tmp_path / "out").exists()
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert "not a BertForQuestionAnswering" in told(train(tiny_bert, places, tmp_path / "out"))
    texts = ["train", "texts", "--model", answerer, *both(texts_file), "--out", tmp_path / "out"]
    line = told(cli.main([*map(str, texts)]))
    assert "is a BertForQuestionAnswering" in line and "`diffmask train questions`" in line
    assert "not a BertForQuestionAnswering" in told(
        cli.main(["evaluate", str(run), "--model", str(tiny_bert)])
    )
    gru = ["--embeddings", str(tiny_bert)]
    for given in ([], gru):  # nobody is sent for an encoder's embeddings first
        said = told(finetune("gru", places, tmp_path / "out", *given))
        assert "a gru cannot answer questions" in said
    assert "columns named" in told(
        cli.main(["evaluate", str(run), "--texts", str(places[-1]), "--label-column", "answers"])
    )


def test_both_files_are_needed(answerer, tmp_path, capsys):
    command = ["train", "questions", "--model", answerer, "--out", tmp_path / "out"]
    assert cli.main([*map(str, command)]) == 2
    assert "questions needs --train FILE and --dev FILE" in capsys.readouterr().err
