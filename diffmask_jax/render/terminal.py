"""A heat map as terminal text: coloured words, or plain numbers without colour.

A pair of texts is drawn as two blocks, each below its name. In colour, a predicted answer is bold
and a gold one underlined.
"""

from collections.abc import Callable, Iterator, Sequence

from diffmask_jax.render.colors import color as color_of
from diffmask_jax.render.colors import text_color
from diffmask_jax.render.heatmap import Heatmap
from diffmask_jax.render.marks import Marks
from diffmask_jax.render.text import display_width, shorten, words
from diffmask_jax.runtime.messages import visible

_NARROWEST = 20  # below this nothing readable fits; longer lines are the lesser evil


def draw(heatmap: Heatmap, *, color: bool, width: int, all_rows: bool = False) -> str:
    """The heat map as lines of at most `width` cells; title, caption and legend are left whole.

    With colour, the text of the top row, each token on its 24-bit background; without, a table
    of tokens and numbers. `all_rows` shows every row, the top one first and the input last, with
    the tokens in columns. Tokens cannot reach the terminal as anything but visible characters.
    """
    width = max(width, _NARROWEST)
    shown = range(len(heatmap.rows))[::-1] if all_rows else [len(heatmap.rows) - 1]
    body: list[str] = []
    for name, text in heatmap.texts:
        body += [""] if body and (all_rows or not color) else []  # as between parts of a table
        body += [f"\x1b[2m{name}\x1b[0m" if color else name] if name else []
        body += _body(text, shown, width, color=color, all_rows=all_rows)
    title, caption = visible(heatmap.title), visible(heatmap.caption)
    heading = [f"\x1b[1m{title}\x1b[0m" if color and title else title, caption]
    legend = _legend(heatmap, color, all_rows)
    return "\n".join([*filter(None, heading), *body, legend]) + "\n"


def _body(
    heatmap: Heatmap, shown: Sequence[int], width: int, *, color: bool, all_rows: bool
) -> Iterator[str]:
    if not color:
        return _number_table(heatmap, shown, width)
    if all_rows:
        return _painted_table(heatmap, shown, width)
    return _painted_text(heatmap, width)


def _painted_text(heatmap: Heatmap, width: int) -> Iterator[str]:
    values = heatmap.values[-1].tolist()
    line, used = "", 0
    for word in words(heatmap.tokens, heatmap.starts):
        pieces = [(at, shorten(visible(piece), width - 2)) for at, piece in word]
        size = sum(display_width(piece) for _, piece in pieces) + 2
        if used and used + size > width:
            yield line
            line, used = "", 0
        for i, (at, piece) in enumerate(pieces):
            # A word has one blank on either side, in the colour of the piece that it touches.
            text = " " * (i == 0) + piece + " " * (i == len(pieces) - 1)
            if used + display_width(text) > width:  # a long word is broken between pieces
                yield line
                line, used = "", 0
            line += _paint(text, values[at], *_attributes(heatmap.marks, at))
            used += display_width(text)
    yield line


def _painted_table(heatmap: Heatmap, shown: Sequence[int], width: int) -> Iterator[str]:
    def cell(row: int, column: int, token: str, size: int) -> str:
        padding = " " * (size - display_width(token) - 1)
        value = heatmap.values[row, column].item()
        return _paint(f" {token}{padding}", value, *_attributes(heatmap.marks, column))

    return _table(heatmap, shown, width, header=False, gap=2, cell=cell)


def _number_table(heatmap: Heatmap, shown: Sequence[int], width: int) -> Iterator[str]:
    def cell(row: int, column: int, token: str, size: int) -> str:
        return f"{heatmap.values[row, column]:.2f}".rjust(size)

    return _table(heatmap, shown, width, header=True, gap=1, cell=cell)


def _table(
    heatmap: Heatmap,
    shown: Sequence[int],
    width: int,
    *,
    header: bool,
    gap: int,
    cell: Callable[[int, int, str, int], str],
) -> Iterator[str]:
    labels = {row: shorten(visible(heatmap.rows[row]), width // 4) for row in shown}
    margin = max(map(display_width, labels.values()))
    tokens = [shorten(visible(token), width - margin - 1 - gap) for token in heatmap.tokens]
    narrowest = len("0.00") if header else 1
    sizes = [max(narrowest, display_width(token)) + gap for token in tokens]
    for number, columns in enumerate(_chunks(sizes, width - margin - 1)):
        if number:
            yield ""
        if header:
            yield " " * (margin + 1) + "".join(_right(tokens[c], sizes[c]) for c in columns)
        for row in shown:
            line = "".join(cell(row, c, tokens[c], sizes[c]) for c in columns)
            yield f"{_right(labels[row], margin)} {line}"


def _chunks(sizes: Sequence[int], width: int) -> Iterator[list[int]]:
    """Runs of neighbouring columns that fit side by side in `width` cells."""
    chunk: list[int] = []
    for column, size in enumerate(sizes):
        if chunk and sum(sizes[c] for c in chunk) + size > width:
            yield chunk
            chunk = []
        chunk.append(column)
    yield chunk


def _legend(heatmap: Heatmap, color: bool, all_rows: bool) -> str:
    ramp = "0 " + "".join(_paint("  ", step / 8) for step in range(9)) + " 1" if color else "0..1"
    rows = [shorten(visible(row), 8) for row in heatmap.rows]
    where = f"layers {rows[0]} (input) to {rows[-1]}" if all_rows else f"layer {rows[-1]}"
    marks = ", bold: the answer" * any(heatmap.marks.predicted)
    marks += ", underlined: a gold answer" * any(heatmap.marks.gold)
    return f"keep probability {ramp}, {where}{marks * color}"


def _attributes(marks: Marks, at: int) -> list[int]:
    """The terminal attributes of a token: 1 is bold, 4 underlined."""
    return [1] * marks.predicted[at] + [4] * marks.gold[at]


def _paint(text: str, value: float, *attributes: int) -> str:
    background = color_of(value)
    foreground = text_color(background)
    codes = (38, 2, *foreground, 48, 2, *background, *attributes)
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m"


def _right(text: str, size: int) -> str:
    return " " * (size - display_width(text)) + text
