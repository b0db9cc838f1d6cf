r"""A heat map or a comparison as text for a paper: coloured words, for pdflatex.

Each line of the file is a layer, the top one first: delete those that the paper does not show. The
file compiles by itself, and a paper that loads xcolor may \input it.

ASCII and the letters of western languages are written with commands of every LaTeX. For other
characters, xelatex and lualatex use a font that has them; pdflatex prints their number, such as
U+6620, as a comment at the top of the file explains.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from diffmask_jax.render.colors import color, text_color
from diffmask_jax.render.comparison import Comparison, normalise
from diffmask_jax.render.heatmap import Heatmap, make_heatmap
from diffmask_jax.render.text import display_width, words
from diffmask_jax.runtime.messages import visible


def of_heatmap(heatmap: Heatmap) -> str:
    """The file of an explanation."""
    told = rf"\par\noindent{{\footnotesize {escaped(heatmap.caption)}}}\par"
    body = [told, *_layers(heatmap), _scale("keep probability")]
    return _file(heatmap.title, heatmap.caption, body)


def of_comparison(comparison: Comparison) -> str:
    """The file of a comparison: the layers of every panel below its name."""
    body = []
    for number, panel in enumerate(comparison.panels):
        drawn = make_heatmap(
            title=panel.name,
            caption=panel.note,
            tokens=comparison.tokens,
            rows=panel.rows,
            values=normalise(panel.values),
            parts=comparison.parts,
            names=comparison.names,
            marks=comparison.marks,
            starts=comparison.starts,
        )
        body += [rf"\diffmaskpanel{{({chr(ord('a') + number)}) {escaped(panel.name)}}}"]
        body += _layers(drawn)
    body.append(_scale("attribution / largest of the layer"))
    return _file(comparison.title, comparison.caption, body)


def escaped(text: str) -> str:
    """Text escaped for LaTeX: no character is a command, and no two of them form a ligature."""
    # Composed, so that a letter and its accent are one character, for which there is a command.
    return "".join(map(_escaped, unicodedata.normalize("NFC", visible(text))))


def _layers(heatmap: Heatmap) -> Iterator[str]:
    names = [escaped(row) for row in heatmap.rows]
    yield rf"\def\diffmaskmargin{{{1 + 0.6 * max(map(display_width, heatmap.rows)):.1f}em}}"
    for row in reversed(range(len(names))):
        texts = (_name(name) + _painted(text, row) for name, text in heatmap.texts)
        yield rf"\diffmasklayer{{{names[row]}}}{{{' '.join(texts)}}}"


def _name(name: str) -> str:
    return rf"\diffmaskname{{{escaped(name)}}} " if name else ""


def _painted(text: Heatmap, row: int) -> str:
    """A row of one text; there are no blanks between the pieces of a word."""
    values = text.values[row].tolist()
    return " ".join(
        "".join(_token(piece, values[at], *_looks(text, at)) for at, piece in word)
        for word in words(text.tokens, text.starts)
    )


def _looks(text: Heatmap, at: int) -> list[str]:
    bold, under = text.marks.predicted[at], text.marks.gold[at]
    return [r"\textbf"] * bold + [r"\underline"] * under


def _token(token: str, value: float, *looks: str) -> str:
    background = color(value)
    foreground = "white" if sum(text_color(background)) else "black"
    shown = escaped(token)
    for look in looks:
        shown = rf"{look}{{{shown}}}"
    return (
        r"\diffmasktoken{{{:02X}{:02X}{:02X}}}".format(*background) + f"{{{foreground}}}{{{shown}}}"
    )


def _scale(name: str) -> str:
    steps = "".join(_token(f"{step / 4:g}", step / 4) for step in range(5))
    return rf"\diffmaskscale{{{name}}}{{{steps}}}"


def _file(title: str, caption: str, body: Sequence[str]) -> str:
    told = [f"% {visible(line)}\n" for line in (title, caption) if line]
    if numbers := sorted({number for line in body for number in _NUMBER.findall(line)}):
        told.append(
            f"% pdflatex lacks {len(numbers)} of the characters, U+{numbers[0]} among them, and "
            "prints their numbers:\n% use xelatex or lualatex with a font that has them.\n"
        )
    return "".join(told) + _HEAD + "\n".join(body) + _FOOT


def _escaped(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if character.isascii():
        return character
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if letter.isascii() and letter.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        below = _ACCENTS[marks[0]] == "c"
        base = rf"\{letter}" if letter in "ij" and not below else letter  # without its dot
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return rf"\diffmaskchar{{{ord(character):04X}}}"


_NUMBER = re.compile(r"\\diffmaskchar\{(\w+)\}")
_ACCENTS = {  # combining marks, and the commands that set them
    **{"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u"},
    **{"\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"},
}
_COMMANDS = {
    **{character: f"\\{character}" for character in "#$%&_{} "},
    # In braces, since -- and '' and ,, and ?` and !` are ligatures in some fonts.
    **{character: f"{{{character}}}" for character in "-',?!"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}"},
    **{'"': r"{\ttfamily\char34}", "\u00a0": "~"},
    **{"‘": "{`}", "’": "{'}", "“": "{``}", "”": "{''}", "–": "{--}", "—": "{---}"},
    **{"…": r"\ldots{}", "·": r"\textperiodcentered{}", "•": r"\textbullet{}"},
    **{"¡": "{!`}", "¿": "{?`}", "§": r"\S{}", "©": r"\copyright{}", "£": r"\pounds{}"},
    **{"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}"},
    **{"ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}"},
}

_HEAD = r"""\makeatletter
\ifx\documentclass\@twoclasseserror % inside a paper, which loads xcolor
  \let\diffmaskend\relax
\else
  \documentclass{article}
  \usepackage{xcolor}
  \usepackage[margin=2cm]{geometry}
  \pagestyle{empty}
  \begin{document}
  \def\diffmaskend{\end{document}}
\fi
\makeatother
\providecommand\diffmasktoken[3]{{\fboxsep0pt\colorbox[HTML]{#1}{%
  \rule[-.27em]{0pt}{1.05em}\textcolor{#2}{\kern.15em#3\kern.15em}}}}
\providecommand\diffmasklayer[2]{\par\smallskip{\raggedright\hangindent\diffmaskmargin\hangafter1
  \noindent\makebox[\diffmaskmargin][l]{\footnotesize#1}#2\par}}
\providecommand\diffmaskname[1]{{\footnotesize\itshape#1}}
\providecommand\diffmaskpanel[1]{\par\medskip\noindent\textbf{#1}\par\nopagebreak}
\providecommand\diffmaskscale[2]{\par\medskip\noindent{\footnotesize#1 #2}\par}
\providecommand\diffmaskchar[1]{%
  \ifx\Umathchar\undefined{\scriptsize\ttfamily U+#1}\else\char"#1 \fi}
"""
_FOOT = "\n\\diffmaskend\n"
