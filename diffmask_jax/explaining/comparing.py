"""One text attributed by every method at every layer: the paper's Figure 6 for any sentence."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from safetensors.numpy import save

from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.attribution import methods
from diffmask_jax.attribution.attention import received_by_block
from diffmask_jax.attribution.methods import Searched
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.attribution.subject import at_every_layer
from diffmask_jax.data import batches
from diffmask_jax.data.texts import Text
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.model import Model, Params
from diffmask_jax.game.objective import Clean, clean_pass
from diffmask_jax.render.comparison import Comparison, Panel, make_comparison
from diffmask_jax.render.layer_names import some_of
from diffmask_jax.runtime import json_files, tensors
from diffmask_jax.runtime.files import write_in
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.plain_lines import followed
from diffmask_jax.tasks.encoded_examples import encode_examples
from diffmask_jax.training import fingerprint, setup
from diffmask_jax.training.fingerprint import Fingerprint

BATCH = 32


def compare(
    explainers: Sequence[Explainer],
    noise: Statistics | None,
    text: Text,
    truncate: bool = False,
    names: Sequence[str] = methods.USUAL,
) -> Comparison:
    """Attention, other methods, and the probes of one or more runs, for one text or pair.

    explainers: all of the same model
    noise: `noise_of` that model's states; None if no method needs it
    names: of methods in `methods.with_margin`, whose margin is that of the first run

    Raises: UserError if the text is empty or too long, a method is unknown, or as
        `check_comparable` does.
    """
    check_comparable(explainers)
    first = explainers[0]
    named = chosen(first, names)
    encoded = first.model.encode([text], truncate)
    panels = _of_methods(first, noise, encoded, named)
    for explainer in explainers:
        explanation = next(explainer.stream([text], encoded))[1]
        gate = explainer.game.probe.gate
        note = "; ".join([gate.caption, *explanation.doubts])
        panels.append(Panel(gate.title, note, explanation.layers, explanation.keep))
    drawn = explanation.heatmap()
    return make_comparison(
        title=explanation.title,
        caption="; ".join(filter(None, [drawn.title, explanation.cut])),
        tokens=drawn.tokens,
        parts=drawn.parts,
        panels=panels,
        names=drawn.names,
        marks=drawn.marks,
        starts=drawn.starts,
    )


def chosen(explainer: Explainer, names: Sequence[str]) -> list[methods.Named]:
    """The methods of these names. Raises: UserError if one is unknown."""
    known = methods.with_margin(explainer.config.margin)
    for name in names:
        if name not in known:
            raise UserError(f"there is no method {name!r}, only {', '.join(known)}")
    return [known[name] for name in names]


def check_comparable(explainers: Sequence[Explainer]) -> None:
    """Raises: UserError if the runs have different models, or one without attention."""
    if len({explainer.model.path for explainer in explainers}) > 1:
        raise UserError("the runs explain different models: give runs of one model")
    model = explainers[0].model
    if model.network.attention is None:
        raise UserError(
            f"{model.path} is a {model.architecture.model_type}, which has no attention: only "
            "models with attention can be compared"
        )


def _of_methods(
    explainer: Explainer,
    noise: Statistics | None,
    encoded: Sequence[Encoded],
    named: Sequence[methods.Named],
) -> list[Panel]:
    """Attention and each method, for one text. Raises: UserError if a value is not finite."""
    model, params = explainer.model, explainer.params[0]
    (batch,), network = batches.in_order(encoded, 1, model.config.positions), model.network
    clean = jax.jit(clean_pass, static_argnums=0)(explainer.game.model, params, batch.inputs)
    length, received = len(encoded[0].tokens), np.asarray(_attention(network, params, clean))
    caption = "largest head, averaged over queries"
    panels = [Panel("Attention", caption, network.layers[2:], received[:, :length])]
    run, key = jax.jit(at_every_layer, static_argnums=(0, 1)), jax.random.key(0)
    for method in named:
        found = run(method.attribute, network, params, noise, key, clean)
        tensors.check_finite(found, f"{method.title} of {model.path} is not finite")
        note = method.values
        if isinstance(found, Searched):
            flags = (np.asarray(each)[:, 0] for each in (found.complete, found.whole))
            note += f"; {proven(network.layers, *flags)}"
            found = found.share
        values = np.maximum(np.asarray(found)[:, 0, :length], 0)  # some are rounded to −1e-8
        panels.append(Panel(method.title, note, network.layers, values))
    return panels


def proven(
    layers: Sequence[str], complete: Bool[np.ndarray, " L"], whole: Bool[np.ndarray, " L"]
) -> str:
    """What is proven of the sets that a search found, layer by layer, in words (`Searched`)."""
    kinds = {
        "proven": whole,
        "one of them, its size proven,": complete & ~whole,
        "the smallest found": ~complete,
    }
    where = {
        kind: [layer for layer, is_so in zip(layers, those, strict=True) if is_so]
        for kind, those in kinds.items()
    }
    return "; ".join(
        f"{kind} at {some_of(names, len(layers))}" for kind, names in where.items() if names
    )


@functools.partial(jax.jit, static_argnums=0)
def _attention(network: Model, params: Params, clean: Clean) -> Float[Array, "N T"]:
    """The attention that each position receives in each block, for a batch of one text."""
    assert network.attention is not None  # ensured by `check_comparable`
    weights = network.attention(params, clean.inputs, clean.states)
    return received_by_block(weights, clean.inputs.valid)[:, 0]


def noise_of(folder: Path, explainer: Explainer, anyway: bool = False) -> Statistics:
    """Mean and deviation of every state over a run's training texts, (L, D) each.

    They are computed once, then kept in the run's folder, for this model alone; if that is not
    writable, they are computed each time.

    anyway: use the texts as they are now, even if the run was trained on others; nothing is kept

    Raises: UserError if the training texts cannot be read or are not those of the run, or if the
        kept file is damaged.
    """
    file, model = folder / "statistics.safetensors", explainer.fingerprint
    if file.exists():
        noise, made_with = _read_noise(file)
        if not fingerprint.differing(made_with, model):
            texts = {name: made_with[name] for name in made_with if name not in model}
            fingerprint.check(folder, texts, anyway)
            return noise
        say(f"{file} belongs to another model: computing it again")
    try:
        examples = setup.read_split(explainer.config, "train")
    except UserError as error:
        free = [name for name, one in methods.ON_TEXT.items() if not one.needs_noise]
        raise UserError(
            f"{error}; some methods need the mean state of the run's training texts: restore "
            f"these, or choose others, --methods {','.join(free)}"
        ) from error
    texts = fingerprint.of_texts(train=examples)
    fingerprint.check(folder, texts, anyway)
    encoded = encode_examples(explainer.model, examples, truncate=True).encoded
    in_order = batches.in_order(encoded, BATCH, explainer.model.config.positions)
    stream = followed(in_order, "statistics of the states", "batches")
    noise = state_statistics(explainer.game.model, explainer.params[0], stream)
    if not anyway:  # otherwise they may belong to other texts than the run's
        arrays = {name: np.asarray(array) for name, array in noise._asdict().items()}
        made_with = {"fingerprint": json_files.dumps({**model, **texts})}
        try:
            write_in(folder, file.name, save(arrays, metadata=made_with))
        except UserError as error:
            say(f"{error}: it will be computed again next time")
    return noise


def _read_noise(file: Path) -> tuple[Statistics, Fingerprint]:
    """What `noise_of` kept, and the fingerprint of its origin. Raises: UserError if damaged."""
    try:
        kept, about = tensors.read(file)
        made_with = json_files.parse(about.get("fingerprint", "{}"), "its fingerprint")
        return Statistics(jnp.asarray(kept["mean"]), jnp.asarray(kept["deviation"])), made_with
    except (UserError, KeyError) as error:
        raise UserError(
            f"{file} is damaged ({error}): delete it, and it will be computed again"
        ) from error
