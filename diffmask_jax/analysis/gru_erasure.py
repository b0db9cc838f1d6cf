"""Exact erasure on the GRU classifier (paper, section 3.2 and Table 2)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffmask_jax.attribution.prefix_search import Optima, search
from diffmask_jax.attribution.recurrence import Recurrence, Texts
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import categorical_divergence
from diffmask_jax.game.model import Params
from diffmask_jax.models.gru import gru_step


def _step(params: Params, h: Float[Array, "N H"], x: Float[Array, "N 3*H"]) -> Float[Array, "N H"]:
    return gru_step(h, x, params["gru"]["hidden_kernel"], params["gru"]["hidden_bias"])


def _logits(params: Params, h: Float[Array, "N H"]) -> Float[Array, "N C"]:
    return h @ params["head"]["kernel"] + params["head"]["bias"]


def _divergence(
    params: Params, h: Float[Array, "N H"], original: Float[Array, "N C"]
) -> Float[Array, " N"]:
    return categorical_divergence(original, _logits(params, h))


GRU_RECURRENCE = Recurrence(_step, _divergence)


def exact_search(
    params: Params,
    tokens: Int[np.ndarray, "S T"],
    baseline: Float[Array | np.ndarray, "..."],
    margin: float,
) -> list[Optima]:
    """All optima of S texts of T word pieces, [CLS] and [SEP] included, in the order of the texts.

    An optimum is a smallest set of word pieces such that D_KL[original ‖ masked] ≤ margin nats when
    the baseline replaces the embeddings of all others.

    Raises: UserError as `prefix_search.search` does, or if the baseline does not fit the model.
    """
    check_baseline(params, baseline)
    texts = _read(params, jnp.asarray(tokens), jnp.asarray(baseline))
    return search(GRU_RECURRENCE, params, jnp.zeros(_width(params)), texts, margin)


def check_baseline(params: Params, baseline: Float[Array | np.ndarray, "..."]) -> None:
    """Raises: UserError if the baseline is not one vector of the embeddings' width."""
    if baseline.shape != (_width(params),) or not np.isfinite(baseline).all():
        raise UserError(
            f"the baseline must be {_width(params)} finite numbers, the width of the model's word "
            f"embeddings; it has shape {baseline.shape}"
        )


@jax.jit
def _read(params: Params, tokens: Int[Array, "S T"], baseline: Float[Array, " D"]) -> Texts:
    """The features of every word piece, dropped and kept, and the original logits.

    The logits are computed by the search's own steps, and so rounded as in the search.
    """
    words = params["word"]["embedding"][tokens]
    gates = params["gru"]
    project = lambda x: x @ gates["input_kernel"] + gates["input_bias"]  # noqa: E731
    kept = project(words)
    dropped = jnp.broadcast_to(project(baseline), kept.shape)
    h = jnp.zeros((len(tokens), words.shape[-1]))
    h, _ = jax.lax.scan(lambda h, x: (_step(params, h, x), None), h, jnp.moveaxis(kept, 1, 0))
    return Texts(jnp.stack([dropped, kept], axis=2), _logits(params, h))


def _width(params: Params) -> int:
    return int(params["word"]["embedding"].shape[-1])
