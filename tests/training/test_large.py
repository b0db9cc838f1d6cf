"""A BERT-large that answers questions at 384 word pieces, as the paper's: it trains, in how much
memory."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from diffmask_jax.models.bert import BERT
from diffmask_jax.models.heads import SPANS
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.loading import load_answerer
from diffmask_jax.runtime.memory import GIB

pytestmark = pytest.mark.long  # test_precision.py shows the same of a small one

FULL = {
    "vocabulary": 30522, "positions": 512, "width": 1024, "heads": 16, "blocks": 24,
    "intermediate": 4096,
}  # fmt: skip
PIECES = 384
MOST = 9.0  # GiB
HOW = [
    "--precision", "bfloat16", "--accumulate", "2", "--remat", "--layers", "batch", "--batch-size",
    "2", "--steps", "2", "--steps-per-call", "1", "--validate-every", "2", "--validation-texts",
    "1", "--margin", "1",
]  # fmt: skip


@pytest.fixture
def large(tiny_answerer, tmp_path):
    """The folder of a network of 24 blocks of 1024 with fresh weights, and the tiny one's words."""
    model = load_answerer(tiny_answerer)
    config = dataclasses.replace(model.config, **FULL)
    params = jax.jit(BERT.spans.init, static_argnums=1)(jax.random.key(0), config)
    network = BERT.spans.model(config, SPANS.family(1.0), jnp.float32, False)
    save(tmp_path / "large", model._replace(network=network, params=params, config=config))
    return tmp_path / "large"


@pytest.fixture
def questions(tmp_path):
    """A folder of SQuAD's files: two questions, with their passage as long as may be."""
    pytest.importorskip("tensorflow_datasets")
    passage = " ".join(["dull", *["film"] * (PIECES - 3 - 1 - 1)])  # [CLS], two [SEP], "plot"
    answer = {"text": "dull", "answer_start": 0}
    asked = [{"id": f"{n}", "question": "plot", "answers": [answer]} for n in range(2)]
    article = {"title": "T", "paragraphs": [{"context": passage, "qas": asked}]}
    folder = tmp_path / "raw"
    folder.mkdir()
    for split in ("train", "dev"):
        whole = json.dumps({"version": "1.1", "data": [article]})
        (folder / f"{split}-v1.1.json").write_text(whole)
    return folder


@pytest.mark.skipif(
    psutil.virtual_memory().total < 16 * GIB, reason="a BERT-large wants a machine of 16 GiB"
)
def test_two_steps_of_a_bert_large_in_bfloat16(large, questions, child_environment, tmp_path):
    out = tmp_path / "run"
    places = ["--model", large, "--raw-dir", questions, "--data-dir", tmp_path / "data"]
    command = ["train", "squad", *map(str, places), "--out", str(out), *HOW]
    environment = child_environment()
    environment.pop("XLA_FLAGS", None)  # which save tests compilation, and cost it speed
    with subprocess.Popen(
        [sys.executable, "-m", "diffmask_jax.cli", *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    peak = used.ru_maxrss * 1024 / GIB
    print(f"two steps of a BERT-large at {PIECES} pieces: {peak:.1f} GiB at most")

    curves = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curves] == [1, 2]
    assert all(len(line["divergence"]) == FULL["blocks"] + 2 for line in curves)
    assert np.isfinite([line["divergence"] + line["masked"] for line in curves]).all()
    (validation,) = map(json.loads, (out / "validation.jsonl").read_text().splitlines())
    assert validation["step"] == 2 and np.isfinite(list(validation.values())).all()
    assert peak < MOST
