"""Coloured words for LaTeX: nothing in them acts, and pdflatex sets what a person wrote."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.render import latex
from diffmask_jax.render.colors import color
from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.marks import Marks
from diffmask_jax.render.pair import QUESTION_NAMES

ASCII = [chr(code) for code in range(0x21, 0x7F)]
WESTERN = ["Caffè", "naïve", "señor", "Ångström", "straße", "Łódź", "Dvořák", "façade", "Øre", "í"]
LIGATURES = ["--", "---", "''", "``", ",,", "?`", "!`", "<<"]
QUOTES = ["“a”", "‘b’", "c–d—e…"]
OTHERS = ["映画", "हिन्दी", "👍", "\x1b[31m", "ế", "\ud800", "\u2028"]
needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("pdftotext") is None,
    reason="no pdflatex here (Debian: texlive-latex-recommended and poppler-utils)",
)


def heatmap(tokens=("[CLS]", "un", "##able", "[SEP]"), rows=("W", "E"), **changes):
    values = np.linspace(0, 1, len(rows) * len(tokens)).reshape(len(rows), -1)
    look = {"title": "100% \\end{document}\n$", "caption": "c", "tokens": tokens, "rows": rows}
    return make_heatmap(**{**look, "values": values, **changes})


def comparison(tokens):
    panels = [
        Panel("Schulz & others_1", "n", ("W", "1"), np.ones((2, len(tokens)))),
        Panel("Guan", "n", ("W", "E", "1"), np.zeros((3, len(tokens)))),
    ]
    return make_comparison(title="t", caption="c", tokens=tokens, panels=panels)


def layers_of(file):
    return re.findall(r"^\\diffmasklayer\{(.*?)\}\{(.*)\}$", file, re.MULTILINE)


def test_a_line_is_a_layer_the_top_one_first_and_its_words_have_their_colours():
    (top, upper), (bottom, _) = layers_of(latex.of_heatmap(heatmap()))
    assert (top, bottom) == ("E", "W")
    shades = re.findall(r"\\diffmasktoken\{(\w+)\}", upper)
    expected = [color(value) for value in np.linspace(0, 1, 8)[4:].tolist()]
    assert shades == ["{:02X}{:02X}{:02X}".format(*rgb) for rgb in expected]
    assert re.sub(r"\{\w{6}\}\{\w+\}|\\diffmasktoken", "", upper) == "{[CLS]} {un}{able} {[SEP]}"


def test_texts_have_their_names_and_answers_their_marks():
    marks = Marks((False, False, True, True), (False, False, True, False))
    file = latex.of_heatmap(
        heatmap(tokens=("who", "?", "me", "x"), parts=(0, 0, 1, 1), names=QUESTION_NAMES,
                marks=marks)
    )  # fmt: skip
    line = layers_of(file)[0][1]
    assert line.index(r"\diffmaskname{question}") < line.index(r"\diffmaskname{passage}")
    assert r"{\underline{\textbf{me}}}" in line and r"{\textbf{x}}" in line


def test_a_comparison_has_a_heading_a_panel_and_the_layers_that_it_has():
    file = latex.of_comparison(comparison(["a", "b"]))
    assert [name for name, _ in layers_of(file)] == ["1", "W", "1", "E", "W"]
    assert r"\diffmaskpanel{(a) Schulz\ \&\ others\_1}" in file


def test_words_begin_where_they_are_said_to_in_a_comparison_too():
    tokens = ("fun", "###", "##ny")
    panel = Panel("P", "n", ("W",), np.ones((1, 3)))
    drawn = make_comparison(
        title="t", caption="c", tokens=tokens, panels=[panel], starts=[True, True, False]
    )
    ((_, line),) = layers_of(latex.of_comparison(drawn))
    assert line.count(r"\#\#\#") == 1 and len(line.split()) == 2  # fun, and ###ny
    with pytest.raises(ValueError, match="2 starts of words for 3 tokens"):
        make_comparison(title="t", caption="c", tokens=tokens, panels=[panel], starts=[True] * 2)


def test_what_pdflatex_has_no_letters_for_is_said_at_the_top():
    file = latex.of_heatmap(heatmap(tokens=["映画", "a"]))
    assert "lacks 2 of the characters, U+6620 among them" in file.split("\\makeatletter")[0]
    assert "lacks" not in latex.of_heatmap(heatmap(tokens=[*ASCII, *WESTERN]))


@given(st.text())
def test_no_character_acts(text):
    """All that is left are letters, braces in pairs, and commands of LaTeX or of the file."""
    shown = latex.escaped(text)
    assert shown.isascii() and "\n" not in shown
    plain = re.sub(r"\\[#$%&_{} ]", "", shown)
    assert not set("#$%&_^") & set(re.sub(r"\\[\^]\{", "{", plain))
    known = "textbackslash textasciitilde textasciicircum textasciigrave textless textgreater"
    known += " textbar ttfamily char diffmaskchar ldots textperiodcentered textbullet S copyright"
    known += " pounds ss ae AE oe OE o O l L i j r u v H c"
    assert set(re.findall(r"\\([a-zA-Z]+)", plain)) <= set(known.split())
    depth = np.cumsum([(one == "{") - (one == "}") for one in plain] or [0])
    assert depth.min() >= 0 and depth[-1] == 0


@needs_pdflatex
def test_pdflatex_compiles_it_alone_and_in_a_paper_and_shows_what_was_written(tmp_path):
    tokens = [*ASCII, *WESTERN, *LIGATURES, *QUOTES, *OTHERS]
    marks = Marks((True,) * len(tokens), (True,) * len(tokens))
    drawn = heatmap(tokens=tokens, rows=("W", "hidden_1"), marks=marks)
    (tmp_path / "alone.tex").write_text(latex.of_heatmap(drawn), encoding="utf-8")
    other = latex.of_comparison(comparison(tokens))
    (tmp_path / "other.tex").write_text(other, encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{xcolor}\\begin{document}\n"
        "Before.\\input{alone}between\\input{other}\nAfter.\\end{document}\n"
    )
    for name in ("alone", "paper"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, timeout=600, env=None, check=False
        )
        log = (tmp_path / f"{name}.log").read_text(encoding="latin-1")
        assert done.returncode == 0 and "Missing character" not in log, log[-3000:]
    text = written(tmp_path / "alone.pdf")
    for token in ["straße", "Øre", "U+6620U+753B", "--", "---", "<<", "?`", *'"#$%&<>\\^`{|}~']:
        assert token in text.split() or token in "^~", token  # these two are accents in its font
    assert "Before." in written(tmp_path / "paper.pdf")
    assert "After." in written(tmp_path / "paper.pdf")


def written(pdf):
    return subprocess.run(
        ["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True
    ).stdout
