"""What may be gated, in words: for settings, help and pictures, without JAX.

`probes` has the same two as functions.
"""

from typing import NamedTuple


class Gate(NamedTuple):
    """One kind of gate.

    name: what the command line and a run's configuration call it
    masks: what its gates drop
    title: of its column beside other methods
    caption: what its keep probabilities are
    """

    name: str
    masks: str
    title: str
    caption: str


INPUT = Gate(
    name="input",
    masks="input tokens",
    title="DiffMask, input",
    caption="probability that the input token is kept, given the layers so far",
)
HIDDEN = Gate(
    name="hidden",
    masks="hidden states",
    title="DiffMask, hidden states",
    caption="probability that this hidden state is kept",
)

GATES = {gate.name: gate for gate in (INPUT, HIDDEN)}
