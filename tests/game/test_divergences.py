"""Divergences against SciPy and PyTorch, and the laws of every Kullback-Leibler divergence."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, rel_entr, softmax
from scipy.stats import norm

from diffmask_jax.game import divergences
from diffmask_jax.game.divergences import BERNOULLI, CATEGORICAL, MULTI_LABEL, SPAN, gaussian, same

bernoulli_divergence = jax.jit(divergences.bernoulli_divergence)
categorical_divergence = jax.jit(divergences.categorical_divergence)
span_divergence = jax.jit(divergences.span_divergence)

B, T, C = 6, 5, 4
tables = arrays(np.float32, (B, C), elements=st.floats(-20, 20, width=32))
spans = arrays(np.float32, (2, B, T, 2), elements=st.floats(-20, 20, width=32))


def logits(seed: int, *shape: int) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).normal(0, 3, shape), jnp.float32)


def both(log_odds) -> np.ndarray:
    """The two probabilities of a Bernoulli variable."""
    return np.stack([expit(np.float64(log_odds)), expit(-np.float64(log_odds))], axis=-1)


def test_categorical_is_scipys_relative_entropy():
    a, b = logits(0, B, C), logits(1, B, C)
    expected = rel_entr(softmax(np.float64(a), axis=1), softmax(np.float64(b), axis=1)).sum(1)
    np.testing.assert_allclose(categorical_divergence(a, b), expected, rtol=1e-5, atol=1e-6)


def test_bernoulli_is_scipys_relative_entropy():
    a, b = logits(2, 50), logits(3, 50)
    expected = rel_entr(both(a), both(b)).sum(1)
    np.testing.assert_allclose(bernoulli_divergence(a, b), expected, rtol=1e-5, atol=2e-6)


def test_both_are_pytorchs_divergences():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    kl = torch.distributions.kl_divergence

    def of(family, *arrays):
        return kl(*(family(logits=torch.tensor(np.asarray(array))) for array in arrays))

    a, b = logits(4, B, C), logits(5, B, C)
    expected = of(torch.distributions.Categorical, a, b)
    np.testing.assert_allclose(categorical_divergence(a, b), expected, rtol=1e-4, atol=1e-6)
    a, b = logits(6, B), logits(7, B)
    expected = of(torch.distributions.Bernoulli, a, b)
    np.testing.assert_allclose(bernoulli_divergence(a, b), expected, rtol=1e-4, atol=2e-6)


VALID = jnp.arange(T) < jnp.array([5, 5, 4, 3, 2, 1])[:, None]
close_padding = jax.jit(divergences.close_padding)


def test_span_is_start_plus_end_over_valid_positions():
    a, b = (close_padding(logits(seed, B, T, 2), VALID) for seed in (8, 9))
    found = span_divergence(a, b)
    for row, length in enumerate(VALID.sum(1)):
        p, q = (softmax(np.float64(x[row, :length]), axis=0) for x in (a, b))
        assert found[row] == pytest.approx(rel_entr(p, q).sum(), rel=1e-4, abs=1e-6)


def test_span_is_pytorchs_divergence():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    a, b = logits(8, B, T, 2), logits(9, B, T, 2)
    p, q = (torch.tensor(np.asarray(x)).log_softmax(1) for x in (a, b))
    expected = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum((1, 2))
    np.testing.assert_allclose(span_divergence(a, b), expected, rtol=1e-4, atol=1e-6)


def test_span_never_sees_what_stands_at_invalid_positions():
    a, b, other = logits(10, B, T, 2), logits(11, B, T, 2), 10 * logits(12, B, T, 2)
    expected = span_divergence(close_padding(a, VALID), close_padding(b, VALID))

    def spoilt(x):
        return close_padding(jnp.where(VALID[..., None], x, other), VALID)

    np.testing.assert_array_equal(span_divergence(spoilt(a), spoilt(b)), expected)
    slopes = jax.grad(lambda x: span_divergence(close_padding(a, VALID), spoilt(x)).sum())(b)
    np.testing.assert_array_equal(slopes[~VALID], 0)
    assert jnp.all(slopes[1:5, :2] != 0)


def test_a_closed_position_has_no_probability_and_a_row_of_them_stays_finite():
    given = close_padding(
        logits(13, 2, T, 2) + 100, jnp.array([[True, False, True, False, False]] * 2)
    )
    np.testing.assert_array_equal(SPAN.outputs(given)[:, [1, 3, 4]], 0)
    np.testing.assert_allclose(SPAN.outputs(given).sum(1), 1, rtol=1e-5)
    nothing = close_padding(logits(14, 2, T, 2), jnp.zeros((2, T), bool))
    decided = SPAN.prediction(given)
    for value in (
        SPAN.divergence(nothing, given),
        SPAN.divergence(given, nothing),
        SPAN.score(nothing, decided),
        SPAN.surprisal(nothing, decided),
        SPAN.outputs(nothing),
    ):
        assert jnp.all(jnp.isfinite(value))


@given(tables, tables)
@settings(deadline=None, max_examples=50)
def test_a_divergence_is_never_negative(a, b):
    assert jnp.all(categorical_divergence(jnp.asarray(a), jnp.asarray(b)) >= -1e-5)
    assert jnp.all(bernoulli_divergence(jnp.asarray(a[:, 0]), jnp.asarray(b[:, 0])) >= -1e-5)


@given(spans)
@settings(deadline=None, max_examples=30)
def test_a_span_divergence_is_never_negative(pair):
    a, b = (close_padding(jnp.asarray(x), VALID) for x in pair)
    assert jnp.all(span_divergence(a, b) >= -1e-5)
    np.testing.assert_allclose(span_divergence(a, a), 0, atol=1e-6)


@given(tables, st.integers(0, C - 1), st.floats(0.5, 5, width=32))
@settings(deadline=None, max_examples=50)
def test_a_divergence_is_zero_for_equal_distributions_only(a, column, change):
    a = jnp.asarray(a) / 8  # all classes stay likely enough for a change to show
    b = a.at[:, column].add(change)
    np.testing.assert_allclose(categorical_divergence(a, a), 0, atol=1e-6)
    np.testing.assert_allclose(bernoulli_divergence(a[:, 0], a[:, 0]), 0, atol=1e-6)
    assert jnp.all(categorical_divergence(a, b) > 1e-5)
    assert jnp.all(bernoulli_divergence(a[:, 0], a[:, 0] + change) > 1e-5)


@given(tables, tables, st.floats(-30, 30, width=32))
@settings(deadline=None, max_examples=50)
def test_a_common_shift_of_the_logits_says_nothing(a, b, shift):
    a, b = jnp.asarray(a), jnp.asarray(b)
    expected = categorical_divergence(a, b)
    shifted = categorical_divergence(a + shift, b - shift)
    np.testing.assert_allclose(shifted, expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_the_difference_of_the_probabilities():
    a, b = logits(13, B, C), logits(14, B, C)
    slopes = jax.grad(lambda b: categorical_divergence(a, b).sum())(b)
    np.testing.assert_allclose(slopes, softmax(b, axis=1) - softmax(a, axis=1), atol=1e-6)
    slopes = jax.grad(lambda b: bernoulli_divergence(a[:, 0], b).sum())(b[:, 0])
    np.testing.assert_allclose(slopes, expit(b[:, 0]) - expit(a[:, 0]), atol=1e-6)


def test_confident_predictions_stay_finite():
    far = jnp.array([-200.0, 200.0, 0.0])
    assert jnp.all(jnp.isfinite(bernoulli_divergence(far, -far)))
    assert jnp.all(jnp.isfinite(jax.grad(lambda b: bernoulli_divergence(far, b).sum())(-far)))
    assert jnp.isfinite(categorical_divergence(far[None], -far[None]))[0]


def test_families_predict_a_class_and_score_it():
    log_odds = jnp.array([2.0, -3.0])
    np.testing.assert_array_equal(BERNOULLI.prediction(log_odds), [1, 0])
    np.testing.assert_array_equal(BERNOULLI.score(log_odds, jnp.array([1, 0])), [2, 3])
    np.testing.assert_array_equal(BERNOULLI.score(log_odds, jnp.array([0, 1])), [-2, -3])
    table = jnp.array([[1.0, 5.0, 2.0], [7.0, 0.0, -1.0]])
    np.testing.assert_array_equal(CATEGORICAL.prediction(table), [1, 0])
    np.testing.assert_array_equal(CATEGORICAL.score(table, jnp.array([2, 0])), [2, 7])
    assert BERNOULLI.divergence is divergences.bernoulli_divergence
    assert CATEGORICAL.divergence is divergences.categorical_divergence


# --- several labels --------------------------------------------------------------------------


def test_labels_diverge_by_the_sum_of_their_bernoullis():
    a, b = logits(20, B, C), logits(21, B, C)
    expected = rel_entr(both(a), both(b)).sum((1, 2))
    np.testing.assert_allclose(MULTI_LABEL.divergence(a, b), expected, rtol=1e-5, atol=2e-6)


def test_labels_diverge_as_the_distributions_over_all_their_sets():
    """Labels are independent: the joint distribution over 2^C sets says the same."""
    a, b = np.float64(logits(22, B, C)), np.float64(logits(23, B, C))
    sets = np.array(list(itertools.product([0, 1], repeat=C)))
    p, q = (np.where(sets, expit(x)[:, None], expit(-x)[:, None]).prod(-1) for x in (a, b))
    np.testing.assert_allclose(p.sum(1), 1)
    found = MULTI_LABEL.divergence(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(found, rel_entr(p, q).sum(1), rtol=1e-4, atol=1e-5)


def test_sets_of_labels_agree_only_where_all_labels_do():
    a = jnp.array([[2.0, -1.0, 3.0], [2.0, -1.0, 3.0], [-2.0, -1.0, -3.0]])
    b = jnp.array([[0.1, -9.0, 7.0], [2.0, 1.0, 3.0], [-0.1, -0.1, -0.1]])
    decided = [MULTI_LABEL.prediction(x) for x in (a, b)]
    np.testing.assert_array_equal(decided[0], [[1, 0, 1], [1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(MULTI_LABEL.agreement(*decided), [1, 0, 1])
    np.testing.assert_array_equal(same(jnp.array([1, 2]), jnp.array([1, 3])), [1, 0])
    np.testing.assert_array_equal(
        CATEGORICAL.agreement(jnp.array([1, 2]), jnp.array([0, 2])), [0, 1]
    )


def test_labels_are_scored_and_surprising_as_they_are_decided():
    a = logits(24, B, C)
    decided = MULTI_LABEL.prediction(a)
    np.testing.assert_allclose(MULTI_LABEL.score(a, decided), np.abs(a).sum(1), rtol=1e-6)
    np.testing.assert_allclose(MULTI_LABEL.score(a, 1 - decided), -np.abs(a).sum(1), rtol=1e-6)
    p = np.where(decided, expit(np.float64(a)), expit(-np.float64(a)))
    np.testing.assert_allclose(MULTI_LABEL.surprisal(a, decided), -np.log(p).sum(1), rtol=1e-5)
    slopes = jax.grad(lambda x: MULTI_LABEL.score(x, decided).sum())(a)
    np.testing.assert_array_equal(slopes, np.where(decided, 1, -1))
    slopes = jax.grad(lambda x: MULTI_LABEL.surprisal(x, decided).sum())(a)
    np.testing.assert_allclose(slopes, expit(a) - decided, atol=1e-6)


# --- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [0.01, 1.0, 30.0])
def test_numbers_diverge_as_normals_of_one_variance(variance):
    """Against the integral of p·log(p/q), by SciPy's densities."""
    a, b, deviation = logits(25, B, 1), logits(26, B, 1), variance**0.5
    found = gaussian(variance).divergence(a, b)
    for row in range(B):
        p, q = (norm(float(x[row, 0]), deviation) for x in (a, b))
        x = np.linspace(p.mean() - 12 * deviation, p.mean() + 12 * deviation, 20001)
        integral = np.trapezoid(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), x)
        assert found[row] == pytest.approx(integral, rel=1e-4, abs=1e-6)


def test_a_variance_may_be_the_result_of_a_computation():
    """Families are static arguments of compiled programs: those of one variance are one."""
    assert gaussian(jnp.var(jnp.array([0.0, 2.0]))) is gaussian(np.float32(1.0)) is gaussian(1.0)


def test_several_numbers_diverge_by_their_sum():
    a, b, family = logits(27, B, C), logits(28, B, C), gaussian(2.0)
    parts = [family.divergence(a[:, c : c + 1], b[:, c : c + 1]) for c in range(C)]
    np.testing.assert_allclose(family.divergence(a, b), np.sum(parts, axis=0), rtol=1e-5)


def test_numbers_are_pytorchs_normals():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    a, b = logits(29, B, C), logits(30, B, C)
    p, q = (torch.distributions.Normal(torch.tensor(np.asarray(x)), 3**0.5) for x in (a, b))
    expected = torch.distributions.kl_divergence(p, q).sum(-1)
    np.testing.assert_allclose(gaussian(3.0).divergence(a, b), expected, rtol=1e-4)


@given(st.floats(0.125, 64, width=32))
@settings(deadline=None, max_examples=20)
def test_the_unit_of_numbers_says_nothing(scale):
    a, b = logits(31, B, C), logits(32, B, C)
    one, other = gaussian(2.0), gaussian(2.0 * scale**2)
    np.testing.assert_allclose(
        other.divergence(scale * a, scale * b), one.divergence(a, b), rtol=1e-4
    )
    np.testing.assert_array_equal(other.agreement(scale * a, scale * b), one.agreement(a, b))


def test_numbers_agree_within_half_a_deviation_each():
    family, zero = gaussian(4.0), jnp.zeros((4, 2))
    others = jnp.array([[0.0, 0.0], [1.0, -1.0], [0.9, 1.1], [-1.01, 0.0]])
    np.testing.assert_array_equal(family.agreement(zero, others), [1, 1, 0, 0])


def test_numbers_are_what_they_are_and_score_their_sum():
    a, b, family = logits(33, B, C), logits(34, B, C), gaussian(2.0)
    assert family.prediction(a) is a and family.outputs(a) is a
    np.testing.assert_allclose(family.score(a, b), a.sum(1), rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(lambda x: family.score(x, b).sum())(a), 1)
    np.testing.assert_array_equal(family.surprisal(a, a), 0)
    slopes = jax.grad(lambda x: family.surprisal(x, b).sum())(a)
    np.testing.assert_allclose(slopes, (a - b) / 2, rtol=1e-5)


# --- spans -----------------------------------------------------------------------------------


def test_a_span_is_both_argmaxes_as_they_come():
    given = jnp.zeros((2, T, 2)).at[0, 3, 0].set(5).at[0, 1, 1].set(4).at[1, 2, :].set(3)
    decided = SPAN.prediction(given)
    np.testing.assert_array_equal(decided, [[3, 1], [2, 2]])
    np.testing.assert_array_equal(SPAN.score(given, decided), [9, 6])
    np.testing.assert_array_equal(SPAN.score(given, decided[::-1]), [0, 0])


def test_spans_agree_by_the_share_of_positions_that_stay():
    a = jnp.array([[1, 3], [1, 3], [1, 3], [1, 3]])
    b = jnp.array([[1, 3], [1, 4], [0, 3], [3, 1]])
    np.testing.assert_array_equal(SPAN.agreement(a, b), [1, 0.5, 0.5, 0])
    np.testing.assert_array_equal(same(a, b), [1, 0, 0, 0])


@given(spans)
@settings(deadline=None, max_examples=30)
def test_the_surprisal_of_a_span_is_that_of_its_start_and_its_end(pair):
    given, other = (close_padding(jnp.asarray(x), VALID) for x in pair)
    decided = SPAN.prediction(other)
    found, outputs = SPAN.surprisal(given, decided), np.float64(SPAN.outputs(given))
    for row, (start, end) in enumerate(np.asarray(decided)):
        assert max(start, end) < VALID[row].sum(), "what is decided is never padding"
        logs = [np.float64(given[row, :, c]) for c in (0, 1)]
        expected = sum(
            np.logaddexp.reduce(x) - x[p] for x, p in zip(logs, (start, end), strict=True)
        )
        assert found[row] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(outputs, softmax(np.float64(given), axis=1), atol=1e-6)


# --- every family ----------------------------------------------------------------------------

FAMILIES = {
    "class": (CATEGORICAL, logits(40, B, C), softmax(logits(40, B, C), axis=1)),
    "labels": (MULTI_LABEL, logits(41, B, C), expit(logits(41, B, C))),
    "numbers": (gaussian(2.0), logits(42, B, C), logits(42, B, C)),
    "span": (SPAN, logits(44, B, T, 2), softmax(logits(44, B, T, 2), axis=1)),
    "yes or no": (BERNOULLI, logits(43, B), expit(logits(43, B))[:, None]),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_people_are_shown(name):
    family, given, shown = FAMILIES[name]
    np.testing.assert_allclose(family.outputs(given), shown, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_number_an_example_and_padding_rows_stay_apart(name):
    family, given, _ = FAMILIES[name]
    other = given[::-1]
    decided = family.prediction(given)
    for values in (
        family.divergence(given, other),
        family.agreement(decided, family.prediction(other)),
        family.score(other, decided),
        family.surprisal(other, decided),
    ):
        assert values.shape == (B,) and values.dtype == jnp.float32
    np.testing.assert_allclose(
        family.divergence(given[:2], other[:2]), family.divergence(given, other)[:2], rtol=1e-5
    )
    np.testing.assert_allclose(family.divergence(given, given), 0, atol=1e-6)
    np.testing.assert_array_equal(family.agreement(decided, decided), 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_decided_is_the_least_surprising(name):
    family, given, _ = FAMILIES[name]
    decided = family.prediction(given)
    least = family.surprisal(given, decided)
    assert jnp.all(least >= 0)
    for other in (decided[::-1], decided[::-1] * 0):
        assert jnp.all(family.surprisal(given, other) >= least - 1e-6)
