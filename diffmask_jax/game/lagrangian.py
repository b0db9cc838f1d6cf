"""The game between the two players as one scalar (paper, eq. 3)."""

from jax.lax import stop_gradient
from jaxtyping import Array, Float


def lagrangian(
    sparsity: Float[Array, "*b"], excess: Float[Array, "*b"], multiplier: Float[Array, "*#b"]
) -> Float[Array, "*b"]:
    """L₀ + sg(λ)·(D − m) − λ·sg(D − m).

    Its gradient in the probe is that of L₀ + λ·(D − m), and its gradient in λ is −(D − m): one
    *minimised* scalar in which λ *ascends* the constraint, from one backward pass. The value is
    always L₀, since the two products cancel; watch the divergence and λ instead.

    sparsity: L₀, which the probe minimises; excess: D − m in nats; multiplier: λ ≥ 0, one per
    example or one for all.
    """
    return sparsity + stop_gradient(multiplier) * excess - multiplier * stop_gradient(excess)
