"""Exact match and F1, beside torchmetrics and the official script's own rules."""

import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.tasks.squad_scores import exact_match, f1, normalized, scores

# 200 predictions over sentences of our own, scored in percent by torchmetrics 1.9.0 (squad, in
# functional.text), which nobody here wrote.
FILE = Path(__file__).parents[1] / "fixtures" / "squad_scores.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def test_the_200_predictions_that_torchmetrics_scored():
    assert len(ROWS) == 200 and sum(0 < row["f1"] < 100 for row in ROWS) > 50
    for row in ROWS:
        ours = [100 * score(row["prediction"], row["answers"]) for score in (exact_match, f1)]
        assert ours == pytest.approx([row["exact_match"], row["f1"]], abs=1e-3), row
    means = scores(*zip(*((row["prediction"], row["answers"]) for row in ROWS), strict=True))
    theirs = [sum(row[name] for row in ROWS) / 200 for name in means._fields]
    assert means == pytest.approx(theirs, abs=1e-3)


def test_torchmetrics_itself_where_it_is_installed():
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    for row in ROWS[::10]:
        texts = row["answers"]
        gold = {"answers": {"answer_start": [0] * len(texts), "text": texts}, "id": "1"}
        with warnings.catch_warnings(action="ignore"):
            theirs = squad([{"prediction_text": row["prediction"], "id": "1"}], [gold])
        assert 100 * f1(row["prediction"], texts) == pytest.approx(float(theirs["f1"]), abs=1e-3)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  cat,\tan apple & A dog!", "cat apple dog"),
        ("another anthem", "another anthem"),
        ("the-cat's U.S. $5.50", "thecats us 550"),  # punctuation goes before articles do
        ("a\u2014b \u201cthe\u201d", "\u2014b \u201c \u201d"),  # and only ASCII's
        ("The", ""),
        ("\u00c9T\u00c9", "\u00e9t\u00e9"),
    ],
)
def test_normalised(text, plain):
    assert normalized(text) == plain


def test_by_hand():
    assert exact_match("The Cat.", ["dog", "cat"]) == 1.0 and exact_match("cats", ["cat"]) == 0.0
    assert f1("the big cat", ["a small cat", "dog"]) == 0.5
    assert f1("cat cat dog", ["cat cow cat cow"]) == pytest.approx(4 / 7)
    assert f1("", ["cat"]) == 0.0 and exact_match("", ["cat"]) == 0.0
    # The script for v1.1 (not that for v2.0, nor torchmetrics) finds nothing shared in nothing.
    assert exact_match("the", ["."]) == 1.0 and f1("the", ["."]) == 0.0
    assert scores(["cat", "dog"], [["cat"], ["big dog", "cow"]]) == pytest.approx((50, 250 / 3))


def test_nothing_to_score():
    with pytest.raises(ValueError, match="no prediction"):
        scores([], [])
    with pytest.raises(ValueError):
        scores(["a"], [["a"], ["b"]])
    for score in (exact_match, f1):
        with pytest.raises(ValueError):
            score("a", [])


TEXTS = st.text("abcT he.,\u00e9", max_size=12)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=4))
def test_f1_is_one_where_the_match_is_exact_and_never_less_of_more_answers(prediction, answers):
    match, score = exact_match(prediction, answers), f1(prediction, answers)
    assert 0 <= score <= 1 + 1e-9
    assert score == pytest.approx(1) if match and normalized(prediction) else True
    assert f1(prediction, answers[:1]) <= score
    assert f1(answers[0], [prediction]) == pytest.approx(f1(prediction, answers[:1]))
