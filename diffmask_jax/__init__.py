"""See how a decision forms: DiffMask (De Cao et al., EMNLP 2020) in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffmask_jax.explaining.explainer import Explainer

__version__ = "0.1.0"
__all__ = ["Explainer", "__version__"]


def __getattr__(name: str) -> Any:
    # Only who asks for the explainer pays for importing JAX.
    if name == "Explainer":
        from diffmask_jax.explaining.explainer import Explainer

        return Explainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
