"""A heat map's cells and the size of its picture."""

import warnings

import numpy as np
import pytest
from pictures import draw_heatmap, found, pixels

from diffmask_jax.render import heatmap_picture
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


@pytest.mark.parametrize(
    "title", ["I HATED THIS MOVIE SO MUCH THAT I LEFT " * 2, "映画がとても" * 8, "w" * 90]
)
@pytest.mark.parametrize("rows", ["WE", ("embedding", "encoder.block.12")])
def test_no_word_leaves_the_picture(title, rows, monkeypatch):
    """Lines are no wider than the figure by their letters' widths, and labels have their room."""
    drawn = []
    monkeypatch.setattr(heatmap_picture, "write", lambda path, draw, _: drawn.append(draw()))
    values = np.array([[1.0, 0.5, 0.2], [0.0, 0.25, 1.0]])
    heatmap = make_heatmap(title=title, caption=title, tokens="abc", rows=rows, values=values)
    write_picture(heatmap, "map.png")
    (figure,) = drawn
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")  # where there is no font for it
        figure.draw_without_rendering()
    whole = figure.bbox
    shown = [*figure.texts, *figure.axes[0].get_yticklabels(), figure.axes[0].yaxis.label]
    for text in filter(lambda text: text.get_text(), shown):
        box = text.get_window_extent()
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1, text.get_text()
    lines = [text.get_text() for text in figure.texts if text.get_fontsize() == 12]
    assert "".join("".join(lines).split()) == "".join(title.split())
