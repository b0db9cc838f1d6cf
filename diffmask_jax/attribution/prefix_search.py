"""Exact erasure on a recurrent network: every subset up to the optimum's size, prefixes shared.

A network that reads left to right is in the same state after a prefix whatever comes later, so the
2ⁿ subsets of n tokens are the leaves of a binary tree of 2ⁿ⁺¹ − 1 states; each state costs one
step, not n, and its two children share the product with the recurrent weights. The tree is walked
with a bound on the number of kept tokens that rises until every text has its optimum; whatever
exceeds the bound, or a feasible set already known, is never visited. Depth-first over blocks of
many states of several texts, so the memory is bounded whatever n is.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.errors import UserError

LONGEST = 25
WIDTHS = (128, 1024, 4096)  # nodes a block; a smaller one is padded to the next of these
RISE = 2  # by how much the bound rises from one walk of the tree to the next
GROUP = 16  # texts are padded to a multiple, for every number of texts compiles programs of its own


class Recurrence(NamedTuple):
    """A network that reads left to right, as two pure functions.

    step: (params, h (N, H), what a token is read as (N, F)) -> the next h
    divergence: (params, h (N, H) after the last token, original outputs (N, C)) -> (N,) nats
    """

    step: Callable[[Any, Array, Array], Array]
    divergence: Callable[[Any, Array, Array], Array]


class Texts(NamedTuple):
    """S texts of T tokens as a recurrent network sees them.

    read: what each token is read as when it is dropped (0) and when it is kept (1)
    original: the network's output for the whole text
    """

    read: Float[Array, "S T 2 F"]
    original: Float[Array, "S C"]


class Optima(NamedTuple):
    """All optima of one text: its feasible subsets of the smallest size, K of them.

    kept: the subsets, by rising divergence; the first is the one that stays closest
    divergence: nats of each
    covered: how many subsets of at most that size were looked at: all Σ_{k≤size} C(T, k) of them,
        the certificate that no smaller one is feasible and that none of the optima is missing
    """

    kept: Bool[np.ndarray, "K T"]
    divergence: Float[np.ndarray, " K"]
    covered: int

    @property
    def size(self) -> int:
        """How many tokens an optimum keeps."""
        return int(self.kept[0].sum())


class _Best(NamedTuple):
    """What is known so far of each text.

    size: the smallest that is known to be feasible; `found` are subsets of that size, as arrays
        of bits and of divergences
    looked_at: counts subsets by text and size
    """

    size: np.ndarray
    found: list[list[tuple[np.ndarray, np.ndarray]]]
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
    params: Any,
    start: Float[Array, " H"],
    texts: Texts,
    margin: float,
    longest: int = LONGEST,
) -> list[Optima]:
    """Fewest kept tokens with divergence ≤ margin, for each text (paper, eq. 2).

    Keeping every token is feasible by definition. start: the network's state before it reads.
    Memory: at most T·2·WIDTHS[-1] states at once (315 MB for T = 25 and H = 384).

    Raises: UserError if the margin is not positive or the texts are longer than `longest` tokens.
    """
    number, length = texts.read.shape[:2]
    check_margin(margin)
    check_length(length, longest)
    spare = -number % GROUP
    texts = jax.tree.map(lambda x: jnp.pad(x, [(0, spare)] + [(0, 0)] * (x.ndim - 1)), texts)
    enough = _enough(network, params, start, texts, 0.999 * margin)  # the rest is for rounding
    best = _Best(
        size=np.array(enough[:number]),
        found=[[] for _ in range(number)],
        looked_at=np.zeros((number, length + 1), np.int64),
    )
    done = -1  # every subset of at most so many tokens has been looked at
    while done < length and (unsettled := np.flatnonzero(best.size > done)).size:
        # Low walks cost little beside the next; from a third of the length on one walk is cheaper.
        bound = length if done + RISE > length // 3 else done + RISE
        nothing = np.zeros(len(unsettled), np.int64)
        root = _Block(0, start[None], nothing, unsettled, nothing, nothing)
        _walk(network, params, texts, root, (done, bound), margin, best)
        done = bound
    return [
        _optima(length, parts, looked_at[: size + 1])
        for size, parts, looked_at in zip(*best, strict=True)
    ]


def check_margin(margin: float) -> None:
    """Raises: UserError if the margin is not positive."""
    if not margin > 0:
        raise UserError(f"the margin must be positive, not {margin:g}")


def check_length(length: int, longest: int = LONGEST) -> None:
    """Raises: UserError, with the cost, if a search would be over more than `longest` tokens."""
    if length > longest:
        raise UserError(
            f"an exact search over {length} tokens may have to compare 2^{length}, "
            f"{2.0**length:.0e}, subsets: the limit is {longest} tokens"
        )


def _optima(
    length: int, found: list[tuple[np.ndarray, np.ndarray]], looked_at: np.ndarray
) -> Optima:
    """One text's result; the most significant of `length` bits is the first token."""
    bits, divergence = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((bits, divergence))
    places = np.arange(length - 1, -1, -1)
    kept = (bits[order, None] >> places & 1).astype(bool)
    return Optima(kept, divergence[order], int(looked_at.sum()))


@functools.partial(jax.jit, static_argnums=0)
def _enough(
    network: Recurrence, params: Any, start: Array, texts: Texts, margin: Array | float
) -> Int[Array, " S"]:
    """A feasible size of each text: tokens are dropped one by one, always the one missed least."""
    number, length = texts.read.shape[:2]

    def divergences(sets: Bool[Array, "S T T"]) -> Float[Array, "S T"]:
        """Of T sets a text."""

        def read(h: Array, t: Array) -> tuple[Array, None]:
            dropped, kept = texts.read[:, None, t, 0], texts.read[:, None, t, 1]
            x = jnp.where(sets[:, :, t, None], kept, dropped)
            return network.step(params, h, jnp.reshape(x, (number * length, -1))), None

        h = jnp.broadcast_to(start, (number * length, *start.shape))
        h, _ = jax.lax.scan(read, h, jnp.arange(length))
        original = jnp.repeat(texts.original, length, axis=0)
        return jnp.reshape(network.divergence(params, h, original), (number, length))

    def drop(carry: tuple[Array, Array], size: Array) -> tuple[tuple[Array, Array], None]:
        kept, enough = carry
        found = divergences(kept[:, None] & ~jnp.eye(length, dtype=bool))
        found = jnp.where(kept, found, jnp.inf)
        kept &= ~jax.nn.one_hot(jnp.argmin(found, axis=-1), length, dtype=bool)
        return (kept, jnp.where(jnp.min(found, axis=-1) <= margin, size, enough)), None

    everything = jnp.ones((number, length), bool), jnp.full(number, length)
    (_, enough), _ = jax.lax.scan(drop, everything, jnp.arange(length - 1, -1, -1))
    return enough


@functools.partial(jax.jit, static_argnums=0)
def _children(
    network: Recurrence, params: Any, read: Array, states: Array, rows: Array, text: Array
) -> Array:
    """The states of both children of each node; read: (S, 2, F), the next token of each text."""
    h, either = states[rows], read[text]
    return jnp.concatenate([network.step(params, h, either[:, bit]) for bit in (0, 1)])


@functools.partial(jax.jit, static_argnums=0)
def _leaves(
    network: Recurrence, params: Any, original: Array, read: Array, states: Array, rows: Array,
    text: Array,
) -> Array:  # fmt: skip
    """The divergences of both children of each node, which are leaves."""
    last = _children(network, params, read, states, rows, text)
    return network.divergence(params, last, original[jnp.concatenate([text, text])])


def _walk(
    network: Recurrence,
    params: Any,
    texts: Texts,
    root: _Block,
    sizes: tuple[int, int],
    margin: float,
    best: _Best,
) -> None:
    """Look at every subset of more than done and at most bound tokens, (done, bound) = sizes.

    A feasible subset that is found lowers its text's bound at once.
    """
    done, bound = sizes
    last, stack = texts.read.shape[1] - 1, [root]

    def within(text: np.ndarray, size: np.ndarray) -> np.ndarray:
        return size <= np.minimum(bound, best.size[text])

    while stack:
        block = stack.pop()
        block = block.take(within(block.text, block.size))
        read = texts.read[:, block.depth]
        for start in range(0, len(block.rows), WIDTHS[-1]):
            part = block.take(np.arange(start, min(start + WIDTHS[-1], len(block.rows))))
            count = len(part.rows)
            width = next(width for width in WIDTHS if width >= count)
            rows, text = (np.pad(x, (0, width - count)) for x in (part.rows, part.text))
            if part.depth < last:
                found = _children(network, params, read, part.states, rows, text)
            else:
                found = _leaves(network, params, texts.original, read, part.states, rows, text)
            below = _Block(
                depth=part.depth + 1,
                states=found,
                rows=np.concatenate([np.arange(count), width + np.arange(count)]),
                text=np.concatenate([part.text, part.text]),
                size=np.concatenate([part.size, part.size + 1]),
                bits=np.concatenate([part.bits << 1, part.bits << 1 | 1]),
            )
            if part.depth < last:
                stack.append(below)
            else:
                fresh = below.take(within(below.text, below.size) & (below.size > done))
                _compare(fresh, np.asarray(found)[fresh.rows], margin, best)


def _compare(leaves: _Block, divergence: np.ndarray, margin: float, best: _Best) -> None:
    """Enter the subsets looked at, and those that are feasible."""
    np.add.at(best.looked_at, (leaves.text, leaves.size), 1)
    length = best.looked_at.shape[1] - 1
    feasible = np.flatnonzero((divergence <= margin) | (leaves.size == length))
    for text in np.unique(leaves.text[feasible]):
        mine = feasible[leaves.text[feasible] == text]
        size = leaves.size[mine].min()
        if size < best.size[text]:
            best.size[text] = size
            best.found[text].clear()
        if size == best.size[text]:
            smallest = mine[leaves.size[mine] == size]
            best.found[text].append((leaves.bits[smallest], divergence[smallest]))
