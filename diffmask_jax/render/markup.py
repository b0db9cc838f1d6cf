"""The parts of every HTML rendering: a self-contained page, its legend, escaped text."""

from collections.abc import Iterable, Sequence
from html import escape

from diffmask_jax.render.marks import Marks
from diffmask_jax.render.style import level, style_sheet
from diffmask_jax.runtime.messages import visible


def document(title: str, head: str, main: str, style: str = "") -> str:
    """A standalone page: `head` is markup below the title, `style` is added to the style sheet."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{safe(title)}</title>\n"
        f"<style>{style_sheet()}{_PAPER}{style}</style>\n</head>\n"
        f'<body class="dm">\n<header>\n<h1>{safe(title)}</h1>\n{head}</header>\n<main>\n'
        f"{main}</main>\n</body>\n</html>\n"
    )


def legend(name: str, low: str, high: str, explanation: str, marks: Iterable[Marks]) -> str:
    """The colour scale with numbers, between the meanings of its ends; and the meaning of marks.

    marks: those of everything drawn; only marks that occur are explained.
    """
    marks = list(marks)
    answer = "<span><b>bold</b>: the answer</span> " * any(any(m.predicted) for m in marks)
    gold = "<span><u>underlined</u>: a gold answer</span> " * any(any(m.gold) for m in marks)
    return (
        f'<p class="legend"><b>{name}</b> '
        f'<span class="key">{low} <span class="ramp">{_RAMP}</span> {high}</span> '
        f"{answer}{gold}<span>{explanation}</span></p>\n"
    )


def running_text(texts: Sequence[tuple[str, str]]) -> str:
    """One text as a paragraph, or two as a list of their names and words.

    texts: the name of each, empty if there is only one, and its words as markup
    """
    if not texts[0][0]:
        return f'<p class="text" dir=auto>{texts[0][1]}</p>\n'
    pair = (f'<dt>{name}</dt>\n<dd class="text" dir=auto>{words}</dd>\n' for name, words in texts)
    return f'<dl class="pair">\n{"".join(pair)}</dl>\n'


def short(value: float) -> str:
    """Two decimals without superfluous zeros: `0`, `.07`, `.93`, `1`."""
    text = f"{value:.2f}"
    return {"0.00": "0", "1.00": "1"}.get(text, text.removeprefix("0"))


def marked(markup: str, predicted: bool, gold: bool) -> str:
    """A token's markup: bold if it is part of the predicted answer, underlined if of a gold one."""
    markup = f"<u>{markup}</u>" if gold else markup
    return f"<b>{markup}</b>" if predicted else markup


def safe(text: str) -> str:
    """Text from outside, as harmless markup that shows it."""
    return escape(visible(text))


# Not in the style sheet: a fragment must not rotate the paper of the page around it.
_PAPER = "@page{size:landscape;margin:12mm}\n"
_RAMP = "".join(f'<span class="{level(n / 10)}">{short(n / 10)}</span>' for n in range(11))
