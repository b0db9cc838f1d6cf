import sys
import warnings
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.render.colors import color, hex_color
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.heatmap_picture import write_picture
from diffmask_jax.render.marks import Marks


def sample(tokens=("a", "film"), rows=("W", "E"), values=((1.0, 0.5), (0.0, 0.25)), title="T"):
    values = np.array(values)
    return make_heatmap(title=title, caption="c", tokens=tokens, rows=rows, values=values)


def pixels(path):
    return np.round(255 * matplotlib.image.imread(path)[..., :3]).astype(int)


def rows_with(image, rgb, wide=30):
    """Heights, from the top, at which a run of at least `wide` dots has that colour."""
    return np.flatnonzero((np.abs(image - np.array(rgb)).max(-1) <= 1).sum(1) >= wide)


def test_cells_have_the_common_colours_and_the_input_is_at_the_bottom(tmp_path):
    write_picture(sample(), tmp_path / "map.png")
    image = pixels(tmp_path / "map.png")
    top = [rows_with(image, color(value)).mean() for value in (0.0, 0.25)]
    bottom = [rows_with(image, color(value)).mean() for value in (1.0, 0.5)]
    assert max(top) < min(bottom)


def test_the_figure_grows_with_the_tokens(tmp_path):
    for count in (20, 40):
        heatmap = sample(["token"] * count, values=np.zeros((2, count)))
        write_picture(heatmap, tmp_path / f"{count}.png")
    narrow, wide = (pixels(tmp_path / f"{count}.png").shape for count in (20, 40))
    assert wide[1] - narrow[1] == pytest.approx(20 * 0.3 * 200, abs=2)
    assert wide[0] == narrow[0]


def test_a_very_long_text_stays_within_what_a_viewer_can_open(tmp_path):
    write_picture(sample(["t"] * 384, values=np.zeros((2, 384))), tmp_path / "long.png")
    assert pixels(tmp_path / "long.png").shape[1] <= 16_000


def test_formulas_foreign_scripts_and_controls_are_drawn_silently(tmp_path, capfd, caplog):
    tokens = ["$x^2$", "$\\frac{$", "映画", "\x1b[31m", "\ud800", "مرحبا", "👍", "x" * 99]
    heatmap = sample(tokens, values=np.full((2, 8), 0.5), title="$\\bad{$ 映画 \x00")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_picture(heatmap, tmp_path / "map.png")
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_pyplot_and_its_global_figures_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would now fail
    write_picture(sample(), tmp_path / "map.png")


def test_an_unwritable_path_is_a_user_error_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"missing does not exist"):
        write_picture(sample(), tmp_path / "missing" / "map.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_pictures_of_lines_are_the_same_bytes_twice_and_need_no_font(tmp_path, ending):
    tokens, marks = ["a", "映画"], Marks((True, False), (False, True))
    drawn = make_heatmap(
        title="T", caption="c", tokens=tokens, rows="WE", values=np.ones((2, 2)), marks=marks
    )
    files = [tmp_path / f"{number}.{ending}" for number in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file in files:
            write_picture(drawn, file)
    first, second = (file.read_bytes() for file in files)
    assert first == second
    if ending == "svg":
        root = ElementTree.fromstring(first)
        names = {element.tag.split("}")[1] for element in root.iter()}
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and "text" not in names
        assert hex_color(color(1.0)) in first.decode() and b"dc:date" not in first
    else:
        assert first.startswith(b"%PDF-") and first.rstrip().endswith(b"%%EOF")
        assert b"/CIDFontType2" in first and b"/Type3" not in first and b"CreationDate" not in first


def test_another_ending_is_refused_and_nothing_is_written(tmp_path):
    for name in ("map.jpg", "map"):
        with pytest.raises(UserError, match=r"map.*: name it \.png, \.svg, \.pdf or \.tex$"):
            write_picture(sample(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named_and_latex_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"run `pip install 'diffmask_jax\[viz\]'`$"):
        write_picture(sample(), tmp_path / "map.pdf")
    write_picture(sample(), tmp_path / "map.tex")
    assert [file.name for file in tmp_path.iterdir()] == ["map.tex"]
