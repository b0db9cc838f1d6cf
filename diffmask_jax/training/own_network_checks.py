"""What `fit_probe` refuses before it trains."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CATEGORICAL, Family, Logits
from diffmask_jax.game.gates import GATES
from diffmask_jax.game.model import Model, Params, States
from diffmask_jax.game.objective import Clean
from diffmask_jax.runtime.settings import positive, positive_int

CHECKED = 4  # examples on which the network's two functions are compared
NEAR = 0.02  # what they may differ by, as a share of how much examples do
ROUNDING = 1e-6  # nats, which they always may


def as_number(value: Any, name: str) -> float:
    """A number, or an array that holds one, as a float. Raises: UserError for anything else."""
    if isinstance(value, bool | str) or np.size(value) != 1:
        raise UserError(f"{name} must be a number, not {value!r}")
    try:
        return float(np.asarray(value).item())
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} must be a number, not {value!r}") from error


def check_numbers(
    gate: str, margin: float, steps: int, batch_size: int, hidden: int | None
) -> None:
    """Raises: UserError if the gate is unknown, or a number is out of range."""
    if gate not in GATES:
        raise UserError(f"gate is {gate!r}, not one of {', '.join(GATES)}")
    wrong = {
        f"margin ({margin!r})": positive(margin),
        f"steps ({steps!r})": positive_int(steps),
        f"batch_size ({batch_size!r})": positive_int(batch_size),
        f"hidden ({hidden!r})": None if hidden is None else positive_int(hidden),
    }
    for name, reason in wrong.items():
        if reason:
            raise UserError(f"{name} {reason}")


def check_examples(inputs: Any, batch_size: int, layers: int) -> None:
    """Raises: UserError if these are not examples, or too few for a batch."""
    if not hasattr(inputs, "valid"):
        raise UserError("the inputs need a field `valid`: which positions (N, T) are not padding")
    kind = getattr(inputs.valid, "dtype", None), getattr(inputs.valid, "ndim", None)
    if kind != (bool, 2):
        raise UserError("the inputs' `valid` must be an array of booleans (N, T): array > 0, say")
    for path, leaf in jax.tree_util.tree_leaves_with_path(inputs):
        if not _is_array(leaf) or leaf.shape[:1] != inputs.valid.shape[:1]:
            raise UserError(
                f"the inputs' {_named(path)} must be an array of {len(inputs.valid)} rows, as many "
                f"as `valid` has, not {_told(leaf)}"
            )
    if batch_size < layers:
        raise UserError(
            f"a batch of {batch_size} has no example for each of {layers} layers: use "
            f"batch_size={layers} or more"
        )
    if (count := len(inputs.valid)) < batch_size:
        raise UserError(f"{count} examples do not fill one batch of {batch_size}")


def check_params(params: Params) -> None:
    """Raises: UserError if the network's parameters are not all arrays or numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not (_is_array(leaf) or isinstance(leaf, int | float | complex)):
            raise UserError(
                f"the parameters' {_named(path)} is {_told(leaf)}, not an array: pass only arrays, "
                "and what else the network is made of inside of its functions"
            )


def _is_array(leaf: Any) -> bool:
    if isinstance(leaf, jax.Array):
        return True
    return isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind not in "OSUMm"


def _named(path: Any) -> str:
    """The place of a leaf in its tree: `field.0`, say."""
    return f"`{jax.tree_util.keystr(path, simple=True, separator='.')}`"


def _told(leaf: Any) -> str:
    if not hasattr(leaf, "shape"):
        return f"a {type(leaf).__name__}"
    return f"an array {leaf.shape}" if _is_array(leaf) else f"an array of {leaf.dtype}"


def check_network(model: Model, params: Params, clean: Clean, margin: float) -> None:
    """Raises: UserError if a clean pass has states or logits of the wrong number or shape, or
    `logits_from`, given one of its states, returns other logits."""
    _check_states(clean.states, clean.inputs.valid, model.layers)
    _check_logits(model.family, clean.logits, len(clean.inputs.valid))
    few = jax.tree.map(lambda array: array[:CHECKED], clean)
    _check_resumed(model, params, few, margin)


def _check_states(states: States, valid: Array | np.ndarray, layers: Sequence[str]) -> None:
    if len(states) != len(layers):
        raise UserError(f"the network gives {len(states)} states, but `layers` names {len(layers)}")
    for layer, state in zip(layers, states, strict=True):
        if state.shape[:-1] != valid.shape:
            raise UserError(
                f"state {layer} is {state.shape}: it must be (N, T, width), N and T as of `valid`"
            )


def _check_logits(family: Family, logits: Logits, count: int) -> None:
    """The family must have a divergence for such logits, one for each example."""
    shapes = jax.tree.map(jnp.shape, logits)
    try:
        found = jax.eval_shape(family.divergence, logits, logits).shape
    except (TypeError, ValueError, IndexError, LookupError):
        found = None
    if found != (count,) or (family is CATEGORICAL and shapes[-1] < 2):
        raise UserError(
            f"logits of the shape {shapes} do not fit their family: BERNOULLI has (N,), "
            "CATEGORICAL (N, C) with two classes or more, MULTI_LABEL and gaussian (N, C), and N "
            f"is {count} here"
        )


def _check_resumed(model: Model, params: Params, clean: Clean, margin: float) -> None:
    resume = jax.jit(model.logits_from, static_argnums=3)
    allowed = NEAR * min(margin, _between_examples(model.family, clean.logits) or margin)
    for layer, state in enumerate(clean.states):
        resumed = resume(params, clean.inputs, state, layer)
        if not _are_near(model.family, clean.logits, resumed, max(allowed, ROUNDING)):
            raise UserError(
                f"`logits_from` given state {model.layers[layer]} of the clean pass returns other "
                "logits than the clean pass: it must resume exactly there, with dropout off in both"
            )


def _are_near(family: Family, clean: Logits, resumed: Logits, allowed: float) -> bool:
    """Whether logits diverge by no more nats, or, where some are not finite, the others agree."""
    shapes = [jax.tree.map(jnp.shape, logits) for logits in (clean, resumed)]
    if shapes[0] != shapes[1]:
        return False
    own, apart = (np.asarray(family.divergence(clean, other)) for other in (clean, resumed))
    if np.isfinite(own).all():
        return bool(np.all(apart <= allowed))
    return all(
        np.allclose(a[known := np.isfinite(a)], b[known], rtol=NEAR, atol=NEAR * np.std(a[known]))
        for a, b in zip(
            map(np.asarray, jax.tree.leaves(clean)), jax.tree.leaves(resumed), strict=True
        )
        if np.isfinite(a).any()
    )


def _between_examples(family: Family, logits: Logits) -> float:
    """The largest divergence of an example's output from the next one's, nats; 0 if unknown."""
    shifted = jax.tree.map(lambda array: jnp.roll(array, 1, axis=0), logits)
    apart = np.asarray(family.divergence(logits, shifted))
    return float(apart[np.isfinite(apart)].max(initial=0))


def check_baselines(baselines: Sequence[Any] | Array, widths: Sequence[int]) -> None:
    """Raises: UserError if there is not one vector for each state that needs one."""
    shapes = [jnp.shape(one) for one in baselines]
    if shapes != [(width,) for width in widths]:
        raise UserError(
            f"baselines have the shapes {shapes}: this gate needs {[(width,) for width in widths]}"
        )
