"""What a network's outputs mean: answers, losses, measures and gold labels of every head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import pearsonr

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CATEGORICAL, MULTI_LABEL, SPAN
from diffmask_jax.models.heads import (
    ACCURACY,
    ERROR,
    HEADS,
    MULTI_LABEL_HEAD,
    REGRESSION,
    SINGLE_LABEL,
    SPANS,
    Answer,
    head_of,
)

LABELS = ("bad", "mixed", "good")
every_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
GOLD = {
    "single_label_classification": np.array([0, 2, 1, 2, 2]),
    "multi_label_classification": np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]]),
    "regression": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32),
}
LOGITS = jnp.asarray(np.random.default_rng(1).normal(0, 2, (5, 3)), jnp.float32)


# A question and a passage as they are read: [CLS] who [SEP] an old film [SEP].
PAIR = ("who?", "an  old film")
ENCODED = Encoded(
    tokens=("[CLS]", "who", "?", "[SEP]", "an", "old", "film", "[SEP]"),
    ids=np.arange(8, dtype=np.int32),
    offsets=(None, (0, 3), (3, 4), None, (0, 2), (4, 7), (8, 12), None),
    words=np.array([-1, 0, 1, -1, 2, 3, 4, -1], np.int32),
    segments=np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int32),
    parts=np.array([-1, 0, 0, -1, 1, 1, 1, -1], np.int32),
    shown=("[CLS]", "who", "?", "[SEP]", "an", "old", "film", "[SEP]"),
)
READ = (PAIR, ENCODED)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


# --- which head ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem_type", "outputs", "expected"),
    [
        (None, 1, REGRESSION),
        (None, 2, SINGLE_LABEL),
        ("", 5, SINGLE_LABEL),
        ("regression", 3, REGRESSION),
        ("multi_label_classification", 1, MULTI_LABEL_HEAD),
        ("single_label_classification", 2, SINGLE_LABEL),
    ],
)
def test_the_head_of_a_checkpoint(problem_type, outputs, expected):
    assert head_of(problem_type, outputs) is expected


@pytest.mark.parametrize(
    ("problem_type", "outputs", "message"),
    [
        ("ordinal", 3, "problem_type 'ordinal' is not supported, only single_label"),
        ({"a": 1}, 3, "problem_type .* is not supported, only single_label"),
        ("single_label_classification", 1, "needs 2 outputs or more"),
    ],
)
def test_a_head_that_cannot_be_is_one_line(problem_type, outputs, message):
    with pytest.raises(UserError, match=message) as refusal:
        head_of(problem_type, outputs)
    assert "\n" not in str(refusal.value)


def test_families():
    assert SINGLE_LABEL.family(1.0) is CATEGORICAL and SINGLE_LABEL.scale is None
    assert MULTI_LABEL_HEAD.family(1.0) is MULTI_LABEL and MULTI_LABEL_HEAD.scale is None
    a, b = LOGITS, LOGITS[::-1]
    one, four = (REGRESSION.family(scale).divergence(a, b) for scale in (1.0, 4.0))
    np.testing.assert_allclose(4 * four, one, rtol=1e-5)


def test_the_scale_of_a_regression_is_the_mean_variance_of_its_outputs():
    outputs = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]], np.float32)
    assert REGRESSION.scale(outputs) == pytest.approx((8 / 3 + 2) / 2)
    family = REGRESSION.family(REGRESSION.scale(outputs))
    assert family.divergence(jnp.zeros((1, 1)), jnp.ones((1, 1)))[0] == pytest.approx(1 / (14 / 3))


@pytest.mark.parametrize("value", [3.0, np.nan, np.inf])
def test_outputs_that_never_vary_have_nothing_to_explain(value):
    with np.errstate(invalid="ignore"), pytest.raises(UserError, match="nothing to explain"):
        REGRESSION.scale(np.full((4, 1), value, np.float32))


# --- answers ---------------------------------------------------------------------------------


def test_a_class_is_named_with_its_probability():
    found = SINGLE_LABEL.answer(LABELS, row(0.1, 0.2, 0.7), *READ)
    assert found == Answer("good", "“good” with probability 0.70")


def test_all_labels_above_one_half_are_named():
    found = MULTI_LABEL_HEAD.answer(LABELS, row(0.9, 0.5, 0.6), *READ)
    assert found == Answer(("bad", "good"), "“bad” (0.90), “good” (0.60)")
    found = MULTI_LABEL_HEAD.answer(LABELS, row(0.1, 0.4, 0.2), *READ)
    assert found == Answer((), "no label (the likeliest 0.40)")


def test_numbers_are_told_and_named_where_they_are_several():
    assert REGRESSION.answer(["score"], row(2.5), *READ) == Answer(2.5, "2.500")
    found = REGRESSION.answer(["wit", "pace"], row(0.5, -1), *READ)
    assert found == Answer((0.5, -1.0), "wit 0.500, pace -1.000")


@every_head
def test_an_answer_says_what_the_family_decides(head):
    family = head.family(1.0)
    decided, outputs = family.prediction(LOGITS), np.asarray(family.outputs(LOGITS))
    for prediction, shown in zip(np.asarray(decided), outputs, strict=True):
        decision = head.answer(LABELS, shown, *READ).decision
        match head.problem_type:
            case "single_label_classification":
                assert decision == LABELS[prediction]
            case "multi_label_classification":
                assert decision == tuple(np.array(LABELS)[prediction == 1])
            case "regression":
                assert decision == tuple(prediction.tolist())


# --- measures --------------------------------------------------------------------------------


@every_head
def test_every_score_is_measured_and_the_best_is_one_of_them(head):
    gold = GOLD[head.problem_type]
    names = [score.name for score in head.scores]
    measured = head.measure(np.asarray(head.family(1.0).prediction(LOGITS)), gold)
    assert list(measured) == names and head.best in names
    assert all(isinstance(value, float) for value in measured.values())
    for score in head.scores:
        assert not score.is_share or 0 <= measured[score.name] <= 1
    perfect = head.measure(gold, gold)
    assert perfect == pytest.approx({name: float(name != "error") for name in names})


def test_measures_by_hand():
    found = SINGLE_LABEL.measure(np.array([0, 2, 2, 2, 1]), GOLD["single_label_classification"])
    assert found == pytest.approx({"accuracy": 0.6, "macro_f1": (1 + 0 + 2 / 3) / 3})
    sets = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
    found = MULTI_LABEL_HEAD.measure(sets, GOLD["multi_label_classification"])
    f1 = (4 / 5, 4 / 5, 2 / 3)
    expected = {"accuracy": 0.4, "macro_f1": np.mean(f1), "micro_f1": 10 / 13}
    assert found == pytest.approx(expected)
    gold = GOLD["regression"][:, :1]
    found = REGRESSION.measure(np.asarray(LOGITS)[:, :1], gold)
    pearson = pearsonr(np.asarray(LOGITS)[:, 0], gold[:, 0]).statistic
    error = np.sqrt(np.mean((np.asarray(LOGITS)[:, :1] - gold) ** 2))
    assert found == pytest.approx({"pearson": pearson, "error": error}, rel=1e-5)


def test_shares_are_shown_in_percent():
    assert ACCURACY.shown(0.875) == "87.5%" and ERROR.shown(0.875) == "0.875"


# --- losses ----------------------------------------------------------------------------------


def test_losses_are_pytorch_s():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    functional, logits = torch.nn.functional, torch.tensor(np.asarray(LOGITS))
    gold = {name: torch.tensor(labels) for name, labels in GOLD.items()}
    expected = {
        "single_label_classification": functional.cross_entropy(
            logits, gold["single_label_classification"], reduction="none"
        ),
        "multi_label_classification": functional.binary_cross_entropy_with_logits(
            logits, gold["multi_label_classification"].float(), reduction="none"
        ).sum(-1),
        "regression": functional.mse_loss(logits, gold["regression"], reduction="none").sum(-1) / 2,
    }
    for name, head in HEADS.items():
        np.testing.assert_allclose(head.loss(LOGITS, GOLD[name]), expected[name], rtol=1e-5)


@every_head
def test_a_loss_is_the_surprisal_of_the_gold_labels(head):
    """Up to a constant: both have the same gradient."""
    gold = jnp.asarray(GOLD[head.problem_type])
    loss = jax.grad(lambda x: head.loss(x, gold).sum())(LOGITS)
    surprisal = jax.grad(lambda x: head.family(1.0).surprisal(x, gold).sum())(LOGITS)
    np.testing.assert_allclose(loss, surprisal, atol=1e-6)


# --- gold labels -----------------------------------------------------------------------------


@every_head
def test_gold_labels_that_fit_are_taken(head):
    head.check_gold(GOLD[head.problem_type], 3)


@pytest.mark.parametrize(
    ("head", "gold", "message"),
    [
        (SINGLE_LABEL, np.array([0, 3]), "labels 0–3, but the model has 3 classes"),
        (SINGLE_LABEL, np.array([-1, 2]), "labels -1–2, but the model has 3 classes"),
        (MULTI_LABEL_HEAD, np.zeros((4, 2), int), "2 labels per text, but the model has 3 outputs"),
        (MULTI_LABEL_HEAD, np.zeros(4, int), "1 labels per text, but the model has 3 outputs"),
        (REGRESSION, np.zeros((4, 1)), "1 labels per text, but the model has 3 outputs"),
    ],
)
def test_gold_labels_that_do_not_fit_are_one_line(head, gold, message):
    with pytest.raises(UserError, match=message) as refusal:
        head.check_gold(gold, 3)
    assert "\n" not in str(refusal.value)


# --- spans -----------------------------------------------------------------------------------


def probabilities(starts: dict[int, float], ends: dict[int, float], length: int = 8) -> np.ndarray:
    table = np.zeros((length, 2), np.float32)
    for column, found in enumerate((starts, ends)):
        for place, probability in found.items():
            table[place, column] = probability
    return table


@pytest.mark.parametrize(
    ("starts", "ends", "answer", "probability"),
    [
        ({5: 0.8, 4: 0.2}, {6: 0.5, 5: 0.5}, "old", "0.40"),
        ({4: 0.8}, {6: 0.5, 1: 0.5}, "an  old film", "0.40"),
        ({1: 0.9, 6: 0.1}, {2: 0.9, 6: 0.1}, "film", "0.01"),  # the question is no answer
        ({6: 0.9, 4: 0.1}, {4: 0.9, 6: 0.1}, "an", "0.09"),  # nor is what ends before it starts
    ],
)
@pytest.mark.parametrize("length", [8, 12], ids=["alone", "padded"])
def test_an_answer_is_the_best_legal_span_of_the_passage(starts, ends, answer, probability, length):
    table = probabilities(starts, ends, length)
    found = SPANS.answer(("start", "end"), table, *READ)
    span = found.span
    assert found == Answer(answer, f"“{answer}” with probability {probability}", span)
    assert PAIR[1][span.start : span.end] == answer
    assert (
        ENCODED.offsets[span.first][0] == span.start and ENCODED.offsets[span.last][1] == span.end
    )
    assert span.probability == pytest.approx(table[span.first, 0] * table[span.last, 1])


def test_a_text_alone_cannot_be_answered_from():
    with pytest.raises(UserError, match="both, as a pair"):
        SPANS.answer(("start", "end"), probabilities({1: 1.0}, {1: 1.0}), "who?", ENCODED)


def test_of_several_gold_spans_the_first_is_learned_and_none_costs_nothing():
    logits = jax.random.normal(jax.random.key(0), (3, 5, 2))
    several = np.array([[[1, 2], [0, 4]], [[3, 3], [-1, -1]], [[-1, -1], [-1, -1]]])
    loss, gradient = jax.value_and_grad(lambda x: SPANS.loss(x, several).sum())(logits)
    first = several[:2, 0]
    np.testing.assert_allclose(loss, SPANS.loss(logits[:2], first).sum(), rtol=1e-6)
    expected = SPANS.family(1.0).surprisal(logits[:2], jnp.asarray(first)).sum() / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert np.any(gradient[:2]) and not np.any(gradient[2])


def test_spans_are_measured_by_match_and_overlap():
    gold = np.array([[2, 4], [1, 1]])
    assert SPANS.family(1.0) is SPAN and SPANS.scale is None and SPANS.spans
    assert not any(head.spans for head in HEADS.values()) and SPANS.problem_type not in HEADS
    measured = SPANS.measure(np.array([[2, 3], [1, 1]]), gold)
    assert measured == pytest.approx({"exact_match": 0.5, "f1": (4 / 5 + 1) / 2})
    assert list(measured) == [score.name for score in SPANS.scores] and SPANS.best in measured
    assert SPANS.measure(gold, gold) == {"exact_match": 1, "f1": 1}


def test_the_loss_of_a_span_is_the_mean_of_two_cross_entropies():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    logits = jnp.asarray(np.random.default_rng(2).normal(0, 2, (4, 6, 2)), jnp.float32)
    gold = np.array([[0, 5], [3, 3], [2, 4], [5, 5]])
    loss = torch.nn.functional.cross_entropy
    expected = loss(torch.tensor(np.asarray(logits)), torch.tensor(gold), reduction="none").mean(1)
    np.testing.assert_allclose(SPANS.loss(logits, jnp.asarray(gold)), expected, rtol=1e-5)


@pytest.mark.parametrize("gold", [np.array([[3, 2]]), np.array([3, 2]), np.zeros((4, 3), int)])
def test_gold_answers_that_are_no_spans_are_one_line(gold):
    SPANS.check_gold(np.array([[2, 3], [0, 0]]), 2)
    SPANS.check_gold(np.array([[[2, 3], [-1, -1]]]), 2)
    with pytest.raises(UserError, match="not pairs of a first and a last word piece") as refusal:
        SPANS.check_gold(gold, 2)
    assert "\n" not in str(refusal.value)
