"""The model's answers from what is kept at every layer, as a small SVG curve in the theme's ink.

Above, the probability of the whole text's decision, one dot per layer, hollow if the decision
changes, beside a dashed line for the whole text. Below, bars of the divergence.
"""

from collections.abc import Iterator, Sequence

from diffmask_jax.render.markup import safe
from diffmask_jax.render.replay import Replay

_SIDE = 34  # left and right of the first and the last layer, in pixels
_TOP, _HIGH = 20, 56  # of the upper strip; height of the probability's
_GAP, _LOW = 28, 28  # between the strips; height of the divergence's
_NAMED = 9  # a strip's name above it
_LABELS = 20  # below the strips, for the layers' names
_LETTER = 7  # a layer's name, in pixels a character
_SMALLEST_SCALE = 0.1  # nats: bars of tiny divergences stay low


def curve(rows: Sequence[str], replay: Replay) -> str:
    """The curve; each layer is a group whose title is its answer in words."""
    step, width = _step(rows), _width(rows)
    high = _HIGH + _GAP if replay.probability else 0
    base = _TOP + high + _LOW
    drawn = "".join(_drawn(rows, replay, step, width, base))
    told = "; ".join(told_at(rows, replay, row) for row in range(len(rows)))
    return (
        f'<svg viewBox="0 0 {width} {base + _LABELS}" width={width} role=img '
        f'aria-label="{safe(told)}">{drawn}</svg>'
    )


def told_at(rows: Sequence[str], replay: Replay, row: int) -> str:
    """The model's answer at a row, in one line."""
    return f"Layer {rows[row]}, with {replay.left(row)} kept: {replay.line(row)}"


def side_share(rows: Sequence[str]) -> float:
    """The distance of the first layer from the left edge, as a share of the curve's width."""
    return _SIDE / _width(rows)


def _step(rows: Sequence[str]) -> int:
    """Pixels from layer to layer, such that their names do not touch."""
    return max(22, min(46, 300 // max(len(rows) - 1, 1)), _LETTER * max(map(len, rows)))


def _width(rows: Sequence[str]) -> int:
    return 2 * _SIDE + _step(rows) * (len(rows) - 1)


def _drawn(rows: Sequence[str], replay: Replay, step: int, width: int, base: int) -> Iterator[str]:
    places = [_SIDE + step * row for row in range(len(rows))]
    scale = max(_SMALLEST_SCALE, *replay.divergence)
    bars = [round(_LOW * divergence / scale, 1) for divergence in replay.divergence]
    left = _SIDE - 14
    yield f'<path class=rule d="M{left} {base}H{width - left}"/>'
    yield f"<text x={left - 4} y={base - _LOW + 4} class=y>{scale:.2f}</text>"
    yield f"<text x={left - 4} y={base + 3} class=y>0</text>"
    yield f"<text x={left} y={base - _LOW - _NAMED} class=name>KL, nats</text>"
    heights: list[float] = []
    if replay.probability is not None and replay.whole_probability is not None:
        heights = [_height(p) for p in replay.probability]
        line = " ".join(f"{x},{y}" for x, y in zip(places, heights, strict=True))
        yield f'<path class=rule d="M{left} {_TOP}H{width - left}M{left} {_height(0.0)}'
        yield f'H{width - left}"/><path class=whole d="M{left} '
        yield f'{_height(replay.whole_probability)}H{width - left}"/>'
        yield f"<text x={left} y={_TOP - _NAMED} class=name>probability of the answer</text>"
        yield f"<text x={left - 4} y={_TOP + 4} class=y>1</text>"
        yield f"<text x={left - 4} y={_height(0.0) + 4} class=y>0</text>"
        yield f'<polyline points="{line}"/>'
    for row, x in enumerate(places):
        at = "at on" if row == len(rows) - 1 else "at"
        yield f'<g class="{at}"><title>{safe(told_at(rows, replay, row))}</title>'
        yield f"<rect class=here x={x - step // 2} y=0 width={step} height={base + _LABELS} rx=4 />"
        yield f"<rect class=bar x={x - 5} y={base - bars[row]} width=10 height={bars[row]} />"
        if heights:
            look = "dot turned" if replay.turned[row] else "dot"
            yield f'<circle class="{look}" cx={x} cy={heights[row]} r=4 />'
        yield f"<text x={x} y={base + _LABELS - 4}>{safe(rows[row])}</text></g>"


def _height(probability: float) -> float:
    return round(_TOP + _HIGH * (1 - probability), 1)
