"""Exact erasure on a recurrent network: every subset up to the optimum's size, prefixes shared.

The state of a network that reads left to right depends on the prefix alone, so the 2ⁿ subsets of n
tokens are the leaves of a binary tree of 2ⁿ⁺¹ − 1 states; each state costs one step, not n, and its
two children share the product with the recurrent weights. The tree is walked with a bound on the
number of kept tokens that rises until every text has its optimum; sets larger than the bound, or
than a feasible set already known, are never visited. The walk is depth-first over blocks of many
states of several texts, so that memory is bounded whatever n is.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffmask_jax.attribution.recurrence import Recurrence, Texts, enough_tokens
from diffmask_jax.errors import UserError

LONGEST = 25
PACE = 170_000  # subsets per second at n = 20 and H = 384, by `experiments.throughput erasure`
WIDTHS = (128, 1024, 4096)  # nodes per block; a smaller block is padded to the next of these
RISE = 2  # by how much the bound rises from one walk of the tree to the next
GROUP = 16  # the number of texts is padded to a multiple, since programs are compiled for each


class Optima(NamedTuple):
    """All optima of one text: its K feasible subsets of the smallest size.

    kept: the subsets, by rising divergence
    divergence: the divergence of each, in nats
    covered: how many subsets of at most that size were examined: all Σ_{k≤size} C(T, k) of them,
        the certificate that no smaller one is feasible and that none of the optima is missing
    """

    kept: Bool[np.ndarray, "K T"]
    divergence: Float[np.ndarray, " K"]
    covered: int

    @property
    def size(self) -> int:
        """The number of tokens that an optimum keeps."""
        return int(self.kept[0].sum())


class _Best(NamedTuple):
    """What is known of each text so far.

    size: the smallest size known to be feasible
    found: the feasible subsets of that size, as arrays of bits and of divergences
    looked_at: the number of subsets examined, by text and size
    """

    size: Int[np.ndarray, " S"]
    found: list[list[tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]]]
    looked_at: Int[np.ndarray, "S T+1"]


class _Block(NamedTuple):
    """Nodes of one depth; their states are the given `rows` of an array that blocks share."""

    depth: int
    states: Float[Array, "M H"]
    rows: Int[np.ndarray, " N"]
    text: Int[np.ndarray, " N"]
    size: Int[np.ndarray, " N"]
    bits: Int[np.ndarray, " N"]

    def take(self, chosen: Bool[np.ndarray, " N"] | Int[np.ndarray, " K"]) -> "_Block":
        """Some of the nodes."""
        parts = (part[chosen] for part in (self.rows, self.text, self.size, self.bits))
        return _Block(self.depth, self.states, *parts)


def search(
    network: Recurrence,
    params: Any,
    start: Float[Array, " H"],
    texts: Texts,
    margin: float,
) -> list[Optima]:
    """The fewest kept tokens with divergence ≤ margin, for each text (paper, eq. 2).

    Keeping every token is feasible by definition. start: the network's state before the first
    token. Memory, for up to WIDTHS[-1] texts: at most T·2·WIDTHS[-1] states at once (315 MB for
    T = 25 and H = 384), besides the optima themselves.

    Raises: UserError if the margin is not positive or the texts are longer than LONGEST tokens.
    """
    number, length = texts.read.shape[:2]
    check_margin(margin)
    check_length(length)
    spare = -number % GROUP
    texts = jax.tree.map(lambda x: jnp.pad(x, [(0, spare)] + [(0, 0)] * (x.ndim - 1)), texts)
    enough = enough_tokens(network, params, start, texts, margin)
    best = _Best(
        size=np.array(enough[:number]),
        found=[[] for _ in range(number)],
        looked_at=np.zeros((number, length + 1), np.int64),
    )
    _settle(network, params, texts, start, margin, best, np.arange(number))
    if (missed := np.flatnonzero([not found for found in best.found])).size:
        # The set that elimination found is so near the margin that the tree's sums, taken in
        # another order, round to the other side of it.
        best.size[missed], best.looked_at[missed] = length, 0
        _settle(network, params, texts, start, margin, best, missed)
    return [
        _optima(length, parts, looked_at[: size + 1])
        for size, parts, looked_at in zip(*best, strict=True)
    ]


def _settle(
    network: Recurrence,
    params: Any,
    texts: Texts,
    start: Float[Array, " H"],
    margin: float,
    best: _Best,
    wanted: Int[np.ndarray, " N"],
) -> None:
    """Walk the tree with a rising bound until at least one text has all its optima."""
    length = texts.read.shape[1]
    done = -1  # every subset of at most this many tokens has been examined
    while done < length and (unsettled := wanted[best.size[wanted] > done]).size:
        # A low walk costs little beside the next; from a third of the length on, one is cheaper.
        bound = length if done + RISE > length // 3 else done + RISE
        nothing = np.zeros(len(unsettled), np.int64)
        root = _Block(0, start[None], nothing, unsettled, nothing, nothing)
        _walk(network, params, texts, root, (done, bound), margin, best)
        done = bound


def check_margin(margin: float) -> None:
    """Raises: UserError if the margin is not positive."""
    if not margin > 0:
        raise UserError(f"the margin must be positive, not {margin:g}")


def check_length(length: int) -> None:
    """Raises: UserError, which states the cost, if a text has more than LONGEST tokens."""
    if length > LONGEST:
        raise UserError(
            f"an exact search over {length} tokens may have to compare 2^{length} subsets, "
            f"{2.0**length / PACE / 60:.0f} minutes of two CPU cores: the limit is {LONGEST} tokens"
        )


def _optima(
    length: int, found: list[tuple[np.ndarray, np.ndarray]], looked_at: np.ndarray
) -> Optima:
    """One text's result; the most significant of `length` bits is the first token."""
    bits, divergence = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((bits, divergence))
    kept = np.empty((len(bits), length), bool)
    for token in range(length):
        kept[:, token] = bits[order] >> (length - 1 - token) & 1
    return Optima(kept, divergence[order], int(looked_at.sum()))


@functools.partial(jax.jit, static_argnums=0)
def _children(
    network: Recurrence,
    params: Any,
    read: Float[Array, "S 2 F"],
    states: Float[Array, "M H"],
    rows: Int[Array, " N"],
    text: Int[Array, " N"],
) -> Float[Array, "2*N H"]:
    """The states of both children of each node. read: the next token of each text."""
    h, either = states[rows], read[text]
    return jnp.concatenate([network.step(params, h, either[:, bit]) for bit in (0, 1)])


@functools.partial(jax.jit, static_argnums=0)
def _leaves(
    network: Recurrence,
    params: Any,
    original: Float[Array, "S C"],
    read: Float[Array, "S 2 F"],
    states: Float[Array, "M H"],
    rows: Int[Array, " N"],
    text: Int[Array, " N"],
) -> Float[Array, " 2*N"]:
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
    """Examine every subset of more than `done` and at most `bound` tokens, (done, bound) = sizes.

    Every feasible subset found lowers the bound of its text at once.
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
    """Record the subsets examined, and the feasible ones."""
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
