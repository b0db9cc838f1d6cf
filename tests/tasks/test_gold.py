"""Gold labels: names, numbers and lists become what a model's outputs need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.gold import class_names, classes_told, gold_of

NAMES = ("negative", "neutral", "very positive")
SINGLE, MULTI = "single_label_classification", "multi_label_classification"


@pytest.mark.parametrize(
    ("cells", "labels", "numbers"),
    [
        (["neutral", " negative ", "very positive"], NAMES, [1, 0, 2]),
        (["NEUTRAL", "Negative"], NAMES, [1, 0]),
        (["1", "0", "2"], NAMES, [1, 0, 2]),
        ([1, 0, 2], NAMES, [1, 0, 2]),
        (["1.0", 2.0, np.int64(0), True], NAMES, [1, 2, 0, 1]),
        ([-1, 7], NAMES, [-1, 7]),  # what a head's check_gold is for
        (["1", "3"], ("1", "2", "3"), [0, 2]),
        ([1, 3], ("1", "2", "3"), [0, 2]),  # the same in every format
        ([1.0, 3.0], ("1", "2", "3"), [0, 2]),
        (["1", "2", "3.0"], ("1", "2", "3"), [0, 1, 2]),
        ([0, 1, 2], ("1", "2", "3"), [0, 1, 2]),
        (["a", "A"], ("A", "a"), [1, 0]),
    ],
)
def test_classes(cells, labels, numbers):
    gold = gold_of(cells, labels, SINGLE)
    assert gold.tolist() == numbers and gold.dtype == np.int32


@pytest.mark.parametrize(
    ("cells", "sets"),
    [
        ([["neutral"], [], ["negative", "very positive"]], [[0, 1, 0], [0, 0, 0], [1, 0, 1]]),
        (["neutral", "negative|very positive"], [[0, 1, 0], [1, 0, 1]]),
        (["negative, neutral", "NEUTRAL;negative"], [[1, 1, 0], [1, 1, 0]]),
        (["1", "0,2"], [[0, 1, 0], [1, 0, 1]]),
        ([[1], [0, 2]], [[0, 1, 0], [1, 0, 1]]),
        ([1, 2], [[0, 1, 0], [0, 0, 1]]),
        ([[0, 1, 0], [1, 1, 1]], [[0, 1, 0], [1, 1, 1]]),
        (["0,1,0", "[1, 1, 0]"], [[0, 1, 0], [1, 1, 0]]),
        (["['neutral', 'negative']"], [[1, 1, 0]]),
        ([np.array([0.0, 1.0, 0.0])], [[0, 1, 0]]),
    ],
)
def test_sets_of_labels(cells, sets):
    assert gold_of(cells, NAMES, MULTI).tolist() == sets


def test_a_label_may_hold_a_separator():
    assert gold_of(["joy, love", "fear"], ("joy, love", "fear"), MULTI).tolist() == [[1, 0], [0, 1]]


@given(st.lists(st.sets(st.sampled_from(NAMES)), min_size=1), st.sampled_from(",|;"))
def test_sets_written_in_cells_are_those_in_lists(sets, separator):
    expected = [[int(name in chosen) for name in NAMES] for chosen in sets]
    assert gold_of([sorted(chosen) for chosen in sets], NAMES, MULTI).tolist() == expected
    cells = [separator.join(sorted(chosen)) or [] for chosen in sets]
    assert gold_of(cells, NAMES, MULTI).tolist() == expected


def test_real_numbers():
    assert gold_of(["1.5", 2, -3e2], ["LABEL_0"], "regression").tolist() == [[1.5], [2], [-300]]
    assert gold_of([[1, 2.5], "3;4"], ["x", "y"], "regression").tolist() == [[1, 2.5], [3, 4]]
    assert gold_of(["1"], ["1"], "regression").dtype == np.float32


@pytest.mark.parametrize(
    ("cells", "kind", "says"),
    [
        (["neutral", "good"], SINGLE, "row 2: the label 'good' is not one of negative, neutral"),
        (["neutral", 1.5], SINGLE, "row 2: the label '1.5' is not one of"),
        (["0", "neutral"], SINGLE, "row 2: the label is a name, but others are numbers"),
        ([0, 1.5], SINGLE, "row 2: the label '1.5' is not one of"),
        ([0, float("nan")], SINGLE, "row 2 has no label"),
        ([0, 10**400], SINGLE, "row 2: the label '10"),
        (["neutral", " "], SINGLE, "row 2 has no label"),
        ([None], MULTI, "row 1 has no label"),
        (["neutral", "neutral,so"], MULTI, "row 2: the label 'so' is not one of"),
        (["1", "3"], MULTI, "row 2: the model has no label 3"),
        (["1,2,three"], "regression", "row 1: the label '1,2,three' is not 3 numbers"),
        ([[1, 2]], "regression", "row 1: the label '[1, 2]' is not 3 numbers"),
        (["1,2,inf"], "regression", "is not 3 numbers"),
        (["1,2,1e39"], "regression", "is not 3 numbers"),
        ([[1, 2, -1e300]], "regression", "is not 3 numbers"),
    ],
)
def test_what_is_no_label(cells, kind, says):
    with pytest.raises(UserError) as refusal:
        gold_of(cells, NAMES, kind)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "cells",
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
        ["[1, 0, 0]", "0,1,0", "0|0|0"],
        [np.array([1.0, 0.0, 0.0]), [0, 1, 0], [0.0, 0.0, 0.0]],
    ],
)
def test_rows_of_zeros_and_ones_name_no_labels(cells):
    """As Hugging Face's data sets write them; "0" and "1" would be two labels of every text."""
    names = class_names(cells, MULTI)
    assert names == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert gold_of(cells, names, MULTI).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_single_zeros_and_ones_are_names():
    assert class_names(["1", "0", "0,1"], MULTI) == ("0", "1")
    assert class_names([[1], [0]], MULTI) == ("0", "1")
    assert class_names([[0, 2], [0, 1]], MULTI) == ("0", "1", "2")


@pytest.mark.parametrize("blank", ["", " ", "\u200b", None, float("nan")])
def test_a_class_without_a_name_is_none(blank):
    """Neither to make a model for, nor among the labels of a text."""
    for cells, kind, says in (
        (["a", blank, "b"], SINGLE, "row 2 has no label"),
        ([["a"], ["b", blank]], MULTI, "row 2: one of its labels is empty"),
    ):
        with pytest.raises(UserError, match=says):
            class_names(cells, kind)
        with pytest.raises(UserError, match=says):
            gold_of(cells, ["a", "b"], kind)
    with pytest.raises(UserError, match="row x has no label"):
        class_names(["a", blank], SINGLE, rows=["w", "x"])


def test_rows_are_named_as_their_file_names_them():
    with pytest.raises(UserError, match=r"^row b7: the label 'x' is not one of"):
        gold_of([0, "x"], NAMES, SINGLE, rows=["a", "b7"])


@pytest.mark.parametrize(
    ("cells", "kind", "says"),
    [
        ([[], []], MULTI, "no text of the data has a label"),
        (
            ["1", "0", "1.0"],
            SINGLE,
            "the labels '1' and '1.0' are the same number: write it in one way",
        ),
        ([1, 2.0, 1.0], SINGLE, "the labels '1' and '1.0' are the same number"),
        (["a", "a"], SINGLE, "the data has only one class, 'a'"),
        (["a", ["b"]], SINGLE, r"row 2: the label \"\['b'\]\" is neither a name nor a number"),
        (["a", {"b": 1}], SINGLE, "row 2: the label .* is neither a name nor a number"),
        ([["a"], ["b", ["c"]]], MULTI, "row 2: the label .* is neither a name nor a number"),
    ],
)
def test_what_no_model_can_be_made_for(cells, kind, says):
    with pytest.raises(UserError, match=says):
        class_names(cells, kind)


def test_people_are_told_which_classes_they_have():
    assert classes_told(["bad", "good"]) == "2 classes: bad, good"
    told = classes_told([f"{number / 4}" for number in range(20)])
    assert told.startswith("20 classes: 0.0, 0.25, ") and told.endswith(
        "pass --problem-type regression"
    )
    assert ", …;" in told and "1.75" in told and "2.0" not in told
    assert classes_told(["1.0", "2.0"]) == "2 classes: 1.0, 2.0"
