"""Exact erasure on a recurrent network: every subset up to the optimum's size, prefixes shared.

A network that reads left to right is in the same state after a prefix whatever comes later, so the
2ⁿ subsets of n tokens are the leaves of a binary tree of 2ⁿ⁺¹ − 1 states; each state costs one
step, not n, and its two children share the product with the recurrent weights. The tree is walked
with a bound on the number of kept tokens that rises until every text has its optimum; whatever
exceeds a bound is never visited. Depth-first over blocks of many states of several texts, so the
memory is bounded whatever n is.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.errors import UserError

WIDTHS = (128, 1024, 4096)  # nodes a block; a smaller one is padded to the next of these
RISE = 2  # by how much the bound rises from one walk of the tree to the next


class Recurrence(NamedTuple):
    """A network that reads left to right.

    step: (h (N, H), what a position is read as (N, F)) -> the next h
    divergence: (h (N, H) after the last token, text of each (N,)) -> (N,) nats from the original
    read: (texts, T, 2, F), what each position is read as when dropped (0) and when kept (1)
    start: (H,), the state before the first token
    """

    step: Callable[[Array, Array], Array]
    divergence: Callable[[Array, Array], Array]
    read: Float[Array, "S T 2 F"]
    start: Float[Array, " H"]


class Optimum(NamedTuple):
    """The optimum of each text.

    kept: the feasible subset of the smallest size; of those the one of the smallest divergence
    size, divergence: its number of tokens, and its nats
    optima: how many subsets of that size are feasible
    covered: how many subsets of at most that size were looked at: all Σ_{k≤size} C(T, k) of them,
        the certificate that no smaller one is feasible and none of the optima is missing
    """

    kept: Bool[np.ndarray, "S T"]
    size: Int[np.ndarray, " S"]
    divergence: Float[np.ndarray, " S"]
    optima: Int[np.ndarray, " S"]
    covered: Int[np.ndarray, " S"]


class _Best(NamedTuple):
    """What is known so far; `looked_at` counts subsets by text and size."""

    bits: np.ndarray
    size: np.ndarray
    divergence: np.ndarray
    optima: np.ndarray
    looked_at: np.ndarray


class _Block(NamedTuple):
    """Nodes of one depth: their states are the `rows` of an array that several blocks share."""

    depth: int
    states: Array
    rows: np.ndarray
    text: np.ndarray
    size: np.ndarray
    bits: np.ndarray

    def take(self, chosen: np.ndarray) -> "_Block":
        """Some of the nodes."""
        parts = (part[chosen] for part in (self.rows, self.text, self.size, self.bits))
        return _Block(self.depth, self.states, *parts)


def search(
    network: Recurrence,
    margin: float,
    longest: int = 25,
    report: Callable[[int], None] = lambda settled: None,
) -> Optimum:
    """Fewest kept tokens with divergence ≤ margin, for texts of one length (paper, eq. 2).

    Keeping every token is feasible by definition. Memory: at most T·2·WIDTHS[-1] states at once
    (315 MB for T = 25 and H = 384). report: told the number of texts settled after each walk.

    Raises: UserError if the margin is not positive or the texts are longer than `longest` tokens.
    """
    texts, length = network.read.shape[:2]
    if not margin > 0:
        raise UserError(f"the margin must be positive, not {margin:g}")
    if length > longest:
        raise UserError(
            f"an exact search over {length} tokens may have to compare 2^{length}, "
            f"{2.0**length:.0e}, subsets: the limit is {longest} tokens"
        )
    best = _Best(
        bits=np.full(texts, (1 << length) - 1, np.int64), size=np.full(texts, length),
        divergence=np.zeros(texts), optima=np.zeros(texts, int),
        looked_at=np.zeros((texts, length + 1), np.int64),
    )  # fmt: skip
    programs = _programs(network)
    done = -1  # every subset of at most so many tokens has been looked at
    while done < length and (unsettled := np.flatnonzero(best.size > done)).size:
        bound = length if done + RISE > length // 2 else done + RISE
        _walk(programs, network, unsettled, (done, bound), margin, best)
        done = bound
        report(int((best.size <= done).sum()))
    covered = [row[: size + 1].sum() for row, size in zip(best.looked_at, best.size, strict=True)]
    places = np.arange(length - 1, -1, -1)
    kept = (best.bits[:, None] >> places & 1).astype(bool)
    return Optimum(kept, best.size, best.divergence, best.optima, np.array(covered))


def _programs(network: Recurrence) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """Both children of each node: their states, or at the last token their divergences."""

    def children(read: Array, depth: Array, states: Array, rows: Array, text: Array) -> Array:
        h, either = states[rows], read[text, depth]
        return jnp.concatenate([network.step(h, either[:, bit]) for bit in (0, 1)])

    def leaves(read: Array, depth: Array, states: Array, rows: Array, text: Array) -> Array:
        last = children(read, depth, states, rows, text)
        return network.divergence(last, jnp.concatenate([text, text]))

    return jax.jit(children), jax.jit(leaves)


def _walk(
    programs: tuple[Callable[..., Array], Callable[..., Array]],
    network: Recurrence,
    texts: np.ndarray,
    sizes: tuple[int, int],
    margin: float,
    best: _Best,
) -> None:
    """Look at every subset of more than done and at most bound tokens, (done, bound) = sizes.

    A feasible subset that is found lowers its text's bound at once.
    """
    done, bound = sizes
    children, leaves = programs
    nothing = np.zeros(len(texts), np.int64)
    root = _Block(0, network.start[None], nothing, texts, nothing, nothing)
    last, stack = network.read.shape[1] - 1, [root]

    def within(text: np.ndarray, size: np.ndarray) -> np.ndarray:
        return size <= np.minimum(bound, best.size[text])

    while stack:
        block = stack.pop()
        block = block.take(within(block.text, block.size))
        for start in range(0, len(block.rows), WIDTHS[-1]):
            part = block.take(np.arange(start, min(start + WIDTHS[-1], len(block.rows))))
            count = len(part.rows)
            width = next(width for width in WIDTHS if width >= count)
            rows, text = (np.pad(x, (0, width - count)) for x in (part.rows, part.text))
            run = leaves if part.depth == last else children
            found = run(network.read, part.depth, part.states, rows, text)
            below = _Block(
                depth=part.depth + 1,
                states=found,
                rows=np.concatenate([np.arange(count), width + np.arange(count)]),
                text=np.concatenate([part.text, part.text]),
                size=np.concatenate([part.size, part.size + 1]),
                bits=np.concatenate([part.bits << 1, part.bits << 1 | 1]),
            )
            if part.depth == last:
                fresh = below.take(within(below.text, below.size) & (below.size > done))
                _compare(fresh, np.asarray(found)[fresh.rows], margin, best)
            else:
                stack.append(below)


def _compare(leaves: _Block, divergence: np.ndarray, margin: float, best: _Best) -> None:
    """Enter the subsets looked at, and those that are feasible."""
    np.add.at(best.looked_at, (leaves.text, leaves.size), 1)
    length = best.looked_at.shape[1] - 1
    feasible = np.flatnonzero((divergence <= margin) | (leaves.size == length))
    for text in np.unique(leaves.text[feasible]):
        mine = feasible[leaves.text[feasible] == text]
        size = leaves.size[mine].min()
        if size > best.size[text]:
            continue
        smallest = mine[leaves.size[mine] == size]
        closest = smallest[divergence[smallest].argmin()]
        better = size < best.size[text] or best.optima[text] == 0
        if better:
            best.optima[text] = 0
        if better or divergence[closest] < best.divergence[text]:
            best.size[text], best.bits[text] = size, leaves.bits[closest]
            best.divergence[text] = divergence[closest]
        best.optima[text] += len(smallest)
