"""The paper's example, and all pictures of the report."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffmask_jax.analysis.token_groups import layers_kept
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.game.gates import GATES
from diffmask_jax.render import html
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.tasks.questions import Question, places_of
from experiments.common.probe_figures import token_groups_figure, training_figure
from experiments.squad import figures, stages
from experiments.squad.methods import Counted
from experiments.squad.numbers import OfGate
from experiments.squad.stages import Measured
from experiments.squad.study import Study, study_of

QUESTION = "Where did the Broncos practice for the Super Bowl ?"
PASSAGE = (
    "The Panthers used the San Jose State practice facility and stayed at the San Jose Marriott . "
    "The Broncos practiced at Stanford University and stayed at the Santa Clara Marriott ."
)
ANSWER = "Stanford University"
SHARES = {"masked": "masked", "positions_kept": "positions kept", "spans_kept": "spans kept"}


def example(explainer: Explainer) -> Explanation:
    """The paper's question, explained."""
    explanation = explainer(question=QUESTION, passage=PASSAGE)
    return explanation.with_gold(places_of(ANSWER, PASSAGE))


def draw(
    out: Path,
    layers: tuple[str, ...],
    margin: float,
    by_gate: Mapping[str, OfGate],
    measured: Mapping[str, Measured],
) -> None:
    """Draw Figures 7, 8 and 14, faithfulness by layer, and the curves of training."""
    named = {GATES[gate].masks: numbers for gate, numbers in by_gate.items()}
    if named:
        kept = {name: numbers.kept for name, numbers in named.items()}
        figures.kept_figure(out / "figure7.png", layers, kept)
        shares = {
            name: {
                label: np.mean([getattr(run, field) for run in numbers.sampled], axis=0).tolist()
                for field, label in SHARES.items()
            }
            for name, numbers in named.items()
        }
        figures.faithful_figure(out / "faithful.png", layers, shares)
    for gate, numbers in by_gate.items():
        explanation = example(measured[gate].explainers[0])
        explanation.save(out / f"figure8_{gate}.png")
        page = html.page([explanation.heatmap()], QUESTION)
        write_atomically(out / f"figure8_{gate}.html", page)
        title = f"Training the {gate} probe, validation"
        training_figure(out / f"training_{gate}.png", title, measured[gate].curves(), margin)
        if numbers.tagged:
            token_groups_figure(
                out / f"figure14_{gate}.png",
                f"How long tokens are kept, by part of speech: {GATES[gate].masks}",
                f"layers that keep a token, of {len(layers)}",
                numbers.tagged.panels,
                len(layers),
            )


def draw_methods(out: Path, whole: Study, methods: Mapping[str, Counted], inputs: Measured) -> None:
    """Draw Figure 2: the paper's example, with one row per method.

    whole: all questions, from whose words the methods take their noise and mean
    inputs: the measurements of the input probes
    """
    place = out / "measured"
    words = stages.statistics_of_words(whole, place / "words.npz")
    question = Question("example", QUESTION, PASSAGE, places_of(ANSWER, PASSAGE))
    alone, found = study_of(whole.model, [question]), {}
    for name, method in methods.items():
        own = stages.attributions(alone, method, words, place / "example" / name)
        found[method.title] = own[0]
    explanation = example(inputs.explainers[0])
    found["DiffMask, Σ over layers"] = layers_kept(explanation.keep)
    figures.methods_figure(out / "figure2.png", explanation, found)
