import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.render.heatmap import make_heatmap


def heatmap_of(values):
    values = values if hasattr(values, "shape") else np.array(values)
    return make_heatmap(title="t", caption="c", tokens=["a", "b"], rows=["W", "E"], values=values)


def test_any_real_array_becomes_a_numpy_heatmap():
    heatmap = heatmap_of(jnp.array([[0.0, 0.25], [0.5, 1.0]], jnp.bfloat16))
    assert isinstance(heatmap.values, np.ndarray)
    np.testing.assert_array_equal(heatmap.values, [[0.0, 0.25], [0.5, 1.0]])
    assert heatmap.tokens == ("a", "b") and heatmap.rows == ("W", "E")


def test_rounding_errors_are_clipped():
    heatmap = heatmap_of([[-1e-8, 1.0], [1.0 + 1e-7, 0.0]])
    assert heatmap.values.min() == 0.0 and heatmap.values.max() == 1.0


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.01, 1.01, np.log(0.5)])
def test_values_outside_the_unit_interval_are_refused(wrong):
    with pytest.raises(ValueError, match=r"keep probabilities must lie in \[0, 1\]"):
        heatmap_of([[0.5, 0.5], [wrong, 0.5]])


@pytest.mark.parametrize("shape", [(2,), (1, 2), (2, 3), (2, 2, 1)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"rows and tokens need \(2, 2\)"):
        heatmap_of(np.zeros(shape))


@pytest.mark.parametrize(("tokens", "rows"), [([], ["W"]), (["a"], []), ([], [])])
def test_an_empty_heatmap_is_refused(tokens, rows):
    nothing = np.zeros((len(rows), len(tokens)))
    with pytest.raises(ValueError, match="at least one row and one token"):
        make_heatmap(title="", caption="", tokens=tokens, rows=rows, values=nothing)
