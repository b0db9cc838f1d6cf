import sys
import warnings

import matplotlib.image
import numpy as np
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.render.colors import color
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.png import write_png


def sample(tokens=("a", "film"), rows=("W", "E"), values=((1.0, 0.5), (0.0, 0.25)), title="T"):
    values = np.array(values)
    return make_heatmap(title=title, caption="c", tokens=tokens, rows=rows, values=values)


def pixels(path):
    return np.round(255 * matplotlib.image.imread(path)[..., :3]).astype(int)


def rows_with(image, rgb, wide=30):
    """Heights, from the top, at which a run of at least `wide` dots has that colour."""
    return np.flatnonzero((np.abs(image - np.array(rgb)).max(-1) <= 1).sum(1) >= wide)


def test_cells_have_the_common_colours_and_the_input_is_at_the_bottom(tmp_path):
    write_png(sample(), tmp_path / "map.png")
    image = pixels(tmp_path / "map.png")
    top = [rows_with(image, color(value)).mean() for value in (0.0, 0.25)]
    bottom = [rows_with(image, color(value)).mean() for value in (1.0, 0.5)]
    assert max(top) < min(bottom)


def test_the_figure_grows_with_the_tokens(tmp_path):
    for count in (20, 40):
        heatmap = sample(["token"] * count, values=np.zeros((2, count)))
        write_png(heatmap, tmp_path / f"{count}.png")
    narrow, wide = (pixels(tmp_path / f"{count}.png").shape for count in (20, 40))
    assert wide[1] - narrow[1] == pytest.approx(20 * 0.3 * 200, abs=2)
    assert wide[0] == narrow[0]


def test_a_very_long_text_stays_within_what_a_viewer_can_open(tmp_path):
    write_png(sample(["t"] * 384, values=np.zeros((2, 384))), tmp_path / "long.png")
    assert pixels(tmp_path / "long.png").shape[1] <= 16_000


def test_formulas_foreign_scripts_and_controls_are_drawn_silently(tmp_path, capfd, caplog):
    tokens = ["$x^2$", "$\\frac{$", "映画", "\x1b[31m", "\ud800", "مرحبا", "👍", "x" * 99]
    heatmap = sample(tokens, values=np.full((2, 8), 0.5), title="$\\bad{$ 映画 \x00")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_png(heatmap, tmp_path / "map.png")
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_pyplot_and_its_global_figures_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would now fail
    write_png(sample(), tmp_path / "map.png")


def test_an_unwritable_path_is_a_user_error_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"missing does not exist"):
        write_png(sample(), tmp_path / "missing" / "map.png")
    assert list(tmp_path.iterdir()) == []
