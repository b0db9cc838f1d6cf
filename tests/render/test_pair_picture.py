import warnings

import matplotlib.image
import numpy as np
import pytest

from diffmask_jax.render import comparison_picture, heatmap_picture, picture
from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.heatmap import make_heatmap

TOKENS = ["<s>", "$x$", "</s>", "</s>", "ما", "##·", "👍", "e\u0301", "x" * 60, "</s>"] * 2
PARTS = [-1, *[0] * 9, *[1] * 9, -1]
ONE_TEXT = [-1, *[0] * 18, -1]


def draw_heatmap(path, parts, tokens=TOKENS):
    values = np.full((3, len(tokens)), 0.5)
    heatmap = make_heatmap(
        title="T", caption="c", tokens=tokens, rows="WE1", values=values, parts=parts
    )
    heatmap_picture.write_picture(heatmap, path)


def draw_comparison(path, parts, tokens=TOKENS):
    panel = Panel("P", "n", ("W", "E", "1"), np.full((3, len(tokens)), 0.5))
    comparison = make_comparison(
        title="T", caption="c", tokens=tokens, panels=[panel] * 4, parts=parts
    )
    comparison_picture.write_picture(comparison, path)


def pixels(path):
    return np.round(255 * matplotlib.image.imread(path)[..., :3]).astype(int)


def shape(draw, path, parts):
    draw(path, parts)
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


@pytest.mark.parametrize("draw", [draw_heatmap, draw_comparison])
@pytest.mark.parametrize("parts", [PARTS, [1] * 20, [-1, 1, *[-1] * 18], [0] * 19 + [1]])
def test_any_pair_of_any_tokens_is_drawn_silently(tmp_path, capfd, caplog, draw, parts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "a.png", parts)
    assert capfd.readouterr() == ("", "") and not caplog.records


@pytest.mark.parametrize("draw", [draw_heatmap, draw_comparison])
def test_one_text_is_what_it_was_whatever_its_special_tokens(tmp_path, draw):
    pictures = []
    for parts in (None, [0] * 20, ONE_TEXT):
        draw(tmp_path / "a.png", parts)
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]
