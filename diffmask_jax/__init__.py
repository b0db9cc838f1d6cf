"""See how a decision forms: DiffMask (De Cao et al., EMNLP 2020) in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.explaining.explanation import Explanation
    from diffmask_jax.training.config import run_config
    from diffmask_jax.training.own_network import fit_probe
    from diffmask_jax.training.train import train

__version__ = "0.1.0"
__all__ = ["Explainer", "Explanation", "__version__", "fit_probe", "run_config", "train"]

# Imported on first use, since each of them imports JAX.
_PLACES = {
    "Explainer": "diffmask_jax.explaining.explainer",
    "Explanation": "diffmask_jax.explaining.explanation",
    "fit_probe": "diffmask_jax.training.own_network",
    "run_config": "diffmask_jax.training.config",
    "train": "diffmask_jax.training.train",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
