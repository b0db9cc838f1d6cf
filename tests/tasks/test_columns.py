"""Columns: the usual names are found, named ones are taken, and the rest is told."""

import re

import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.columns import PAIRS, Columns, choose


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("text label", ("text", None, "label", None)),
        ("label text", ("text", None, "label", None)),
        ("idx sentence label", ("sentence", None, "label", "idx")),
        ("Review Sentiment", ("Review", None, "Sentiment", None)),
        ("index question sentence label", ("question", "sentence", "label", None)),  # QNLI
        ("idx premise hypothesis label", ("premise", "hypothesis", "label", "idx")),
        ("id title context question answers", ("question", "context", None, "id")),  # SQuAD
        ("sentence1 sentence2 score", ("sentence1", "sentence2", "score", None)),
        ("Unnamed:0 question intent label", ("question", None, "label", None)),
        ("sentence1 label split", ("sentence1", None, "label", None)),
        ("text passage gold", ("text", None, "gold", None)),
        ("text labels class", ("text", None, "labels", None)),
    ],
)
def test_usual_names(names, chosen):
    assert tuple(choose(names.split(), Columns(), "a.csv")) == chosen


@pytest.mark.parametrize("names", ["premise claim label", "sentence1 hypothesis", "First Response"])
def test_half_of_a_pair_is_not_silently_taken_for_all_of_it(names):
    first, second, *_ = names.split()
    with pytest.raises(UserError, match=f"pass pair_column {second} .* or text_column {first} for"):
        choose(names.split(), Columns(), "a.csv")
    assert choose(names.split(), Columns(text=first), "a.csv")[:2] == (first, None)
    assert choose(names.split(), Columns(pair=second), "a.csv")[:2] == (first, second)


def test_a_column_that_is_named_as_the_label_is_no_second_text():
    found = choose(["question", "response"], Columns(label="response"), "a.csv")
    assert found == ("question", None, "response", None)


@pytest.mark.parametrize("pair", PAIRS)
def test_usual_partners_are_a_pair_unless_one_is_asked_for_alone(pair):
    assert choose(["x", *reversed(pair)], Columns(), "a.csv")[:2] == pair
    assert choose(pair, Columns(text=pair[0]), "a.csv")[:2] == (pair[0], None)
    assert choose(pair, Columns(*pair), "a.csv")[:2] == pair


def test_named_columns():
    names = ["a", "text", "label", "b"]
    assert choose(names, Columns("a", "b", "text"), "f")[:3] == ("a", "b", "text")
    assert choose(names, Columns(pair="b"), "f")[:3] == ("text", "b", "label")


def test_a_column_is_not_two_things():
    for columns in (Columns("a", "a"), Columns("a", None, "a"), Columns("b", "a", "a")):
        with pytest.raises(UserError, match="must be in different columns"):
            choose(["a", "b"], columns, "f")


def test_what_is_missing_is_told_with_what_there_is():
    for columns in (Columns("c"), Columns("a", "c"), Columns("a", None, "c")):
        with pytest.raises(UserError, match=r"^f\.csv has no column 'c', only 'a', 'b'$"):
            choose(["a", "b"], columns, "f.csv")
    with pytest.raises(UserError, match=r"^f\.csv has no column of texts, only 'a', .*, …: add"):
        choose(["a"] * 20, Columns(), "f.csv")


@pytest.mark.parametrize("other", [";", "\t", "|"])
def test_other_separators_than_commas_are_told(other):
    with pytest.raises(UserError, match=re.escape(f"f.csv has cells separated by {other!r}: sep")):
        choose([f"text{other}label"], Columns(), "f.csv")
