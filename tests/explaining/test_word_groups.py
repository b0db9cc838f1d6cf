import math

import numpy as np
import pytest

from diffmask_jax.explaining.sources import sources_of
from diffmask_jax.explaining.word_groups import Seen, kept_by, label_names
from diffmask_jax.models.heads import SINGLE_LABEL, SPANS

LABELS = ("bad", "mixed", "good")


def test_a_class_is_a_group():
    assert label_names("single_label_classification", LABELS, np.array([2, 0])) == [
        ["good"], ["bad"]
    ]  # fmt: skip


def test_a_text_is_in_the_group_of_each_of_its_labels():
    sets = np.array([[1, 0, 1], [0, 0, 0]])
    found = label_names("multi_label_classification", LABELS, sets)
    assert found == [["bad", "good"], ["no label"]]


def test_numbers_are_grouped_by_thirds():
    values = np.array([[5.0], [1.0], [9.0], [2.0], [6.0], [8.0]])
    found = label_names("regression", ("LABEL_0",), values)
    assert [name.split()[0] for (name,) in found] == [
        "middle", "lowest", "highest", "lowest", "middle", "highest"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["regression", "question_answering"])
def test_what_has_no_labels_has_no_groups(kind):
    assert label_names(kind, LABELS, np.zeros((4, 2))) is None


PAIRS = [("who ?", "Ada ."), ("when ?", "Ada ."), ("what ?", "rain"), ("who ?", "Ada .")]


def test_questions_about_one_passage_are_one_source():
    assert sources_of(SPANS, PAIRS) == ("passages", [0, 0, 1, 0])
    assert sources_of(SPANS, PAIRS).of([2, 3]) == ("passages", [1, 0])
    for texts in (PAIRS, ["a"] * 4):
        assert sources_of(SINGLE_LABEL, texts) == ("texts", range(4))


def test_a_word_of_one_passage_is_not_frequent_however_many_questions_it_has():
    """It is listed by the passages it is in, and its interval is of passages, too: none of one."""
    seen = [Seen("ada", text, 0, 1, 0.0, float(text)) for text in (0, 1, 3)]
    sources = sources_of(SPANS, PAIRS).numbers
    assert kept_by(seen, sources, lambda word: [word.spelt], least=2) == []
    (ada,) = kept_by(seen, sources, lambda word: [word.spelt])
    assert (ada.tokens, ada.texts, ada.mean) == (3, 1, pytest.approx(4 / 3))
    assert math.isnan(ada.low) and math.isnan(ada.high)
    (ada,) = kept_by(seen, range(4), lambda word: [word.spelt], least=3)
    assert ada.texts == 3 and ada.low < ada.mean < ada.high
