"""Is a probe good? Every finding, and what is advised."""

import numpy as np
import pytest

from diffmask_jax.training.assessment import (
    SAMPLED,
    LastValidation,
    LayerMeans,
    as_json,
    assess,
    from_json,
    sentences,
    told,
)
from diffmask_jax.training.config import run_config

LAYERS = ("W", "E", "1")
HOW = (
    " (settled means: from the third quarter of training to the last, the masked share moves by "
    "at most 2 points and log λ by 0.25, and D is within 10% of the margin; where λ·m ≤ 0.01, λ "
    "may move and D be below it)"
)
CONFIG = run_config("model", "texts", train="train.txt", dev="dev.txt", margin=0.2, steps=100)
SETTLED = {"still": True, "on_margin": True, "divergence": 0.2}
GOOD = {"masked": [0.3, 0.4, 0.5], "divergence": [0.1, 0.2, 0.24], "agreement": [0.8, 0.9, 1.0]}


def assessed(trained=(SETTLED,) * 3, step=100, **changes):
    values = {name: np.array(own) for name, own in (GOOD | changes).items()}
    rows = [{"layer": layer} | row for layer, row in zip(LAYERS, trained, strict=False)]
    return assess(CONFIG, LayerMeans(LAYERS, **values), LastValidation(step, False, rows))


def test_a_probe_that_keeps_its_promise_and_has_settled_is_good():
    found = assessed()
    assert found.answer == "good" and not found.advice
    assert all(finding.holds for finding in found.findings)
    assert [finding.says for finding in found.findings] == [
        "divergence is within 1.2 times the margin of 0.2 nats at every layer, at most 0.240 "
        "(layer 1)",
        "at least 80.0% of the predictions stay the same (layer W)",
        "from 30.0% to 50.0% of the positions are dropped",
        "its training had settled at every layer" + HOW,
    ]


def test_of_questions_starts_and_ends_are_counted():
    config = run_config("model", "questions", train="a.jsonl", dev="b.jsonl")
    means = LayerMeans(LAYERS, *(np.array(own) for own in GOOD.values()))
    says = [finding.says for finding in assess(config, means, LastValidation()).findings]
    assert "at least 80.0% of the starts and ends of answers stay the same (layer W)" in says


@pytest.mark.parametrize(
    ("changes", "says", "advice"),
    [
        (
            {"divergence": [0.1, 0.25, 0.5]},
            "divergence is over 1.2 times the margin of 0.2 nats at layers E (0.250) and 1 (0.500)",
            "--margin 0.1;",
        ),
        (
            {"agreement": [0.9, 0.74, 0.7]},
            "less than 75% of the predictions stay the same at layers E and 1; "
            "the least is 70.0% (layer 1)",
            "--margin 0.1;",
        ),
        (
            {"masked": [0.0, 0.01, 0.04]},
            "from 0.0% to 4.0% of the positions are dropped: almost none",
            "--margin 0.4",
        ),
        (
            {"masked": [0.99, 1.0, 1.0]},
            "from 99.0% to 100.0% of the positions are dropped: almost all",
            "the model answers the same",
        ),
    ],
)
def test_a_promise_that_is_broken_is_not_good_however_it_was_trained(changes, says, advice):
    found = assessed(**changes)
    assert found.answer == "not good"
    assert says in [finding.says for finding in found.findings if finding.holds is False]
    assert len(found.advice) == 1 and advice in found.advice[0]


def test_what_had_not_settled_is_trained_longer():
    moving = SETTLED | {"still": False}
    under = SETTLED | {"on_margin": False, "divergence": 0.1}
    over = SETTLED | {"on_margin": False, "divergence": 0.3}
    found = assessed((moving, under, over))
    assert found.answer == "not settled"
    assert found.findings[-1].says == (
        "when training ended, layer W was still moving; layer 1 was steady, but above the margin; "
        "layer E was steady, but below the margin, where more could be dropped" + HOW
    )
    several = assessed((moving, moving, SETTLED)).findings[-1].says
    assert several.startswith("when training ended, layers W and E were still moving (")
    assert len(found.advice) == 1 and "--steps larger than 100" in found.advice[0]
    broken = assessed((moving,) * 3, agreement=[0.1] * 3)
    assert broken.answer == "not good" and "--steps larger than 100" in broken.advice[0]
    assert "at every layer; the least is" in broken.findings[1].says
    assert broken.findings[-1].says == "when training ended, every layer was still moving" + HOW


def test_what_was_stopped_goes_on_by_the_same_command():
    moving = SETTLED | {"still": False}
    found = assessed((moving, SETTLED, SETTLED), step=60)
    assert found.findings[-1].says.startswith("at step 60 of 100, layer W was still moving (")
    assert len(found.advice) == 1 and "the same training command continues it" in found.advice[0]
    assert assessed(step=60).answer == "good"  # it settled, and so ended, before its last step


def test_a_training_that_says_nothing_leaves_it_open():
    found = assessed(())
    assert found.answer == "not settled" and found.findings[-1].holds is None and not found.advice


def test_the_verdict_is_six_lines_at_most_and_a_paragraph_and_survives_json():
    worst = assessed(
        ({"still": False, "on_margin": False, "divergence": 0.1},) * 3,
        divergence=[1.0] * 3, agreement=[0.0] * 3, masked=[1.0] * 3,
    )  # fmt: skip
    good = assessed()
    assert [len(told(one, SAMPLED)) for one in (worst, good)] == [6, 5]
    first, second, *_ = told(good, SAMPLED)
    assert first == "the probe is good (gates drawn as in training)"
    assert second.startswith("  + divergence is")
    _, first, *_, last = told(worst, SAMPLED)
    assert first.startswith("  - ") and last.startswith("  next: train longer")
    text = sentences(worst)
    assert text.startswith("Failed: divergence is over")
    assert all(finding.says in text for finding in worst.findings)
    for one in (worst, good, assessed(())):
        assert from_json(as_json(one)) == one
