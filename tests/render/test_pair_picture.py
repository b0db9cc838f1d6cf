"""Two texts stand apart in pictures, each below its name."""

import numpy as np
import pytest
from pictures import draw_comparison, draw_heatmap, pixels

from diffmask_jax.render import comparison_picture, heatmap_picture, picture
from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.heatmap import make_heatmap

TOKENS = ["<s>", "x", "</s>", "</s>", "ab", "##c", "d", "e", "f", "</s>"] * 2
PARTS = [-1, *[0] * 9, *[1] * 9, -1]
ONE_TEXT = [-1, *[0] * 18, -1]


def shape(draw, path, parts):
    draw(path, TOKENS, parts=parts)
    return pixels(path).shape[:2]


def test_the_columns_of_two_texts_stand_apart_below_their_names(tmp_path):
    pair = shape(draw_heatmap, tmp_path / "a.png", PARTS)
    alone = shape(draw_heatmap, tmp_path / "a.png", ONE_TEXT)
    assert pair[1] - alone[1] == pytest.approx(0.7 * 0.3 * 200, abs=2)
    assert pair[0] - alone[0] == pytest.approx(0.2 * 200, abs=2)


def test_the_rows_of_two_texts_stand_apart_below_their_names(tmp_path):
    pair = shape(draw_comparison, tmp_path / "a.png", PARTS)
    alone = shape(draw_comparison, tmp_path / "a.png", ONE_TEXT)
    assert pair[0] - alone[0] == pytest.approx(2 * (0.9 + 1.3) * 0.2 * 200, abs=4)
    assert pair[1] == alone[1]


def cells_of(figure, across):
    """For each plot: its names with their places, and the start and the values of each text."""
    axis = 0 if across else 1
    for axes in figure.axes:
        meshes = axes.collections[: len(axes.texts)]
        if axes.texts:
            names = [(text.get_position()[axis], text.get_text()) for text in axes.texts]
            values = [np.asarray(mesh.get_array()) for mesh in meshes]
            starts = [mesh.get_coordinates()[0, 0, axis] for mesh in meshes]
            yield names, starts, [(v[0] if across else v[:, 0]).tolist() for v in values]


@pytest.mark.parametrize("parts", [[-1, 0, -1, 1, -1], [0, -1, -1, 1, 1]])
def test_each_text_has_its_name_and_its_own_values(monkeypatch, parts):
    figures = []
    monkeypatch.setattr(picture, "save", lambda figure, path: figures.append(figure))
    values, look = np.array([[0.0, 0.25, 0.5, 0.75, 1.0]]), {"title": "", "caption": ""}
    given = {**look, "tokens": "abcde", "parts": parts}
    heatmap_picture.write_picture(make_heatmap(rows="E", values=values, **given), "a.png")
    panels = [Panel("P", "n", ("E",), values)] * 2
    comparison_picture.write_picture(make_comparison(panels=panels, **given), "a.png")
    ((names, starts, found),) = cells_of(figures[0], across=True)
    assert [name for _, name in names] == ["first", "second"]
    assert starts == [at for at, _ in names] == [0, 3.7]
    assert found == [[0.0, 0.25, 0.5], [0.75, 1.0]]
    plots = list(cells_of(figures[1], across=False))
    assert len(plots) == 2
    for names, starts, found in plots:
        assert [name for _, name in names] == ["first", "second"]
        assert all(0 < start - at < 0.5 for start, (at, _) in zip(starts, names, strict=True))
        assert starts == pytest.approx([0.9, 5.2]) and found == [[0.0, 0.25, 0.5], [0.75, 1.0]]
