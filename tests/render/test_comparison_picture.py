import sys
import warnings

import matplotlib.image
import numpy as np
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.render.colors import color
from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.comparison_picture import write_picture


def sample(tokens=("a", "film"), panels=6, rows=("W", "E", "1"), values=0.5, text="T"):
    layers = np.full((len(rows), len(tokens)), values)
    layers[:, -1] = 1.0
    panel = Panel(text, "n", tuple(rows), layers)
    return make_comparison(title=text, caption="c", tokens=tokens, panels=[panel] * panels)


def pixels(path):
    return np.round(255 * matplotlib.image.imread(path)[..., :3]).astype(int)


def found(image, value, axis):
    """Rows (axis 0) or columns (axis 1) with at least 30 dots of the colour of a value."""
    same = np.abs(image - np.array(color(value))).max(-1) <= 1
    return np.flatnonzero(same.sum(1 - axis) >= 30)


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


def test_formulas_foreign_scripts_and_controls_are_drawn_silently(tmp_path, capfd, caplog):
    tokens = ["$x^2$", "$\\frac{$", "映画", "\x1b[31m", "\ud800", "مرحبا", "👍", "x" * 99]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_picture(
            sample(tokens, rows=("$\\bad{$", "\x00"), text="$\\bad{$"), tmp_path / "map.png"
        )
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_pyplot_and_its_global_figures_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would now fail
    write_picture(sample(), tmp_path / "map.png")


def test_an_unwritable_path_is_a_user_error_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"missing does not exist"):
        write_picture(sample(), tmp_path / "missing" / "map.png")
    assert list(tmp_path.iterdir()) == []


def test_the_ending_says_as_what(tmp_path):
    for ending, start in {"svg": b"<?xml", "pdf": b"%PDF-", "tex": b"% "}.items():
        write_picture(sample(), tmp_path / f"map.{ending}")
        assert (tmp_path / f"map.{ending}").read_bytes().startswith(start)
    assert (tmp_path / "map.tex").read_text(encoding="utf-8").count("\n\\diffmaskpanel") == 6
    with pytest.raises(UserError, match=r"name it \.png, \.svg, \.pdf or \.tex$"):
        write_picture(sample(), tmp_path / "map.gif")
