"""The toy experiment's report: distances by SciPy, verdicts just on either side of every bound."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from diffmask_jax.models.toy import ToyInputs
from experiments.toy import report
from experiments.toy.figures import choose_example
from experiments.toy.setup import Split

# The paper's Table 1, KL and JS in nats.
PAPER = {
    "erasure": (None, 0.27),
    "integrated_gradients": (1.32, 0.27),
    "schulz": (1.12, 0.18),
    "guan": (0.88, 0.24),
    "diffmask": (0.01, 0.00),
}


# --- distances -------------------------------------------------------------------------------


VALID = np.broadcast_to(np.arange(6) < np.array([[6], [5], [4], [3]]), (2, 4, 6))
TRUTH = np.zeros((2, 4, 6), bool)
for places in ((0, 0, [0, 3]), (0, 1, [1]), (0, 2, [0, 1, 3]), (1, 0, [5]), (1, 2, [2, 3])):
    TRUTH[places] = True
QUERY, DIGITS = np.tile([1, 2], (2, 4, 1)), np.where(TRUTH, 1, 7)
SPLIT = Split(ToyInputs(QUERY, DIGITS, VALID), label=np.zeros((2, 4)), truth=TRUTH)
"""Two seeds' examples; the last one of the first, and two of the second, have no queried digit."""


def test_distances_are_scipys_of_the_examples_that_have_a_truth():
    """The attributions have any sum, something at padding, and a zero where there is no truth."""
    attribution = np.random.default_rng(0).uniform(0.1, 9, TRUTH.shape).astype(np.float32)
    attribution[:, 3, 0] = 0
    kl, js = report.distances(attribution, SPLIT)
    for seed, asked in enumerate(TRUTH.any(axis=-1)):
        # SciPy scales both to sum to one, and its first is the reference: KL(truth ‖ attribution).
        both = TRUTH[seed, asked].astype(float), (attribution * VALID)[seed, asked]
        assert kl[seed] == pytest.approx(entropy(*both, axis=-1).mean(), rel=1e-5)
        assert js[seed] == pytest.approx((jensenshannon(*both, axis=-1) ** 2).mean(), rel=1e-5)


def test_only_a_missing_part_of_the_truth_is_infinitely_far():
    whole = 3 * TRUTH.astype(np.float32)
    np.testing.assert_allclose(report.distances(whole, SPLIT), 0, atol=1e-6)
    more, less = whole.copy(), whole.copy()
    more[0, 0, 1] = 3  # where the first example's truth is two other positions
    less[1, 2, 3] = 0
    kl, js = report.distances(more, SPLIT)
    np.testing.assert_allclose(kl, [np.log(3 / 2) / 3, 0], atol=1e-6)
    assert js[0] > 0
    kl, js = report.distances(less, SPLIT)
    assert np.isfinite(kl).tolist() == [True, False] and np.isfinite(js).all()


# --- verdicts --------------------------------------------------------------------------------

GOOD = {
    name: np.array([[np.inf if kl is None else kl] * 2, [js] * 2])
    for name, (kl, js) in PAPER.items()
}


def claims_of(accuracy=(0.995, 0.999), keep=(0.96, 0.98), **rows) -> dict[str, report.Claim]:
    """rows: a method's KL and JS by seed, where they are not the paper's."""
    table = GOOD | {name: np.array(values) for name, values in rows.items()}
    claims = report.make_claims(np.array(accuracy), table, np.array(keep))
    assert len({claim.id for claim in claims}) == len(claims)
    return {claim.id: claim for claim in claims}


def broken(**told) -> list[str]:
    return [name for name, claim in claims_of(**told).items() if not claim.holds]


def test_the_papers_own_numbers_hold_and_stand_beside_ours():
    claims = claims_of()
    assert all(claim.holds is True for claim in claims.values())
    for name, papers in PAPER.items():
        for measure, paper in zip(("kl", "js"), papers, strict=True):
            one = claims[f"table1.{name}.{measure}"]
            assert one.paper == paper and one.ours == (np.inf if paper is None else paper)
            assert one.runs == 2
    assert len(claims) == 2 * len(PAPER) + 2


@pytest.mark.parametrize("name", ["integrated_gradients", "schulz", "guan"])
def test_other_methods_are_within_a_quarter_of_the_papers(name):
    kl, js = np.array(PAPER[name])
    for factor, holds in ((1.24, True), (1.26, False), (0.76, True), (0.74, False)):
        seeds = factor + np.array([-0.5, 0.5])  # whose mean counts
        assert broken(**{name: [kl * seeds, [js, js]]}) == [f"table1.{name}.kl"] * (not holds)
        assert broken(**{name: [[kl, kl], js * seeds]}) == [f"table1.{name}.js"] * (not holds)


def test_diffmask_is_near_the_truth():
    assert not broken(diffmask=[[0.039, 0.001], [0.0139, 0.0001]]), "0.02 and 0.007 on average"
    assert broken(diffmask=[[0.041, 0.001], [0, 0]]) == ["table1.diffmask.kl"]
    assert broken(diffmask=[[0, 0], [0.0141, 0.0001]]) == ["table1.diffmask.js"]


def test_erasure_misses_a_part_of_the_truth_and_is_as_far_as_in_the_paper():
    assert not broken(erasure=[[np.inf, 2.0], [0.27, 0.40]])
    assert broken(erasure=[[2.0, 2.0], [0.27, 0.27]]) == ["table1.erasure.kl"]
    assert broken(erasure=[[np.inf, np.inf], [0.27, 0.41]]) == ["table1.erasure.js"]


def test_the_worst_counting_model_is_nearly_perfect():
    assert broken(accuracy=(0.9901, 1.0)) == []
    assert broken(accuracy=(0.99, 1.0)) == ["toy.accuracy.min"], "it must be more"
    one = claims_of(accuracy=(0.991, 1.0))["toy.accuracy.min"]
    assert (one.ours, one.paper, one.runs) == (0.991, 0.99, 2)


def test_at_the_embedding_nearly_all_is_kept():
    assert broken(keep=(0.92, 0.9801)) == []
    assert broken(keep=(0.91, 0.9899)) == ["fig3.diffmask.embedding.keep"]


def test_table_1_has_a_row_a_method_with_ours_beside_the_papers():
    table = GOOD | {
        "erasure": np.array([[np.inf, 1.0], [0.3, 0.32]]),
        "guan": np.array([[0.8, 0.9], [0.2, 0.2]]),
    }
    _, _, *rows = report.table_1(table).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells == [
        ["Exact erasure", "–", "–", "0.310 ± 0.014", "0.27"],
        ["Sundararajan et al. (2017)", "1.320 ± 0.000", "1.32", "0.270 ± 0.000", "0.27"],
        ["Schulz et al. (2020)", "1.120 ± 0.000", "1.12", "0.180 ± 0.000", "0.18"],
        ["Guan et al. (2019)", "0.850 ± 0.071", "0.88", "0.200 ± 0.000", "0.24"],
        ["DiffMask", "0.010 ± 0.000", "0.01", "0.000 ± 0.000", "0.00"],
    ]


def test_of_one_seed_it_is_not_known_how_far_seeds_are_apart():
    table = {name: values[:, :1] for name, values in GOOD.items()}
    _, _, *rows = report.table_1(table).splitlines()
    assert "±" not in "".join(rows) and "| 1.120 | 1.12 | 0.180 | 0.18 |" in rows[2]
    claims = report.make_claims(np.array([0.999]), table, np.array([0.98]))
    assert not any(claim.why for claim in claims) and {claim.runs for claim in claims} == {1}
    assert report.averaged(1) == "one seed" and "of 5 seeds" in report.averaged(5)


# --- the example -----------------------------------------------------------------------------

N, M = 3, 5


def example(n: int, m: int, others: int, padding: int = N) -> tuple[list[int], list[bool]]:
    """Up to ten digits, of which so many are queried, and which are not padding."""
    length = n + m + others
    digits = [7] * others + [M] * m + [N] * n + [padding] * (10 - length)
    return digits, [True] * length + [False] * (10 - length)


UNFIT = [
    example(3, 2, 2),  # seven digits
    example(3, 3, 2),  # as many n as m
    example(2, 4, 2),
    example(5, 1, 2),
    example(5, 2, 1),
    example(2, 3, 3),  # the padding is n
    example(4, 1, 3, padding=M),
    example(5, 2, 1, padding=7),
]


@pytest.mark.parametrize("counts", [(3, 2, 3), (4, 2, 2)])
def test_the_example_is_the_first_long_and_mixed_one_of_the_first_seed(counts):
    first = [*UNFIT, example(*counts), example(5, 3, 2)]
    drawn = np.array([first, [example(5, 3, 2)] * len(first)])
    digits, valid = drawn[:, :, 0], drawn[:, :, 1].astype(bool)
    inputs = ToyInputs(np.full((*digits.shape[:2], 2), [N, M]), digits, valid)
    assert choose_example(inputs, valid & np.isin(digits, [N, M])) == len(UNFIT)
