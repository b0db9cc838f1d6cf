"""The toy experiment's report: the paper's numbers, the claims, Table 1 and the text."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.analysis import ground_truth
from diffmask_jax.runtime import markdown
from experiments.common.report import Claim, claim, with_spread
from experiments.toy.setup import Split

NAMES = {
    "erasure": "Exact erasure",
    "integrated_gradients": "Sundararajan et al. (2017)",
    "schulz": "Schulz et al. (2020)",
    "guan": "Guan et al. (2019)",
    "diffmask": "DiffMask",
}
PAPER = {
    "erasure": (None, 0.27),
    "integrated_gradients": (1.32, 0.27),
    "schulz": (1.12, 0.18),
    "guan": (0.88, 0.24),
    "diffmask": (0.01, 0.00),
}

WHY = {
    "erasure": "searched here, over sets of at least one token; the authors' is written from the "
    "labels",
    "integrated_gradients": "their path starts at zero, and where that lies among the 2-d states "
    "training leaves to chance: the seeds differ by ± {spread:.2f}; see the report for a path from "
    "DiffMask's baseline",
    "schulz": "other counting models than the paper's; these differ by ± {spread:.2f}",
    "guan": "other counting models than the paper's; these differ by ± {spread:.2f}",
    "diffmask": "a seed is unfinished: they differ by ± {spread:.2f}",
}
"""The difference from the paper that may explain why a row of Table 1 does not hold."""


@jax.jit
@jax.vmap
def distances(attribution: Array, data: Split) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean KL and JS of the truth from one seed's attributions, over examples that have a truth."""
    valid = data.inputs.valid
    shares = ground_truth.normalise(attribution, valid)
    truth = ground_truth.normalise(data.truth.astype(jnp.float32), valid)
    asked = jnp.any(data.truth, axis=-1)

    def mean(values: Array) -> Array:
        return jnp.sum(jnp.where(asked, values, 0.0)) / jnp.sum(asked)

    return mean(ground_truth.kl(truth, shares)), mean(ground_truth.js(truth, shares))


def make_claims(
    accuracy: np.ndarray, table: dict[str, np.ndarray], embedding_keep: np.ndarray
) -> list[Claim]:
    """The claims about Table 1; rows of other methods hold if they are close to the paper's."""
    claims = [
        Claim(
            id="toy.accuracy.min",
            says="accuracy of the counting model, the worst seed",
            paper=0.99,
            ours=float(accuracy.min()),
            spread=float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else None,
            runs=len(accuracy),
            unit="",
            holds=bool(accuracy.min() > 0.99),
        )
    ]
    limits = {"kl": 0.02, "js": 0.007}
    for name, values in table.items():
        for measure, ours, paper in zip(("kl", "js"), values, PAPER[name], strict=True):
            if name == "diffmask":
                says, holds = f"at most {limits[measure]}", ours.mean() <= limits[measure]
            elif paper is None:
                says, holds = "infinite: no shared support", not np.isfinite(ours).all()
            else:
                says, holds = "within a quarter of the paper's", abs(ours.mean() / paper - 1) < 0.25
            claims.append(
                claim(
                    f"table1.{name}.{measure}",
                    f"{NAMES[name]}: {says}",
                    ours.tolist(),
                    paper=paper,
                    unit="nats",
                    holds=bool(holds),
                    why=_why(name, ours),
                )
            )
    claims.append(
        claim(
            "fig3.diffmask.embedding.keep",
            "mean keep probability at the embedding, at least 0.95: nothing can be dropped yet",
            embedding_keep.tolist(),
            paper=1.0,
            unit="",
            holds=bool(embedding_keep.mean() >= 0.95),
        )
    )
    return claims


def _why(name: str, values: np.ndarray) -> str:
    """Of one seed it is not known by how much seeds differ."""
    if len(values) == 1:
        return ""
    spread = np.std(values, ddof=1) if np.isfinite(values).all() else np.inf
    return WHY[name].format(spread=spread)


def averaged(seeds: int) -> str:
    """What a cell of Table 1 is, in words."""
    return "one seed" if seeds == 1 else f"mean ± standard deviation of {seeds} seeds"


def table_1(table: dict[str, np.ndarray]) -> str:
    """Table 1 in Markdown: mean ± standard deviation over seeds, beside the paper's numbers."""
    rows = []
    for name, values in table.items():
        cells = [NAMES[name]]
        for ours, paper in zip(values, PAPER[name], strict=True):
            cells.append(with_spread(ours, "{:.3f}") if np.isfinite(ours).all() else "–")
            cells.append("–" if paper is None else f"{paper:.2f}")
        rows.append(cells)
    return markdown.table(("method", "KL ours", "KL paper", "JS ours", "JS paper"), rows)


BASELINE = {
    "mean": "At the embedding the baseline stays at the mean embedding.",
    "learned": "At the embedding the baseline is learned, as in the authors' code.",
}
# The report's text; its numbers are filled in from the run.
BODY = """
Attribution to the hidden state against the truth (uniform over the positions that hold a queried
digit), mean over the validation examples, {averaged}, nats.

{table}

- *Exact erasure* is a real search on the model over all subsets of at least one token, dropped
  tokens zeroed, divergence at most 0.05 nats. Its KL is infinite, as in the paper: a set smaller
  than the truth misses a part of its support.
- *Integrated gradients* depend on where zero, their baseline, lies among the 2-d states, which
  training leaves to chance: with the path started from DiffMask's learned b instead of zero, they
  come to KL {kl:.3f} and JS {js:.3f}.
- {baseline} A learned vector may become the embedding of one digit; that digit is then "dropped"
  at no cost, by being put in its own place, and a tenth of all tokens goes (run
  `python -m experiments.toy --embedding-baseline learned` to see it).

![Figure 3](figure3.png)

![Figure 11](figure11.png)
"""
