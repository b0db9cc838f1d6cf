"""What the names of layers mean, in words."""

from collections.abc import Sequence

_NAMED = {
    "W": "the word embeddings",
    "E": "what enters the first block: words, positions and segments together",
    "embedding": "the embedded input",
    "hidden": "the hidden state",
}


def meaning(layer: str) -> str:
    """The meaning of a layer's state; empty if its name says it all.

    >>> meaning("3")
    'after block 3'
    """
    return f"after block {layer}" if layer.isdecimal() else _NAMED.get(layer, "")


def explained(layers: tuple[str, ...]) -> str:
    """The meaning of all layers in one line, the blocks together."""
    blocks = [layer for layer in layers if layer.isdecimal()]
    told = [f"{layer}: {meaning(layer)}" for layer in layers if layer in _NAMED]
    if blocks:
        run = blocks[0] if len(blocks) == 1 else f"{blocks[0]} to {blocks[-1]}"
        told.append(f"{run}: after that block of the network")
    return "; ".join(told)


def listed(names: Sequence[str]) -> str:
    """Layers, in words.

    >>> listed(["W"]), listed(["W", "E", "1"])
    ('layer W', 'layers W, E and 1')
    """
    *others, last = names
    return f"layers {', '.join(others)} and {last}" if others else f"layer {last}"


def some_of(names: Sequence[str], count: int) -> str:
    """Some of `count` layers, in words.

    >>> some_of(["W", "E"], 8), some_of(["W", "E"], 2)
    ('layers W and E', 'every layer')
    """
    return "every layer" if len(names) == count > 1 else listed(names)
