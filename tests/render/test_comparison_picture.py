"""A comparison's cells and the size of its picture."""

import numpy as np
import pytest
from pictures import found, pixels

from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.comparison_picture import write_picture


def sample(tokens=("a", "film"), panels=6, rows=("W", "E", "1")):
    layers = np.full((len(rows), len(tokens)), 0.5)
    layers[:, -1] = 1.0
    panel = Panel("P", "n", tuple(rows), layers)
    return make_comparison(title="T", caption="c", tokens=tokens, panels=[panel] * panels)


def test_tokens_run_downwards_in_the_common_colours(tmp_path):
    write_picture(sample("abcdef", panels=1), tmp_path / "map.png")
    image = pixels(tmp_path / "map.png")
    image = image[: int(0.72 * len(image))]  # the colour bar lies below
    assert found(image, 0.5, 0).max() < found(image, 1.0, 0).min()


def test_a_layer_that_a_panel_lacks_stays_white(tmp_path):
    full, part = sample().panels[0], sample(rows=("E", "1")).panels[0]
    left = []
    for panel in (full, part):
        comparison = make_comparison(title="", caption="", tokens="ab", panels=[panel, full])
        write_picture(comparison, tmp_path / "map.png")
        left.append(found(pixels(tmp_path / "map.png"), 0.5, 1).min())
    assert left[1] - left[0] == pytest.approx(2.1 / 3 * 200, abs=3)


@pytest.mark.long
def test_the_figure_grows_with_tokens_layers_and_lines_of_panels(tmp_path):
    def size(**parts):
        write_picture(sample(**parts), tmp_path / "map.png")
        return pixels(tmp_path / "map.png").shape[:2]

    rows = tuple(map(str, range(10)))
    high, wide = size(rows=rows)
    assert size(rows=rows, tokens=("t",) * 12)[0] - high == pytest.approx(2 * 10 * 0.2 * 200, abs=2)
    more = (*rows, "x", "y")
    assert size(rows=more)[1] - wide == pytest.approx(3 * 2 * 0.24 * 200, abs=2)
    assert size(rows=rows, panels=3)[0] < size(rows=rows, panels=4)[0] == high
    assert size(rows=rows, panels=2)[1] < wide
