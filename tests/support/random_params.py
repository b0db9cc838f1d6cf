"""Parameters of a network that no program draws: modules make them while tests are collected."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffmask_jax.models.architecture import Architecture, param_shapes


def random_params(architecture: Architecture, config: Any, seed: int, deviation: float) -> Any:
    """Around 1 for scales and 0 for all else, so far that every bias and scale shows."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        is_scale = jax.tree_util.keystr(path, simple=True, separator="/").endswith("scale")
        return jnp.asarray(rng.normal(float(is_scale), deviation, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, param_shapes(architecture, config))
