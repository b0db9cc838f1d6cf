"""One text seen by every method at every layer: the paper's Figure 6 for any sentence."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from tqdm import tqdm

from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.attribution import methods
from diffmask_jax.attribution.attention import received_attention
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.objective import Clean, clean_pass
from diffmask_jax.models.bert_attention import attention_weights
from diffmask_jax.models.bert_config import BertConfig
from diffmask_jax.render.comparison import Comparison, Panel, make_comparison
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.training import run_folder

BATCH = 32
NAMES = {
    "integrated_gradients": ("Integrated gradients", "|contribution| to the predicted logit"),
    "schulz": ("Schulz et al. (2020)", "share of the state that an information bottleneck passes"),
    "guan": ("Guan et al. (2019)", "1/σ of the noise that the logits tolerate"),
}
GATES = {
    "input": (
        "DiffMask, input",
        "probability that the input token is kept, given the layers so far",
    ),
    "hidden": ("DiffMask, hidden states", "probability that this hidden state is kept"),
}


def compare(
    explainers: Sequence[Explainer], noise: Statistics, text: str, truncate: bool = False
) -> Comparison:
    """Attention, the three other methods, and the probes of one or more runs, for one text.

    explainers: of one model. noise: `noise_of` that model's states.

    Raises: UserError if the text is empty or too long, or as `check_comparable` does.
    """
    check_comparable(explainers)
    first = explainers[0]
    encoded = first.encode([text], truncate)
    (batch,) = batches.in_order(encoded, 1, first.model.config.positions)
    length, layers = len(encoded[0].tokens), first.model.model.layers
    params = first.params[0]
    clean = jax.jit(functools.partial(clean_pass, first.game))(params, batch.inputs)

    received = _attention(first, clean)
    panels = [
        Panel("Attention", "largest head, averaged over queries", layers[2:], received[:, :length])
    ]
    for name, method in methods.ON_TEXT.items():
        run = functools.partial(methods.at_every_layer, method, first.game.model, first.game.family)
        found = np.asarray(jax.jit(run)(params, noise, jax.random.key(0), clean))
        panels.append(Panel(*NAMES[name], layers, found[:, 0, :length]))
    for explainer in explainers:
        explanation = next(explainer.stream([text], encoded))[1]
        panels.append(Panel(*GATES[explainer.config.gate], layers, explanation.keep))
    return make_comparison(
        title=text,
        caption=explanation.heatmap().title,
        tokens=encoded[0].tokens,
        panels=panels,
    )


def check_comparable(explainers: Sequence[Explainer]) -> None:
    """Raises: UserError if the runs are about different models, or one that has no attention."""
    if len({explainer.model.path for explainer in explainers}) > 1:
        raise UserError("the runs explain different models: compare runs of one model")
    model = explainers[0].model
    if not isinstance(model.config, BertConfig):
        raise UserError(f"{model.path} is a GRU, without attention: only runs of a BERT compare")


def _attention(explainer: Explainer, clean: Clean) -> Float[np.ndarray, "N T"]:
    """What each block attends to, for a batch of one text."""
    config = explainer.model.config
    assert isinstance(config, BertConfig)  # else `check_comparable` has refused it

    @jax.jit
    def received(params: object, clean: Clean) -> jax.Array:
        weights = attention_weights(config, params, clean.inputs, clean.states)
        return jnp.stack([received_attention(w, clean.inputs.valid)[0] for w in weights])

    return np.asarray(received(explainer.params[0], clean))


def noise_of(folder: Path, explainer: Explainer) -> Statistics:
    """Mean and deviation of every state over a run's training texts, (L, D) each.

    Taken in one pass the first time, then kept in the run's folder.

    Raises: UserError if the training texts cannot be read, or what is kept is damaged.
    """
    file = folder / "statistics.safetensors"
    if file.exists():
        try:
            kept = load_file(file)
            return Statistics(jnp.asarray(kept["mean"]), jnp.asarray(kept["deviation"]))
        except (OSError, SafetensorError, KeyError) as error:
            raise UserError(f"{file} is damaged ({error}): delete it to make it anew") from error
    texts = run_folder.read_split(explainer.config, "train").texts
    encoded = explainer.encode(texts, truncate=True)
    stream = tqdm(
        batches.in_order(encoded, BATCH, explainer.model.config.positions),
        "statistics of the states", unit="batch", disable=None,
    )  # fmt: skip
    found = state_statistics(explainer.game.model, explainer.params[0], iter(stream))
    arrays = {name: np.asarray(array) for name, array in found._asdict().items()}
    write_atomically(file, save(arrays))
    return found
