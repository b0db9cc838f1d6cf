"""Every supported network against PyTorch transformers: all states, logits, resumed passes.

    python -m experiments.parity [--model FOLDER …] [--out reports/parity]

Tiny random checkpoints of every kind, made by PyTorch, are compared on a padded batch, and the
given ones on a few texts and pairs, tokenised by each framework itself. Cost: two minutes on two
CPU cores. Needs PyTorch.
"""

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffmask_jax.models.loading import ARCHITECTURES
from diffmask_jax.runtime import markdown
from diffmask_jax.runtime.files import make_folder
from experiments.common.command import command, need_torch, parser_of
from experiments.common.report import Claim, Timer, claim, print_claims, write_report

if TYPE_CHECKING:
    from experiments.parity.differences import Differences

LIMIT = 1e-4
OTHERS = ("logits", "resumed", "traced")


def run(models: Sequence[str], folder: Path) -> list[Claim]:
    """Make all comparisons, write the report and return its claims.

    Raises: UserError if a model cannot be read.
    """
    from experiments.parity import twins
    from experiments.parity.differences import differences

    timer = Timer()
    tiny: dict[str, Differences] = {}
    real: dict[str, Differences] = {}
    for model in models:  # first, since what a person typed may be wrong
        name = _name(model, {*ARCHITECTURES, *real})
        with timer.part(name):
            real[name] = differences(twins.real(model))
    for model_type in ARCHITECTURES:
        if model_type in twins.OWN:
            with timer.part(model_type), tempfile.TemporaryDirectory() as place:
                tiny[model_type] = differences(twins.tiny(model_type, Path(place)))
    alone = [model_type for model_type in ARCHITECTURES if model_type not in twins.OWN]
    rows = tiny | real
    claims = [make_claim(name, row) for name, row in rows.items()]
    body = describe(tiny, real, alone)
    raw = {
        "differences": {name: row._asdict() for name, row in rows.items()},
        "without_twin": alone,
    }
    title = "Parity with PyTorch transformers"
    write_report(folder, title, claims, timer.seconds, body=body, raw=raw)
    print(body)
    print_claims(claims)
    print(f"report in {folder}/report.md")
    return claims


def _name(path: str, taken: Collection[str]) -> str:
    """A folder's own name, or its whole path if that name is taken."""
    name = Path(path).name
    return path if name in taken else name


def make_claim(name: str, row: "Differences") -> Claim:
    """The claim about one network."""
    says = f"largest difference of a state or a logit, passes resumed too, at most {LIMIT:g}"
    largest = row.largest
    return claim(f"parity.{name}", says, [largest], paper=None, unit="", holds=largest <= LIMIT)


def describe(
    tiny: dict[str, "Differences"], real: dict[str, "Differences"], alone: Sequence[str]
) -> str:
    """The report before its claims."""
    parts = [
        "Largest absolute differences in float32, at valid positions. W: the word embeddings; E: "
        "what enters the first block; 1, 2, …: the outputs of the blocks. Resumed, traced: the "
        "logits of passes resumed from each of PyTorch's states, the layer an int or traced.",
        "### Tiny random checkpoints, a padded batch",
        table(tiny),
    ]
    if alone:
        parts.append(f"Without a twin in transformers: {', '.join(alone)}.")
    if real:
        parts += ["### Checkpoints, texts and pairs by both tokenizers", table(real)]
    return "\n\n".join(parts)


def table(rows: dict[str, "Differences"]) -> str:
    """One row per network, one column per state; empty for states that it lacks."""
    layers = max((list(row.states) for row in rows.values()), key=len)
    cells = [
        [
            name,
            *(f"{row.states[layer]:.0e}" if layer in row.states else "" for layer in layers),
            *(f"{getattr(row, other):.0e}" for other in OTHERS),
        ]
        for name, row in rows.items()
    ]
    return markdown.table(("", *layers, *OTHERS), cells)


@command("parity", goes_on=False)
def main() -> None:
    """Read the command line and compare."""
    parser = parser_of("parity", __doc__)
    parser.add_argument("--model", nargs="+", default=[], help="classifiers: folders or hub ids")
    parser.add_argument("--out", type=Path, default=Path("reports/parity"), help="report folder")
    options = parser.parse_args()
    need_torch()
    make_folder(options.out)
    run(options.model, options.out)


if __name__ == "__main__":
    main()
