"""The memory of explaining ever more texts with `diffmask explain --jsonl`, in a process each.

Without a run, a random probe of a small random BERT explains random words: neither memory nor the
speed around the network depends on what was learned. Needs Linux, which reports a process's peak.
"""

import dataclasses
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffmask_jax import cli
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.huggingface.tokenizers import read_tokenizer
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime import markdown
from diffmask_jax.training import run_folder, setup
from diffmask_jax.training.config import run_config
from experiments.common.report import claim, write_report
from experiments.throughput import data

COUNTS = (100, 10_000, 100_000)
OF_A_RUN = (100, 1000)
MOST = 1.2  # the largest allowed peak, relative to the smallest
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LENGTHS = (3, 20)  # words
NETWORK = dataclasses.replace(
    data.small(blocks=2), vocabulary=1000, positions=64, width=32, heads=2, intermediate=64
)


def run(folder: Path, trained: Path | None, counts: Sequence[int] | None = None) -> None:
    """Measure every number of texts, and write the report.

    trained: a run's folder; None: a random one
    """
    counts = counts or (OF_A_RUN if trained else COUNTS)
    with tempfile.TemporaryDirectory() as place:
        explained = trained or random_run(Path(place))
        measured(explained, counts[0], Path(place))  # the others find its programs on disk
        told = [measured(explained, count, Path(place)) for count in counts]
    start, rows = told[0], []
    for count, found in zip(counts, told, strict=True):
        beyond = count - counts[0]
        speed = f"{beyond / (found['seconds'] - start['seconds']):,.0f}" if beyond else "–"
        rows.append([f"{count:,}", f"{found['mib']:,.0f} MiB", f"{found['seconds']:.1f} s", speed])
    peaks = [found["mib"] for found in told]
    flat = claim(
        "explain.memory",
        f"the highest peak of {', '.join(f'{count:,}' for count in counts)} texts over the lowest",
        [max(peaks) / min(peaks)],
        paper=None,
        unit="×",
        holds=max(peaks) <= MOST * min(peaks),
    )
    head = (
        "texts",
        "peak of resident memory",
        "CPU time",
        f"texts a CPU second, beyond {counts[0]}",
    )
    body = (
        f"By {trained or 'a random probe of a small random BERT'}.\n\n{markdown.table(head, rows)}"
    )
    raw = {"counts": list(counts), "measured": told}
    write_report(folder, "Explaining many texts", [flat], {}, body=body, raw=raw)
    print(body)


def measured(explained: Path, count: int, place: Path) -> dict[str, Any]:
    """Peak resident memory in MiB and CPU seconds of one command, including its start."""
    texts, out = place / "texts.txt", place / "explained.jsonl"
    texts.write_text("".join(f"{text}\n" for text in random_texts(count)))
    asked = ["explain", str(explained), "--file", str(texts), "--jsonl", str(out)]
    command = [sys.executable, "-m", __name__, *asked, "--truncate"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    with open(out, encoding="utf-8") as lines:
        assert sum(1 for _ in lines) == count
    return json.loads(done.stdout.splitlines()[-1])


def random_texts(count: int) -> list[str]:
    """Texts of the random model's words, always the same."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(*LENGTHS, count, endpoint=True)
    numbers = rng.integers(len(SPECIAL), NETWORK.vocabulary, (count, LENGTHS[1]))
    return [
        " ".join(f"w{number}" for number in row[:length])
        for row, length in zip(numbers, lengths, strict=True)
    ]


def random_run(place: Path) -> Path:
    """The folder of a run that was never trained, beside its model."""
    words = place / "words"
    words.mkdir()
    named = (f"w{number}" for number in range(len(SPECIAL), NETWORK.vocabulary))
    (words / "vocab.txt").write_text("\n".join([*SPECIAL, *named]) + "\n")
    (words / "config.json").write_text('{"model_type": "bert"}\n')
    fresh = data.random_weights(NETWORK)
    save(place / "model", fresh._replace(tokenizer=read_tokenizer(words), path=str(words)))
    model = load_classifier(place / "model")
    config = run_config(place / "model", "texts", train="none", dev="none")
    game = setup.make_game(config, model.network, model.config.width)
    start = setup.first_state(config, game, model, model.encode(random_texts(setup.SAMPLE)))
    run_folder.open_run(place / "run", config)
    run_folder.save_probe(place / "run", start.probe.slow, {"masked": 0.0, "step": 0})
    return place / "run"


def _peak() -> float:
    """The peak in MiB, not from `getrusage`, which includes the process it was forked from."""
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) / 1024


if __name__ == "__main__":
    status = cli.main(sys.argv[1:])
    print(json.dumps({"mib": _peak(), "seconds": time.process_time()}))
    sys.exit(status)
