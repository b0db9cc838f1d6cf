"""The SST experiment's verdicts, just on either side of every bound, and the numbers they judge."""

import numpy as np
import pytest

from diffmask_jax.analysis.bootstrap import Change
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.analysis.token_groups import Difference
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.tasks.trees import LABELS, Sentence
from diffmask_jax.training.config import run_config
from experiments.sst import numbers, report, stages
from experiments.sst.numbers import Numbers

# The paper's numbers; F1 in points.
MASKED = {"input": 0.463, "hidden": 0.676}
CHANGE = {"input": 38.3 - 37.9, "hidden": 38.9 - 37.9}
STABILITY = {"input": 0.05, "hidden": 0.03}

SCORES = ("macro_f1", "macro_f1_per_batch", "accuracy")


def change(points: float, high: float) -> Change:
    """A score's change and the upper end of its interval, in points."""
    return Change(0.4, 0.4 + points / 100, points / 100, (points - 1) / 100, high / 100)


UNHARMED, HARMED = change(0.3, 1), change(-0.6, 1)


def changes(**other: Change) -> dict[str, dict[str, Change]]:
    """By split and score: no harm but where something else is said, such as dev_accuracy=HARMED."""
    return {
        split: {name: other.get(f"{split}_{name}", UNHARMED) for name in SCORES}
        for split in ("dev", "test")
    }


def by_id(claims: list[report.Claim]) -> dict[str, report.Claim]:
    assert len({claim.id for claim in claims}) == len(claims)
    return {claim.id: claim for claim in claims}


# --- verdicts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "high", "holds"),
    [
        (-0.5, 0.1, True),
        (-0.51, 0.1, False),
        (-0.3, 0.0, True),
        (-0.3, -0.01, False),
        (2.0, 3.0, True),
        (-2.0, 3.0, False),
    ],
)
def test_a_score_is_unharmed_if_it_falls_little_and_perhaps_not_at_all(points, high, holds):
    told = changes(test_accuracy=change(points, high))
    for gate in ("input", "hidden"):
        claims = by_id(report.faithfulness_claims(gate, [{"masked": 0.9}], told))
        one = claims[f"sst.{gate}.accuracy.test"]
        assert one.holds is holds and one.ours == pytest.approx(points)
        assert claims[f"sst.{gate}.accuracy.dev"].holds


@pytest.mark.parametrize("gate", ["input", "hidden"])
def test_enough_is_masked_where_the_mean_of_the_runs_is_the_papers(gate):
    for apart, holds in ((0.0, True), (-0.001, False)):
        rows = [{"masked": MASKED[gate] + off + apart} for off in (-0.25, 0.25)]
        claims = by_id(report.faithfulness_claims(gate, rows, changes()))
        one = claims.pop(f"sst.{gate}.masked")
        assert one.holds is holds and one.paper == MASKED[gate] and one.runs == 2
        assert all(claim.holds and claim.runs == 2 for claim in claims.values())


@pytest.mark.parametrize("split", ["dev", "test"])
def test_masking_that_harms_macro_f1_on_either_split_is_not_enough(split):
    for name in SCORES:
        told = changes(**{f"{split}_{name}": HARMED})
        claims = by_id(report.faithfulness_claims("input", [{"masked": 0.9}], told))
        broken = {of for of, claim in claims.items() if not claim.holds}
        judged = {"sst.input.masked"} if name == "macro_f1" else set()
        assert broken == {f"sst.input.{name}.{split}"} | judged


@pytest.mark.parametrize("gate", ["input", "hidden"])
def test_only_f1_within_batches_of_dev_stands_beside_the_papers_change(gate):
    claims = by_id(report.faithfulness_claims(gate, [{"masked": 0.9}], changes()))
    papers = {of: claim.paper for of, claim in claims.items() if claim.paper is not None}
    assert papers == {
        f"sst.{gate}.masked": MASKED[gate],
        f"sst.{gate}.macro_f1_per_batch.dev": pytest.approx(CHANGE[gate]),
    }


@pytest.mark.parametrize("gate", ["input", "hidden"])
def test_attributions_are_stable_up_to_the_papers_deviation(gate):
    for value, holds in ((STABILITY[gate], True), (STABILITY[gate] + 1e-6, False)):
        one = report.stability_claim(gate, value, runs=5)
        assert one.holds is holds and (one.ours, one.paper) == (value, STABILITY[gate])
        assert one.id == f"sst.stability.{gate}" and one.runs == 5


def cls(diffmask: list[float], **schulz: float) -> dict[str, report.Claim]:
    return by_id(report.cls_claims("its layer", ".x", diffmask, schulz))


def test_the_last_state_of_cls_is_the_largest_as_often_as_in_the_paper():
    for runs, holds in (([0.985, 0.995], True), ([0.98, 0.999], False)):
        one = cls(runs)["sst.cls_last.diffmask.x"]
        assert one.holds is holds and one.paper == 0.99 and one.ours == pytest.approx(np.mean(runs))


def test_schulz_et_al_point_to_cls_less_often_than_diffmask_does():
    claims = cls([0.7, 0.8], gold=0.74, predicted=0.75)
    gold, predicted = (claims[f"sst.cls_last.schulz.x.{of}"] for of in ("gold", "predicted"))
    assert gold.holds and not predicted.holds, "0.75 is not below 0.75"
    assert (gold.paper, predicted.paper) == (0.71, None)
    assert (gold.ours, predicted.ours) == (0.74, 0.75)


@pytest.mark.parametrize(
    ("mean", "p_value", "holds"),
    [(0.1, 0.009, True), (0.1, 0.01, False), (-0.1, 0.009, False), (0.0, 0.009, False)],
)
def test_polar_words_are_kept_longer_if_chance_does_not_explain_it(mean, p_value, holds):
    found = Difference(mean, 0.02, p_value, sentences=50, sources=50)
    one = report.polar_claim(".x", "input", found, runs=5)
    assert one.holds is holds and one.ours == mean and one.runs == 5
    assert one.id == "sst.fig4.polar_minus_neutral.x"


POLAR = Difference(1.0, 0.1, 1e-9, 50, 50)
GOOD = Numbers(
    sampled={
        "input": [[{"masked": 0.1}, {"masked": 0.5}], [{"masked": 0.2}, {"masked": 0.6}]],
        "hidden": [[{"masked": 0.3}, {"masked": 0.7}], [{"masked": 0.3}, {"masked": 0.8}]],
    },
    thresholded={},
    changes={"input": changes(), "hidden": changes(dev_accuracy=change(0.4, 1))},
    predictions={},
    flips={},
    on_margin={"input": [1.0, 1.0], "hidden": [1.0, 1.0]},
    unread=[0.01, 0.02],
    forming=[0.5, 0.7],
    stability={"input": 0.04, "hidden": 0.02},
    polar={"input": POLAR, "hidden": POLAR._replace(mean=2.0)},
    cls_largest={
        "all states": ([0.991, 0.993], {"predicted": 0.6}),
        "last layer": ([0.994, 0.996], {"predicted": 0.7, "gold": 0.8}),
    },
)


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({"on_margin": {"input": [1.0, 1.0], "hidden": [1.0, 0.9]}}, "sst.hidden.on_margin"),
        ({"on_margin": {"input": [np.nan, 1.0], "hidden": [1.0, 1.0]}}, "sst.input.on_margin"),
        ({"unread": [0.0, 0.1]}, None),
        ({"unread": [0.0, 0.1001]}, "sst.hidden.unread"),
        ({"forming": [0.35, 0.06]}, None),
        ({"forming": [0.35, 0.05]}, "sst.input.forming"),
        ({"forming": [0.9, 1e-6]}, None),
        ({"forming": [0.9, 0.0]}, "sst.input.forming"),
    ],
)
def test_games_settle_in_every_run_and_decisions_form_in_every_run(changed, broken):
    """But of the states that nobody reads, the mean of the runs is judged."""
    claims = by_id(report.settled_claims(GOOD._replace(**changed)))
    assert len(claims) == 4
    assert [of for of, claim in claims.items() if not claim.holds] == [broken] * bool(broken)


def test_every_claim_is_about_its_own_number():
    claims = by_id(report.make_claims(GOOD, runs=2))
    assert all(claim.holds for claim in claims.values())
    expected = {
        "sst.input.masked": 0.55,
        "sst.hidden.masked": 0.75,
        "sst.input.accuracy.dev": 0.3,
        "sst.hidden.accuracy.dev": 0.4,
        "sst.stability.input": 0.04,
        "sst.stability.hidden": 0.02,
        "sst.hidden.unread": 0.015,
        "sst.input.forming": 0.6,
        "sst.cls_last.diffmask": 0.995,
        "sst.cls_last.schulz.gold": 0.8,
        "sst.cls_last.diffmask.of_all_states": 0.992,
        "sst.cls_last.schulz.of_all_states.predicted": 0.6,
        "sst.fig4.polar_minus_neutral": 1.0,
        "sst.fig4.polar_minus_neutral.hidden": 2.0,
    }
    assert {of: claims[of].ours for of in expected} == pytest.approx(expected)


# --- numbers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(shallow_bert, tmp_path_factory):
    """Three trees, read by a tiny classifier. Of its words, "funny" has two pieces."""
    sentences = [
        Sentence(("the", "film", "is", "funny", "but", "too", "slow"), (2, 1, 2, 4, 3, 2, 0), 3),
        Sentence(("a", "warm", "plot"), (2, 3, 2), 4),
        Sentence(("not", "bad"), (2, 0), 2),
    ]
    model = load_classifier(shallow_bert)
    encoded = model.encode([sentence.text for sentence in sentences])
    return stages.Study(model, sentences, encoded, tmp_path_factory.mktemp("study"))


VALUES = [
    np.array(row, float)
    for row in ([9, 1, 50, 2, 8, 10, 70, 3, 6, 20], [9, 2, 90, 4, 20], [9, 3, 5, 20])
]
"""Of every piece, from [CLS] to [SEP]."""


def test_forming_is_the_last_layer_over_the_embedding_layer_wherever_that_is(study):
    masked = np.array([[0.0, 0.2], [0.3, 0.1], [0.4, 0.4], [1.0, 0.6]])
    outcome = Outcome(masked, *[np.zeros_like(masked)] * 2, np.zeros((4, 2)), np.zeros(2))
    for layers, embedding in ((("W", "E", "1", "2"), 0.2), (("W", "1", "E", "2"), 0.4)):
        network = study.model.network._replace(layers=layers)
        other = study._replace(model=study.model._replace(network=network))
        assert numbers.forming(other, outcome) == pytest.approx(0.8 - embedding)


def test_polar_words_are_the_strongest_of_both_signs_and_neutral_ones_in_the_middle(study):
    """Sentence by sentence: (8 + 10 + 6) / 3 − (1 + 2 + 3) / 3, no polar word, and 5 − 3."""
    found = numbers.polar_minus_neutral(study, VALUES)
    assert (found.mean, found.sentences) == (4, 2)
    assert found.p_value == 0.25, "both of two signs are positive"


def test_sentiments_are_in_their_own_order_and_special_tokens_behind_them(study):
    found = [(group.name, group.mean) for group in numbers.by_label(study, VALUES)]
    means = (5.5, 50, 2.5, 80, 9, 9, 20)
    assert found == list(zip((*LABELS, "[CLS]", "[SEP]"), means, strict=True))
    others = study._replace(sentences=study.sentences[1:], encoded=study.encoded[1:])
    names = [group.name for group in numbers.by_label(others, VALUES[1:])]
    assert names == ["very negative", "neutral", "positive", "[CLS]", "[SEP]"]


def test_parts_of_speech_and_special_tokens_are_in_the_order_in_which_they_are_kept(study):
    tags = [
        ("DET", "NOUN", "AUX", "ADJ", "CCONJ", "ADV", "VERB"),
        ("DET", "ADJ", "NOUN"),
        ("PART", "VERB"),
    ]
    found = numbers.by_tag(study, VALUES, tags)
    assert [(group.name, group.mean, group.tokens) for group in found] == [
        ("CCONJ", 70, 1),
        ("ADJ", 36, 3),
        ("NOUN", 27, 2),
        ("[SEP]", 20, 3),
        ("[CLS]", 9, 3),
        ("VERB", 5.5, 2),
        ("ADV", 3, 1),
        ("PART", 3, 1),
        ("AUX", 2, 1),
        ("DET", 1.5, 2),
    ]


# --- Schulz et al. ---------------------------------------------------------------------------


def test_schulz_et_al_judge_the_last_states_by_the_labels_told(study, tmp_path, monkeypatch):
    """Of the last states only [CLS]'s is read: no other one hears of another label. Nor does the
    noise of other layers have a say. The third sentence is in the second batch."""
    monkeypatch.setattr(stages, "SCHULZ_BATCH", 2)
    config = run_config(study.model.path, "texts", train="train.txt", dev="dev.txt")
    explainer = Explainer(config, study.model, {})
    shape = len(study.model.network.layers), study.model.config.width

    def found(labels: list[int], below: float) -> list[np.ndarray]:
        deviation = np.full(shape, below, np.float32)
        deviation[-1] = 1
        noise = Statistics(np.zeros_like(deviation), deviation)
        file = tmp_path / f"{below}.npz"
        return stages.schulz_last(study, explainer, noise, np.array(labels), file)

    moved = [
        (abs(before - after) > 1e-4).tolist()
        for before, after in zip(found([0, 0, 0], 1), found([0, 0, 1], 2), strict=True)
    ]
    assert moved == [[[False] * 10], [[False] * 5], [[True, False, False, False]]]
