"""Questions and their passages: what is answered, where it stands, and what the answer needs."""

import json
import re

import numpy as np
import pytest

from diffmask_jax import Explainer, Explanation, cli
from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.attribution import methods
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import comparing, streaming
from diffmask_jax.models.spans import best_span
from diffmask_jax.render import html, terminal
from diffmask_jax.tasks.question_examples import as_examples
from diffmask_jax.tasks.question_lines import read_question_lines
from diffmask_jax.tasks.questions import Answer
from diffmask_jax.tasks.task import source_of

QUESTION, PASSAGE = "is the film fun?", "The plot is dull, the acting great."
PAIRS = [
    (QUESTION, PASSAGE),
    ("was it slow?", "a warm and funny film"),
    ("the actor?", "love the plot, hate the film."),
]
LONG = "the film is great fun, but the plot is slow and the acting dull"  # 15 pieces
LINES = [
    {"question": QUESTION, "passage": PASSAGE, "answers": ["dull", "great"], "id": "q1"},
    {"question": "was it slow?", "passage": "a warm and funny film"},
]


@pytest.fixture(scope="module")
def folder(tiny_answerer, save_run, tmp_path_factory):
    """A run about the tiny answerer."""
    place = tmp_path_factory.mktemp("runs") / "asks"
    return save_run(place, tiny_answerer, layers=3, task="questions")


@pytest.fixture(scope="module")
def explainer(folder):
    return Explainer.from_pretrained(folder)


@pytest.fixture
def command(folder, capsys):
    """(name, *arguments) -> (status, stdout, stderr) of a command on the run."""

    def run(name: str, *arguments) -> tuple[int, str, str]:
        return cli.main([name, str(folder), *map(str, arguments)]), *capsys.readouterr()

    return run


@pytest.fixture
def questions_file(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    return file


# --- what is found ---------------------------------------------------------------------------


def test_the_answer_is_the_best_legal_span_of_the_passage(explainer):
    for question, passage in PAIRS:
        found = explainer(question=question, passage=passage)
        span, tokens = found.answer.span, len(found.tokens)
        assert found.texts == (question, passage) and found.outputs.shape == (tokens, 2)
        np.testing.assert_allclose(found.outputs.sum(axis=0), 1, rtol=1e-5)
        assert found.prediction == passage[span.start : span.end] != ""
        in_passage = np.array(found.parts) == 1
        best = best_span(np.log(found.outputs), in_passage).tolist()
        assert [span.first, span.last] == best
        expected = found.outputs[span.first, 0] * found.outputs[span.last, 1]
        assert span.probability == pytest.approx(expected)
        assert found.keep.shape == (3, tokens) and found.probabilities is found.outputs


def test_starts_and_ends_are_pytorch_s(explainer, tiny_answerer):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    theirs = transformers.BertForQuestionAnswering.from_pretrained(tiny_answerer).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_answerer)
    for pair in PAIRS:
        with torch.no_grad():
            said = theirs(**tokenizer(*pair, return_tensors="pt"))
        logits = torch.stack([said.start_logits[0], said.end_logits[0]], dim=1)
        np.testing.assert_allclose(explainer(pair).outputs, logits.softmax(0), atol=1e-4)


def test_a_question_is_explained_alike_however_it_is_given(explainer):
    expected = [explainer(question=q, passage=p).to_dict() for q, p in PAIRS]
    assert [explainer(pair).to_dict() for pair in PAIRS] == expected
    for told, other in zip(explainer(PAIRS * 12), expected * 12, strict=True):
        found = told.to_dict()
        assert (found["prediction"], found["tokens"]) == (other["prediction"], other["tokens"])
        for column in ("start", "end"):
            np.testing.assert_allclose(
                found["probabilities"][column], other["probabilities"][column], atol=2e-4
            )


def test_json_tells_the_answer_its_place_and_both_probabilities(explainer):
    found = explainer(PAIRS[0])
    told = json.loads(json.dumps(found.with_gold([Answer("dull", 12)]).to_dict(), allow_nan=False))
    assert (told["question"], told["passage"]) == PAIRS[0] and "text" not in told
    span = found.answer.span
    assert told["prediction"] == PASSAGE[told["answer"]["start"] : told["answer"]["end"]]
    assert told["answer"] == pytest.approx(span._asdict(), abs=5.1e-5)
    assert told["gold"] == [{"text": "dull", "start": 12}] and told["cut_to"] is None
    for column, name in enumerate(("start", "end")):
        np.testing.assert_allclose(
            told["probabilities"][name], found.outputs[:, column], atol=5.1e-5
        )
    assert len(told["probabilities"]["start"]) == len(told["tokens"]) == len(told["keep"][0])


def test_outputs_are_called_alike_before_and_after_a_file(explainer):
    """By what they are, whatever the checkpoint calls them (LABEL_0 and LABEL_1)."""
    found = explainer(PAIRS[0])
    loaded = Explanation.from_dict(found.to_dict())
    assert loaded.labels == found.labels == ("start", "end")
    assert loaded == Explanation.from_dict(loaded.to_dict())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": {"first": "x"}}, "must be a whole number"),
        ({"answer": {"probability": None}}, "must be a number"),
        ({"answer": {"last": 99}}, "its answer does not match its tokens"),
        ({"answer": {"first": 3, "last": 2}}, "its answer does not match its tokens"),
        ({"gold": [{"text": "a", "start": "z"}]}, "must be a whole number"),
        ({"probabilities": {"start": [0.1] * 3, "end": [0.1] * 3}}, "its answer does not match"),
        ({"parts": 5}, "texts that it has not"),
    ],
)
def test_a_damaged_file_is_refused_when_it_is_read(explainer, change, says):
    """And not when it is drawn."""
    told = json.loads(json.dumps(explainer(PAIRS[0], replay=True).to_dict()))
    if "answer" in change:
        change = {"answer": told["answer"] | change["answer"]}
    if "parts" in change:
        change = {"parts": [*told["parts"][:-1], 5]}
    with pytest.raises(UserError, match=says):
        Explanation.from_dict(told | change)


def test_a_file_keeps_the_answers_from_what_is_kept(explainer):
    """And so at which layers the answer is another; files of older versions lack their places."""
    found = explainer(PAIRS[0], replay=True)
    told = json.loads(json.dumps(found.to_dict()))
    loaded = Explanation.from_dict(told)
    answers = loaded.replayed.answers
    assert [(a.span.first, a.span.last) for a in answers] == [
        (a.span.first, a.span.last) for a in found.replayed.answers
    ]
    assert loaded.replay().turned == found.replay().turned
    same = told["replayed"] | {"prediction": [found.prediction] * len(answers)}
    del same["answer"]
    older = Explanation.from_dict(told | {"replayed": same})
    assert older.replay().turned == (False,) * len(answers)


# --- how it is drawn -------------------------------------------------------------------------


def test_the_answer_and_the_gold_ones_are_marked(explainer):
    found = explainer(PAIRS[0]).with_gold([Answer("dull", 12), Answer("acting", 22)] * 2)
    marks, span = found.marks, found.answer.span
    assert [at for at, mark in enumerate(marks.predicted) if mark] == [
        *range(span.first, span.last + 1)
    ]
    assert [found.shown[at] for at, mark in enumerate(marks.gold) if mark] == [
        "dull",
        "act",
        "##ing",
    ]
    assert found.heatmap().title.endswith(", gold “dull” or “acting”")
    assert (
        not any(explainer(PAIRS[0]).marks.gold)
        and "gold" not in explainer(PAIRS[0]).heatmap().title
    )


def test_every_drawing_shows_the_question_above_its_passage(explainer, tmp_path):
    found = explainer(PAIRS[0]).with_gold([Answer("dull", 12)])
    page = html.page([found.heatmap()], "a question")
    plain, colored = (
        terminal.draw(found.heatmap(), color=color, width=60, all_rows=True)
        for color in (False, True)
    )
    for drawn in (page, plain, colored, found._repr_html_()):
        assert drawn.index("question") < drawn.index("film") < drawn.rindex("great")
        assert ">first<" not in drawn and "gold “dull”" in drawn
    found.save(tmp_path / "a.html")
    assert f"<h1>{QUESTION}</h1>" in (tmp_path / "a.html").read_text(encoding="utf-8")
    found.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# --- what is too long ------------------------------------------------------------------------


def test_only_the_passage_is_cut_and_that_is_said(explainer):
    with pytest.raises(UserError, match="the question and its passage have 24 word pieces"):
        explainer(question=QUESTION, passage=LONG)
    cut = explainer(question=QUESTION, passage=LONG, truncate=True)
    assert len(cut.tokens) == 20 and cut.parts.count(0) == 5
    assert cut.texts == (QUESTION, LONG) and cut.cut_to == cut.to_dict()["cut_to"] == 20
    said = "the passage was cut to fit with its question in 20 word pieces"
    assert cut.heatmap().caption.endswith(said)
    whole = explainer(
        question=QUESTION, passage="the film is great fun, but the plot is slow, \n", truncate=True
    )
    assert len(whole.tokens) == 20  # as long as can be
    assert whole.cut_to is None and "cut" not in whole.heatmap().caption


# --- what cannot be explained ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"question": QUESTION}, "a question goes with its passage"),
        ({"passage": PASSAGE}, "a question goes with its passage"),
        ({"question": 7, "passage": PASSAGE}, "a question goes with its passage"),
        ({"texts": "fun", "question": QUESTION, "passage": PASSAGE}, "not both"),
        ({"question": " ", "passage": PASSAGE}, "the question is empty"),
        ({"question": QUESTION, "passage": "\n"}, "the passage is empty"),
        ({"question": "fun " * 30, "passage": PASSAGE, "truncate": True}, "no room"),
        ({"texts": "fun"}, "answers questions: give each with its passage"),
        ({"texts": ["fun", "dull"]}, "answers questions: give each with its passage"),
        ({}, "not as None"),
    ],
)
def test_what_is_no_question_is_refused_in_a_line(explainer, given, message):
    with pytest.raises(UserError, match=message) as refusal:
        explainer(**given)
    assert "\n" not in str(refusal.value)


def test_a_classifier_is_asked_nothing(run):
    with pytest.raises(UserError, match="is a classifier and answers no questions"):
        Explainer.from_pretrained(run)(question=QUESTION, passage=PASSAGE)


# --- the command -----------------------------------------------------------------------------


def test_a_question_on_the_line(command, explainer, tmp_path):
    places = {option: tmp_path / f"a.{option}" for option in ("png", "html", "jsonl")}
    options = [word for name, place in places.items() for word in (f"--{name}", place)]
    status, out, err = command("explain", "--question", QUESTION, "--passage", PASSAGE, *options)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == explainer(PAIRS[0]).answer.line
    assert lines.index("question") < lines.index("passage")
    found = explainer(PAIRS[0], replay=True)  # as a page asks
    told = json.loads(places["jsonl"].read_text(encoding="utf-8"))
    assert told == {"row": "1"} | json.loads(json.dumps(found.to_dict()))
    assert places["png"].read_bytes().startswith(b"\x89PNG")
    assert "<dt>question</dt>" in places["html"].read_text(encoding="utf-8")


def test_questions_in_a_file(command, questions_file, explainer, tmp_path):
    out = tmp_path / "a.jsonl"
    assert command("explain", "--file", questions_file, "--jsonl", out) == (0, "", "")
    first, second = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    assert (first["row"], second["row"]) == ("q1", "2")
    assert first["gold"] == [{"text": "dull", "start": 12}, {"text": "great", "start": 29}]
    assert second["gold"] == [] and second["question"] == "was it slow?"
    examples = as_examples(read_question_lines(questions_file))
    texts = streaming.encoded_source(explainer.model, source_of(examples), truncate=False)
    expected = streaming.explained(explainer, texts)
    for told, (_, one) in zip((first, second), expected, strict=True):
        assert told == {"row": told["row"]} | json.loads(json.dumps(one.to_dict()))


def test_a_cut_passage_is_told(command):
    asked = ["--question", QUESTION, "--passage", LONG]
    status, out, err = command("explain", *asked)
    assert (status, out) == (2, "") and "--truncate to cut it" in err
    status, out, err = command("explain", *asked, "--truncate")
    assert status == 0 and "the passage was cut to fit with its question in 20 word pieces" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--question", QUESTION], "--question goes with a passage: pass --passage, too"),
        (["--passage", PASSAGE], "--passage goes with a question: pass --question, too"),
        (["--question", "", "--passage", PASSAGE], "the question is empty or blank"),
        (["--question", QUESTION, "--passage", " "], "the passage is empty or blank"),
        (["fun", "--question", QUESTION, "--passage", PASSAGE], "not both"),
        (["fun"], "answers questions: give each with its passage"),
        (["--file", "none.jsonl"], "cannot read none.jsonl"),
        (
            ["--file", "FILE", "--text-column", "question"],
            "questions must be in columns named",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    command, questions_file, tmp_path, arguments, message
):
    arguments = [str(questions_file) if word == "FILE" else word for word in arguments]
    page = tmp_path / "page.html"
    status, out, err = command("explain", *arguments, "--html", page)
    assert (status, out) == (2, "") and not page.exists()
    assert message in err and err.startswith("diffmask: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"question": "", "passage": PASSAGE}, "questions.jsonl:1: the question is empty"),
        ({"question": QUESTION}, "questions.jsonl:1: the passage is missing"),
        (
            {"question": QUESTION, "passage": PASSAGE, "answers": ["slow"]},
            "questions.jsonl:1: the answer 'slow' is not in the passage",
        ),
    ],
)
def test_a_bad_line_of_a_file_is_named(command, tmp_path, line, message):
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps(line))
    out = tmp_path / "a.jsonl"
    status, _, err = command("explain", "--file", file, "--jsonl", out)
    assert status == 2 and message in err and err.count("\n") == 1 and not out.exists()


def test_a_question_to_a_classifier(run, capsys, tmp_path):
    page = tmp_path / "page.html"
    for name in ("explain", "compare"):
        asked = [name, str(run), "--question", QUESTION, "--passage", PASSAGE, "--html", str(page)]
        assert cli.main(asked) == 2
        err = capsys.readouterr().err
        assert "is a classifier and answers no questions" in err and err.count("\n") == 1
        assert not page.exists() and not (run / "statistics.safetensors").exists()


# --- every method ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noise(explainer):
    stream = batches.in_order(explainer.model.encode(PAIRS), 3, 20)
    return state_statistics(explainer.game.model, explainer.params[0], stream)


@pytest.mark.long  # attribution/test_methods_on_spans.py shows what they say of spans
def test_every_method_says_something_of_every_layer(explainer, noise):
    names = tuple(methods.with_margin(1.0))
    assert set(methods.USUAL) < set(names)
    found = comparing.compare([explainer], noise, PAIRS[0], names=names)
    assert [panel.name for panel in found.panels] == [
        "Attention", "Gradient × input", "Integrated gradients", "Schulz et al. (2020)",
        "Guan et al. (2019)", "Erasure, by search", "Leave one out", "DiffMask, per example",
        "DiffMask, input",
    ]  # fmt: skip
    tokens = explainer(PAIRS[0]).tokens
    for panel in found.panels:
        assert panel.values.shape == (len(panel.rows), len(tokens))
        assert np.isfinite(panel.values).all() and (panel.values.max(axis=1) > 0).all()
    assert found.title == QUESTION and found.names == ("question", "passage")
    assert found.marks == explainer(PAIRS[0]).marks
    assert found.caption == explainer(PAIRS[0]).answer.line


def test_the_command_compares_a_question(command, folder, noise, tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "noise_of", lambda *_: noise)
    page = tmp_path / "page.html"
    asked = ["--question", QUESTION, "--passage", PASSAGE, "--html", page]
    assert command("compare", *asked, "--methods", "gradient,leave_one_out") == (0, "", "")
    drawn = page.read_text(encoding="utf-8")
    assert drawn.count("<article>") == 4 and "Leave one out" in drawn
    assert "<span>passage</span>" in drawn and "<b>bold</b>: the answer" in drawn
    page.unlink()
    monkeypatch.setattr(comparing, "noise_of", None)  # a pass over data that may be gone
    assert command("compare", *asked, "--methods", " gradient") == (0, "", "")
    page.unlink()
    for more, message in (
        (["--methods", "gradient,lime"], "there is no method 'lime', only gradient, "),
        (["--text", "fun"], "pass --text, or --question and --passage"),
        (["--pair", "fun"], "--pair goes with --text"),
    ):
        status, _, err = command("compare", *asked, *more)
        assert status == 2 and message in err and err.count("\n") == 1 and not page.exists()


# --- a report --------------------------------------------------------------------------------


def test_a_report_counts_words_and_draws_resamples_by_passages(command, tmp_path):
    """Five questions about one passage are one: no interval, and no word in five passages."""
    asked = ("is it fun?", "was it slow?", "the actor?", "is it great?", "the plot?")
    file, out = tmp_path / "questions.jsonl", tmp_path / "page.html"
    lines = [{"question": question, "passage": PASSAGE} for question in asked]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert command("report", "--texts", file, "--out", out)[0] == 0
    told, page = json.loads(out.with_suffix(".json").read_text()), out.read_text()
    assert told["texts"] == 5 and told["longest"] == told["first"] == []
    for name in ("masked", "divergence"):
        assert {*told[name]["low"], *told[name]["high"]} == {None} != {*told[name]["mean"]}
    parts = {group["name"]: group for group in told["groups"]["text of the pair"]}
    assert {group["texts"] for group in parts.values()} == {1}
    assert "here on 5 questions" in page and "5 questions, evenly spread over the data" in page
    assert "bootstrap over passages" in page and "No word is in 5 passages or more." in page
    assert not re.search(r"\bnan\b", page)
