import numpy as np
import pytest

from diffmask_jax.explaining.word_groups import label_names

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
