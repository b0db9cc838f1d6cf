import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.render.charts import HIGH, Axis, Bar, Level, Series, bar_table, line_chart, ticks

SHARES = Axis(1.0, percent=True)


def points_of(markup: str, tag: str) -> np.ndarray:
    (points,) = re.findall(rf'<{tag}[^>]* points="([^"]*)"|<{tag} points="([^"]*)"', markup)
    return np.array([pair.split(",") for pair in "".join(points).split()], float)


def chart(*series, **more):
    return line_chart("Masked", "share", ["W", "E", "1"], series, SHARES, **more)


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3))
def test_ticks_are_few_even_and_hold_all(low, width):
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 9
    slack = 1e-6 * (width + abs(low))
    assert found[0] <= low + slack and found[-1] >= low + width - slack
    np.testing.assert_allclose(np.diff(found), found[1] - found[0], rtol=1e-6)


def test_a_curve_stands_where_its_values_are():
    """0 is drawn at the bottom of the grid and 1 at its top, and ½ between."""
    x, y = points_of(chart(Series("mean", np.array([0.0, 0.5, 1.0]))), "polyline").T
    assert (np.diff(x) > 0).all() and np.diff(x)[0] == pytest.approx(np.diff(x)[1], abs=0.2)
    assert y[1] == pytest.approx((y[0] + y[2]) / 2, abs=0.1)
    assert 0 < y[2] < y[0] < HIGH


def test_a_band_goes_forth_along_low_and_back_along_high():
    low, mean, high = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.3, 0.4, 0.5]])
    markup = chart(Series("mean", mean, low, high))
    band, curve = points_of(markup, "polygon"), points_of(markup, "polyline")
    assert (band[:3, 1] > curve[:, 1]).all() and (band[:2:-1, 1] < curve[:, 1]).all()


def test_every_value_is_said_to_those_who_see_no_curve():
    markup = chart(Series("mean", np.array([0.5, 0.25, np.nan])), level=Level("margin", 0.1))
    assert 'aria-label="Masked: mean by layer: W 50.0%, E 25.0%, 1 –"' in markup
    assert markup.count("<circle") == 2 and "<title>E: 25.0%</title>" in markup
    assert ">margin</text>" in markup and "W</text>" in markup


def test_a_series_has_a_value_for_every_layer():
    with pytest.raises(ValueError, match="3 layers"):
        chart(Series("mean", np.zeros(2)))


def test_of_many_layers_some_are_named():
    layers = [str(number) for number in range(26)]
    markup = line_chart("KL", "", layers, [Series("mean", np.zeros(26))], Axis(0, percent=False))
    named = re.findall(r'text-anchor="middle">([^<]*)</text>', markup)
    assert named == [*layers[::2], "layer"]


def test_bars_are_shares_of_the_longest():
    bars = [Bar("a", ("1",), 2.0, 1.0, 3.0), Bar("<b>", ("2",), 4.0)]
    markup = bar_table("By letter", ["", "times"], bars, 4.0)
    assert 'width="50.0"' in markup and 'width="100.0"' in markup
    assert 'd="M25.0 5H75.0"' in markup and markup.count("interval") == 1
    assert "&lt;b&gt;" in markup and "<b>" not in markup
    assert '<th scope=row title="a">a</th><td>1</td>' in markup
