"""The kinds of gate, in words, for settings, help and pictures. Free of JAX.

`probes` holds the functions of the same two.
"""

from typing import NamedTuple


class Gate(NamedTuple):
    """One kind of gate.

    name: its name on the command line and in a run's configuration
    masks: what its gates drop
    title: the title of its column beside other methods
    caption: what its keep probabilities mean
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
