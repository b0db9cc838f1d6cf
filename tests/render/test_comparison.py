import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from diffmask_jax.render.comparison import Panel, make_comparison, normalise

TOKENS = ("a", "film")
FULL = Panel("Full", "note", ("W", "E", "1"), np.array([[1.0, 4.0], [0.0, 0.0], [3.0, 3.0]]))
PART = Panel("Part", "note", ("E", "1"), np.array([[2.0, 1.0], [5.0, 10.0]]))


def comparison_of(*panels, tokens=TOKENS):
    return make_comparison(title="t", caption="c", tokens=tokens, panels=panels)


@given(
    arrays(
        float,
        array_shapes(min_dims=2, max_dims=2),
        elements=st.just(0.0) | st.floats(1e-100, 1e100),
    )
)
def test_each_layer_is_scaled_by_its_largest_value(values):
    scaled = normalise(values)
    assert scaled.min() >= 0 and scaled.max() <= 1
    for before, after in zip(values, scaled, strict=True):
        assert after.max() == (before.max() > 0)
        np.testing.assert_allclose(after * before.max(), before, rtol=1e-9)


def test_a_layer_that_a_panel_lacks_has_no_share():
    comparison = comparison_of(PART, FULL)
    assert comparison.rows == ("W", "E", "1")
    full, part = (comparison.shares(panel) for panel in (FULL, PART))
    np.testing.assert_array_equal(full, [[0.25, 1.0], [0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_array_equal(part, [[np.nan, np.nan], [1.0, 0.5], [0.5, 1.0]])


def test_arrays_of_any_precision_are_taken():
    values = FULL.values.astype(np.float16)
    panel = comparison_of(FULL._replace(values=values, rows=list(FULL.rows))).panels[0]
    assert panel.values.dtype == np.float64 and panel.rows == FULL.rows
    np.testing.assert_array_equal(panel.values, FULL.values)


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one panel and one token"):
        comparison_of()
    with pytest.raises(ValueError, match="at least one panel and one token"):
        comparison_of(FULL._replace(values=np.zeros((3, 0))), tokens=())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.zeros((2, 3))}, r"Part: values have shape \(2, 3\), which must be \(2, 2\)"),
        ({"values": np.array([[1.0, np.nan], [0, 0]])}, "finite and not negative"),
        ({"values": np.array([[1.0, np.inf], [0, 0]])}, "finite and not negative"),
        ({"values": np.array([[1.0, -0.1], [0, 0]])}, "finite and not negative"),
        ({"rows": ("E", "E")}, "name each layer once"),
        ({"rows": (), "values": np.zeros((0, 2))}, "name each layer once"),
        ({"rows": ("E", "2")}, "do not fit"),
        ({"rows": ("1", "E")}, "do not fit"),
    ],
)
def test_a_panel_that_does_not_fit_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        comparison_of(FULL, PART._replace(**change))
