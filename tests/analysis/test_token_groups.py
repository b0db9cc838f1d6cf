"""How long tokens are kept, by group: closed forms, and what no order of sentences may change."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, sem, wilcoxon

from diffmask_jax.analysis.token_groups import (
    Difference,
    Group,
    by_group,
    difference,
    layers_kept,
    piece_groups,
)
from diffmask_jax.data.wordpieces import Encoded

HIGH, LOW = {"0", "4"}, {"2"}


def test_layers_kept_counts_in_expectation():
    keep = np.array([[1.0, 0.5], [1.0, 0.25], [0.5, 0.0]])
    np.testing.assert_array_equal(layers_kept(keep), [2.5, 0.75])


def encoded(tokens, offsets):
    nothing = np.zeros(len(tokens), np.int32)
    parts = np.array([-1 if span is None else 0 for span in offsets], np.int32)
    return Encoded(
        tuple(tokens), nothing, tuple(offsets), words=nothing, segments=nothing, parts=parts,
        shown=tuple(tokens),
    )  # fmt: skip


def test_a_piece_is_in_its_words_group_and_a_special_token_in_its_own():
    pieces = encoded(
        ["[CLS]", "it", "'", "s", "enjoy", "##able", "[SEP]"],
        [None, (0, 2), (3, 4), (4, 5), (6, 11), (11, 15), None],
    )
    groups = piece_groups(pieces, ("It", "'s", "enjoyable"), ("PRON", "AUX", "ADJ"))
    assert groups == ("[CLS]", "PRON", "AUX", "AUX", "ADJ", "ADJ", "[SEP]")
    with pytest.raises(ValueError, match="2 groups for 3 words"):
        piece_groups(pieces, ("It", "'s", "enjoyable"), ("PRON", "AUX"))
    with pytest.raises(ValueError, match="not inside one word"):
        piece_groups(pieces, ("It's", "enjoyable"), ("PRON", "ADJ"))


def test_groups_of_a_hand_made_case():
    values = [np.array([1.0, 2.0, 3.0]), np.array([5.0, 0.0])]
    found = by_group(values, [["a", "a", "b"], ["a", "c"]])
    assert list(found) == ["a", "b", "c"]
    name, tokens, mean, deviation, error = found["a"]
    assert (name, tokens) == ("a", 3)
    assert mean == pytest.approx(8 / 3)
    assert deviation == pytest.approx(np.std([1, 2, 5]))
    # The sentences' sums of deviations are (1 + 2) − 16/3 = −7/3 and 5 − 8/3 = 7/3.
    assert error == pytest.approx(math.sqrt(2 * 2 * (7 / 3) ** 2) / 3)
    assert found["b"][:4] == ("b", 1, 3.0, 0.0) and math.isnan(found["b"].standard_error)


def test_the_standard_error_is_the_usual_one_where_sentences_have_one_token():
    values = np.random.default_rng(0).normal(size=40)
    group = by_group([values[i : i + 1] for i in range(40)], [["a"]] * 40)["a"]
    assert group.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(40))


def test_tokens_that_repeat_their_sentence_say_nothing_new():
    values = np.random.default_rng(0).normal(size=40)
    once = by_group([values[i : i + 1] for i in range(40)], [["a"]] * 40)["a"]
    often = by_group([np.full(7, value) for value in values], [["a"] * 7] * 40)["a"]
    assert often.standard_error == pytest.approx(once.standard_error)


NAMES = st.sampled_from(["0", "2", "4", "[CLS]"])
TOKENS = st.lists(st.tuples(st.floats(0, 14, width=32), NAMES), min_size=1, max_size=8)
SENTENCES = st.lists(TOKENS, min_size=1, max_size=8)


def parts(sentences):
    """Values and groups of sentences of (value, name) pairs."""
    values = [np.array([value for value, _ in sentence]) for sentence in sentences]
    return values, [[name for _, name in sentence] for sentence in sentences]


@given(SENTENCES, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_the_order_of_sentences_changes_nothing(sentences, random):
    shuffled = random.sample(sentences, len(sentences))
    before, after = by_group(*parts(sentences)), by_group(*parts(shuffled))
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_allclose(before[name][1:], after[name][1:], rtol=1e-9, atol=1e-6)
    try:
        found = difference(*parts(sentences), high=HIGH, low=LOW)
    except ValueError:
        return
    again = difference(*parts(shuffled), high=HIGH, low=LOW)
    np.testing.assert_allclose(found, again, rtol=1e-9, atol=1e-9)


@given(SENTENCES)
@settings(deadline=None, max_examples=60)
def test_groups_add_up_to_all_tokens(sentences):
    groups, values = by_group(*parts(sentences)).values(), np.concatenate(parts(sentences)[0])
    assert sum(group.tokens for group in groups) == len(values)
    assert sum(group.tokens * group.mean for group in groups) == pytest.approx(values.sum())
    squares = sum(group.tokens * (group.deviation**2 + group.mean**2) for group in groups)
    assert squares == pytest.approx(np.sum(values**2))


def test_the_difference_of_a_hand_made_case():
    values, groups = parts(
        [
            [(3.0, "0"), (5.0, "4"), (1.0, "2"), (9.0, "[CLS]")],  # 4 − 1 = 3
            [(2.0, "2"), (4.0, "2"), (4.0, "4")],  # 4 − 3 = 1
            [(7.0, "4"), (7.0, "4")],  # has no low one
        ]
    )
    found = difference(values, groups, high=HIGH, low=LOW)
    # Both of two signs are positive: one of the four equally likely outcomes.
    assert found == Difference(2.0, pytest.approx(1.0), 0.25, 2, 2)
    alone = difference(values[:1], groups[:1], high=HIGH, low=LOW)
    assert alone[0] == 3.0 and math.isnan(alone.standard_error) and alone[2:] == (0.5, 1, 1)


def test_no_difference_at_all_is_no_evidence():
    values, groups = parts([[(3.0, "0"), (3.0, "2")]] * 5)
    assert difference(values, groups, high=HIGH, low=LOW) == Difference(0.0, 0.0, 1.0, 5, 5)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_sentences_of_one_source_are_one_observation(seed):
    """Sources of three sentences each, one token of both kinds: as uncertain as their means."""
    table = np.random.default_rng(seed).normal(size=(7, 3, 2))
    values = [np.array(pair) for pair in table.reshape(-1, 2)]
    groups, sources = [["0", "2"]] * 21, np.repeat(list("abcdefg"), 3).tolist()
    found = difference(values, groups, sources, high=HIGH, low=LOW)
    means = (table[..., 0] - table[..., 1]).mean(axis=1)
    assert (found.sentences, found.sources) == (21, 7)
    assert found.mean == pytest.approx(means.mean())
    assert found.standard_error == pytest.approx(sem(means))
    assert found.p_value == wilcoxon(means, alternative="greater").pvalue
    of_group = by_group(values, groups, sources)["0"]
    assert of_group.tokens == 21 and of_group.mean == pytest.approx(table[..., 0].mean())
    assert of_group.standard_error == pytest.approx(sem(table[..., 0].mean(axis=1)))
    alone = difference(values[:3], groups[:3], sources[:3], high=HIGH, low=LOW)
    assert alone.sources == 1 and math.isnan(alone.standard_error)


def test_sentences_without_both_kinds_are_refused():
    with pytest.raises(ValueError, match=r"no sentence has tokens of both \['0', '4'\] and"):
        difference(*parts([[(3.0, "0")], [(3.0, "2")]]), high=HIGH, low=LOW)


@pytest.mark.parametrize("wrong", [([np.zeros(2)], [["a"]]), ([np.zeros(1)], [])])
def test_values_and_groups_must_be_of_one_length(wrong):
    with pytest.raises(ValueError, match="zip"):
        by_group(*wrong)
    with pytest.raises(ValueError, match="zip"):
        difference(*wrong, high={"a"}, low={"b"})


def test_a_group_is_named():
    assert by_group([np.ones(1), np.ones(1)], [["x"]] * 2)["x"] == Group("x", 1 + 1, 1.0, 0.0, 0.0)


def draw(rng, shift, sentences=40):
    """Tokens that share a level with their sentence; those of `high` have `shift` more."""
    values, groups = [], []
    for _ in range(sentences):
        names = ["0", "4", "2", "2", "2", "[SEP]"]
        noise = rng.normal(size=6) + rng.normal()
        values.append(noise + shift * np.isin(names, list(HIGH)))
        groups.append(names)
    return values, groups


def test_p_values_are_uniform_without_a_difference_and_tiny_with_one():
    rng = np.random.default_rng(0)
    nothing = [difference(*draw(rng, 0.0), high=HIGH, low=LOW).p_value for _ in range(200)]
    assert kstest(nothing, "uniform").pvalue > 0.01
    found = difference(*draw(rng, 1.0), high=HIGH, low=LOW)
    assert found.p_value < 1e-5 and found.mean == pytest.approx(1, abs=3 * found.standard_error)
    assert difference(*draw(rng, -1.0), high=HIGH, low=LOW).p_value > 0.999
