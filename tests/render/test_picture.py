"""What every picture promises: any tokens, silently, in whichever kind of file its ending names."""

import sys
import warnings
from xml.etree import ElementTree

import pytest
from pictures import DRAWN, draw_comparison, draw_heatmap

from diffmask_jax.errors import UserError
from diffmask_jax.render.colors import color, hex_color
from diffmask_jax.render.marks import Marks

TOKENS = [
    *("<s>", "$x^2$", "$\\frac{$", "</s>", "</s>", "映画", "##·", "\x1b[31m", "\ud800", "</s>"),
    *("<s>", "$x$", "</s>", "مرحبا", "##ما", "👍", "e\u0301", "x" * 99, "##·", "</s>"),
]
PARTS = [-1, *[0] * 9, *[1] * 9, -1]
ONE_TEXT = [-1, *[0] * 18, -1]
CUTS = [[-1, 1, *[-1] * 18], [1] * 20, [0] * 19 + [1]]


@DRAWN
@pytest.mark.parametrize(
    "parts",
    [None, PARTS, CUTS[0], *(pytest.param(cut, marks=pytest.mark.long) for cut in CUTS[1:])],
)
def test_any_tokens_are_drawn_silently_and_without_pyplot(
    tmp_path, capfd, caplog, monkeypatch, draw, parts
):
    """Formulas, foreign scripts and controls, as one text and as pairs of any cut."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would now fail
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "a.png", TOKENS, ("$\\bad{$", "\x00"), "$\\bad{$ 映画 \x00", parts=parts)
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert (tmp_path / "a.png").stat().st_size > 1000


@DRAWN
def test_one_text_is_what_it_was_whatever_its_special_tokens(tmp_path, draw):
    pictures = []
    for parts in (None, [0] * 20, ONE_TEXT):
        draw(tmp_path / "a.png", TOKENS, parts=parts)
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]


@pytest.mark.parametrize(
    ("draw", "ending"),
    [
        (draw_heatmap, "svg"),
        (draw_heatmap, "pdf"),
        (draw_comparison, "svg"),
        pytest.param(draw_comparison, "pdf", marks=pytest.mark.long),
    ],
)
def test_pictures_of_lines_are_the_same_bytes_twice_and_need_no_font(tmp_path, draw, ending):
    marks = Marks((True, False), (False, True))
    files = [tmp_path / f"{number}.{ending}" for number in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file in files:
            draw(file, ["a", "映画"], value=1.0, marks=marks)
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


@DRAWN
def test_an_unwritable_path_and_another_ending_are_user_errors_and_leave_nothing(tmp_path, draw):
    with pytest.raises(UserError, match=r"missing does not exist"):
        draw(tmp_path / "missing" / "map.png")
    for name in ("map.jpg", "map.gif", "map"):
        with pytest.raises(
            UserError, match=r"map.*: its name must end in \.png, \.svg, \.pdf or \.tex$"
        ):
            draw(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@DRAWN
def test_latex_is_written_as_text(tmp_path, draw):
    draw(tmp_path / "map.tex")
    written = (tmp_path / "map.tex").read_text(encoding="utf-8")
    assert written.startswith("% ")
    assert written.count("\n\\diffmaskpanel") == (0 if draw is draw_heatmap else 4)


def test_without_matplotlib_the_extra_is_named_and_latex_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"run `pip install 'diffmask_jax\[viz\]'`$"):
        draw_heatmap(tmp_path / "map.pdf")
    draw_heatmap(tmp_path / "map.tex")
    assert [file.name for file in tmp_path.iterdir()] == ["map.tex"]
