"""Subsets per second of the exact search, beside a plain batched enumeration of the same subsets.

The plain one is as fast as it can be without a tree: inputs are projected beforehand, and thousands
of subsets are in one batch of one program. The tree compares all 2^n subsets of one text, at a
margin that only the whole text meets; the plain one is timed on the first 2^15 of them, in batches
of one shape and therefore of equal cost. The weights are random: the cost does not depend on them.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffmask_jax.analysis.gru_erasure import GRU_RECURRENCE
from diffmask_jax.attribution.prefix_search import WIDTHS, search
from diffmask_jax.attribution.recurrence import Texts
from diffmask_jax.game.model import Params
from diffmask_jax.runtime import markdown
from diffmask_jax.runtime.plain_lines import followed
from experiments.common.report import claim, write_report

WIDTH, CLASSES = 384, 5
LENGTHS = (12, 16, 20)
PLAIN = 2**15
MARGIN = 1e-12
LEAST = 8.0


def run(folder: Path, rounds: int) -> None:
    """Time both at every length, interleaved, and write the report."""
    params = _params()
    rows = []
    for length in followed(LENGTHS, "search", "lengths"):
        texts = _texts(params, length)
        agree = _agree(params, texts)
        _tree(params, texts)
        _plain(params, texts, min(PLAIN, 2**length))
        pairs = [
            (_tree(params, texts), _plain(params, texts, min(PLAIN, 2**length)))
            for _ in range(rounds)
        ]
        rows.append({"length": length, "largest_difference": agree, "subsets_per_second": pairs})
    told = (
        f"One text of n tokens, GRU of width {WIDTH}, median of {rounds} rounds. The tree compares "
        f"all 2^n subsets, plain enumeration is timed on {PLAIN:,} of them at most."
    )
    ours = statistics.median(_ratios(rows[-1]))
    claims = [
        claim(
            "erasure.tree_over_plain",
            f"subsets per second at n = {LENGTHS[-1]}, at least {LEAST:g} times plain enumeration",
            [ours],
            paper=None,
            unit="×",
            holds=ours >= LEAST,
        )
    ]
    body = f"{told}\n\n{_table(rows)}"
    title = "Exact search: subsets per second"
    write_report(folder, title, claims, {}, body=body, raw={"rows": rows})
    print(body)


def _ratios(row: dict[str, Any]) -> list[float]:
    """How many times as fast the tree is, round by round."""
    return [tree / plain for tree, plain in row["subsets_per_second"]]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """One row per length, in Markdown: medians over the rounds, and the ratio's extremes."""
    head = ("n", "tree, subsets/s", "plain, subsets/s", "ratio", "largest difference of D (nats)")
    cells = []
    for row in rows:
        tree, plain = map(statistics.median, zip(*row["subsets_per_second"], strict=True))
        ratios = _ratios(row)
        cells.append(
            [
                str(row["length"]),
                f"{tree:,.0f}",
                f"{plain:,.0f}",
                f"{statistics.median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})",
                f"{row['largest_difference']:.1e}",
            ]
        )
    return markdown.table(head, cells)


def _params() -> Params:
    """Random parameters; update gates are nearly closed, so that the first token is remembered."""
    keys = jax.random.split(jax.random.key(0), 2)
    kernel = jax.random.normal(keys[0], (WIDTH, 3 * WIDTH)) / WIDTH**0.5
    bias = jnp.repeat(jnp.array([0.0, 3.0, 0.0]), WIDTH)
    head = jax.random.normal(keys[1], (WIDTH, CLASSES))
    return {
        "gru": {"hidden_kernel": kernel, "hidden_bias": bias},
        "head": {"kernel": head, "bias": jnp.zeros(CLASSES)},
    }


def _texts(params: Params, length: int) -> Texts:
    """A text of random tokens; dropped ones are read as zeros."""
    kept = jax.random.normal(jax.random.key(length), (1, length, 3 * WIDTH))
    h = jnp.zeros((1, WIDTH))
    for t in range(length):
        h = GRU_RECURRENCE.step(params, h, kept[:, t])
    original = h @ params["head"]["kernel"]
    return Texts(jnp.stack([jnp.zeros_like(kept), kept], axis=2), original)


def _tree(params: Params, texts: Texts) -> float:
    """Subsets per second."""
    start = time.perf_counter()
    (found,) = search(GRU_RECURRENCE, params, jnp.zeros(WIDTH), texts, MARGIN)
    seconds = time.perf_counter() - start
    assert found.covered == 2 ** texts.read.shape[1]
    return found.covered / seconds


def _plain(params: Params, texts: Texts, subsets: int) -> float:
    """Subsets per second, over the first so many."""
    numbers = np.arange(subsets, dtype=np.int32).reshape(-1, min(subsets, WIDTHS[-1]))
    start = time.perf_counter()
    jax.block_until_ready([_enumerate(params, texts, batch) for batch in numbers])
    return subsets / (time.perf_counter() - start)


@jax.jit
def _enumerate(params: Params, texts: Texts, numbers: Int[Array, " N"]) -> Float[Array, " N"]:
    """The divergence of each subset; a number's most significant bit is the first token."""
    length = texts.read.shape[1]

    def read(h: Array, t: Array) -> tuple[Array, None]:
        kept = numbers >> (length - 1 - t) & 1
        return GRU_RECURRENCE.step(params, h, texts.read[0, t][kept]), None

    h, _ = jax.lax.scan(read, jnp.zeros((len(numbers), WIDTH)), jnp.arange(length))
    return GRU_RECURRENCE.divergence(
        params, h, jnp.broadcast_to(texts.original, (len(numbers), CLASSES))
    )


def _agree(params: Params, texts: Texts) -> float:
    """The largest difference between the divergences of the optima found at a margin."""
    length = texts.read.shape[1]
    plain = np.asarray(_enumerate(params, texts, jnp.arange(2 ** min(length, 12))))
    margin = float(np.sort(plain[:-1])[3])
    (found,) = search(GRU_RECURRENCE, params, jnp.zeros(WIDTH), texts, margin)
    places = 1 << np.arange(length - 1, -1, -1)
    again = _enumerate(params, texts, jnp.asarray((found.kept * places).sum(-1)))
    return float(np.abs(np.asarray(again) - found.divergence).max())
