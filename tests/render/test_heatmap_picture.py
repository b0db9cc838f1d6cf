"""A heat map's cells and the size of its picture."""

import numpy as np
import pytest
from pictures import draw_heatmap, found, pixels

from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.heatmap_picture import write_picture


def test_cells_have_the_common_colours_and_the_input_is_at_the_bottom(tmp_path):
    values = np.array([[1.0, 0.5], [0.0, 0.25]])
    heatmap = make_heatmap(title="T", caption="c", tokens="ab", rows="WE", values=values)
    write_picture(heatmap, tmp_path / "map.png")
    image = pixels(tmp_path / "map.png")
    top = [found(image, value, 0).mean() for value in (0.0, 0.25)]
    bottom = [found(image, value, 0).mean() for value in (1.0, 0.5)]
    assert max(top) < min(bottom)


def test_the_figure_grows_with_the_tokens(tmp_path):
    for count in (20, 40):
        draw_heatmap(tmp_path / f"{count}.png", ["token"] * count)
    narrow, wide = (pixels(tmp_path / f"{count}.png").shape for count in (20, 40))
    assert wide[1] - narrow[1] == pytest.approx(20 * 0.3 * 200, abs=2)
    assert wide[0] == narrow[0]


def test_a_very_long_text_stays_within_what_a_viewer_can_open(tmp_path):
    draw_heatmap(tmp_path / "long.png", ["t"] * 384, "WE")
    assert pixels(tmp_path / "long.png").shape[1] <= 16_000
