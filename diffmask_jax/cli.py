"""The command line: `diffmask finetune | train | explain | compare | evaluate`."""

import argparse
import dataclasses
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffmask_jax.commands.options import parse
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.huge_pages import use_huge_pages
from diffmask_jax.runtime.preemption import STATUS, Stopped

PATHS = ("raw_dir", "data_dir", "train", "dev")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it went well, 2 after a mistake told in one line.

    130 after Ctrl-C, 143 if SIGTERM stopped a training run, which is then saved.
    """
    if arguments is None:  # from a shell, not from Python
        use_huge_pages()
    options = parse(arguments)
    # transformers advises to install PyTorch, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    keep_compiled_programs()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that is not UTF-8 shows a ? instead
        sys.stdout.reconfigure(errors="replace")
    try:
        COMMANDS[options.command](options)
        sys.stdout.flush()
        return 0
    except UserError as error:
        print(f"diffmask: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output has left (`| head`); keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Stopped as stop:
        from diffmask_jax.runtime import distributed

        distributed.say(f"diffmask: {stop}")
        return STATUS
    except KeyboardInterrupt:
        print("diffmask: interrupted", file=sys.stderr)
        return 130


def _finetune(options: argparse.Namespace) -> None:
    import numpy as np

    from diffmask_jax.data import wordpieces
    from diffmask_jax.models.gru_files import fresh_gru
    from diffmask_jax.models.hub import load_encoder
    from diffmask_jax.tasks.texts import read_sst
    from diffmask_jax.tasks.trees import LABELS
    from diffmask_jax.training import classifier, recipes

    is_gru = options.model == "gru"
    if is_gru and not options.embeddings:
        raise UserError("--model gru reads the word embeddings of a BERT: name it by --embeddings")
    if options.embeddings and not is_gru:
        raise UserError("--embeddings goes with --model gru: another model brings its own")
    recipe = recipes.GRU if is_gru else recipes.BERT
    given = _those_of(recipes.Settings, vars(options))
    settings = dataclasses.replace(recipe.defaults, **given)
    if is_gru:
        model = fresh_gru(options.embeddings, LABELS, settings.seed)
    else:
        model = load_encoder(options.model, LABELS, settings.seed)
    splits = [read_sst(split, options.raw_dir, options.data_dir) for split in ("train", "dev")]
    train, dev = (
        wordpieces.encode_within(
            model.tokenizer, split.texts, model.config.positions, options.truncate
        )
        for split in splits
    )
    labels, dev_labels = (np.asarray(split.labels) for split in splits)
    scores = classifier.finetune(
        model, recipe, train, labels, dev, dev_labels, settings, options.out
    )
    print(
        f"kept epoch {scores['epoch']:.0f} in {options.out}: dev accuracy "
        f"{scores['accuracy']:.1%}, macro-F1 {scores['macro_f1']:.1%}"
    )


def _train(options: argparse.Namespace) -> None:
    from diffmask_jax.runtime import distributed, preemption

    if options.distributed == "auto":
        distributed.start(distributed.launcher(os.environ))
    with distributed.together(), preemption.ending_at_once():
        _train_probe(options)


def _train_probe(options: argparse.Namespace) -> None:
    from diffmask_jax.data import batches, wordpieces
    from diffmask_jax.runtime import devices, distributed
    from diffmask_jax.tasks import texts
    from diffmask_jax.training import clean_states, probe, run_folder

    given = {name: value for name, value in vars(options).items() if value is not None}
    given |= {name: str(Path(given[name]).resolve()) for name in PATHS if name in given}
    if Path(options.model).exists():  # else a hub id
        given["model"] = str(Path(options.model).resolve())
    given.setdefault("layers", "example" if options.gate == "input" else "batch")
    config = run_folder.RunConfig(**_those_of(run_folder.RunConfig, given))

    model = run_folder.load_model(config)
    train, dev = (run_folder.read_split(config, split) for split in ("train", "dev"))
    texts.check_labels(dev.labels, len(model.labels))
    limit = model.config.positions
    encoded = [
        wordpieces.encode_within(model.tokenizer, split.texts, limit, options.truncate)
        for split in (train, dev)
    ]
    batches.check_fills(encoded[0], config.batch_size)
    devices.check_divides(config.batch_size, devices.data_mesh(), config.accumulate)
    if options.cache_states:
        clean_states.check_fits(model.model, model.params, encoded[0], limit)
    finished = False
    if distributed.by_first(lambda: run_folder.open_run(options.out, config)):
        done = probe.steps_done(options.out)
        finished = probe.is_finished(config, options.out, done)
        where = "is finished" if finished else f"goes on after step {done}"
        distributed.say(f"the run in {options.out} {where}")
        if (change := run_folder.other_devices(options.out)) and not finished:
            distributed.say(f"{change}: the last bits may differ")
    passes = None
    if options.cache_states and not finished:
        passes = clean_states.compute(model.model, model.params, encoded[0], limit)
    scores = probe.fit(config, options.out, model, encoded[0], encoded[1], passes, options.profile)
    if scores is None:
        raise UserError(
            f"no validation found a probe with divergence ≤ {config.tolerance:g} margins and "
            f"agreement ≥ {config.min_agreement:g}: train longer, or loosen these two"
        )
    kept = (
        f"kept the probe of step {scores['step']:.0f}: masks {scores['masked']:.1%} of the tokens, "
        f"divergence {scores['divergence']:.3f} nats, agreement {scores['agreement']:.1%}"
    )
    if distributed.is_first():
        print(kept)


def _those_of(settings: type, given: dict[str, Any]) -> dict[str, Any]:
    """Those of the given options that are fields of a dataclass."""
    names = {field.name for field in dataclasses.fields(settings)}
    return {name: value for name, value in given.items() if name in names}


def _explain(options: argparse.Namespace) -> None:
    from diffmask_jax.explaining import presenting
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.runtime.files import check_writable

    files = options.png, options.html, options.jsonl
    for path in filter(None, files):
        check_writable(path)
    texts = _texts(options)
    if options.png and len(texts) > 1:
        raise UserError(f"--png draws one text, not {len(texts)}: use --html or --jsonl")
    explainer = Explainer.from_pretrained(options.run, options.model)
    found = presenting.explain_all(explainer, texts, options.truncate)
    presenting.write_files(found, *files)
    if len(texts) == 1 or not any(files):
        width = shutil.get_terminal_size().columns
        presenting.print_all(found, _wants_color(options.color), width, options.layers)


def _compare(options: argparse.Namespace) -> None:
    from diffmask_jax.explaining import comparing
    from diffmask_jax.explaining.explainer import Explainer
    from diffmask_jax.render import comparison_html, comparison_png
    from diffmask_jax.runtime.files import check_writable, write_atomically

    if not (options.html or options.png):
        raise UserError("nowhere to draw: give --html FILE or --png FILE")
    for path in filter(None, (options.html, options.png)):
        check_writable(path)
    explainers = [Explainer.from_pretrained(run, options.model) for run in options.runs]
    comparing.check_comparable(explainers)  # before the work of the next line
    noise = comparing.noise_of(options.runs[0], explainers[0])
    found = comparing.compare(explainers, noise, options.text, options.truncate)
    if options.html:
        write_atomically(options.html, comparison_html.page(found))
    if options.png:
        comparison_png.write_png(found, options.png)


def _texts(options: argparse.Namespace) -> list[str]:
    """The texts given as arguments, or a file's lines, or standard input's."""
    from diffmask_jax.tasks.texts import read_lines

    if options.text and options.file:
        raise UserError("give texts or --file, not both")
    if options.text:
        return list(options.text)
    if options.file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError("nothing to explain: give a text, --file FILE, or texts on standard input")
    return read_lines(options.file or "/dev/stdin").texts


def _wants_color(asked: str) -> bool:
    if asked == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return asked == "always"


def _evaluate(options: argparse.Namespace) -> None:
    from diffmask_jax.explaining import evaluation
    from diffmask_jax.runtime.files import check_writable, write_atomically

    if options.out:
        if options.out.suffix != ".json":
            raise UserError(f"cannot write {options.out}: name it .json")
        check_writable(options.out)
    report = evaluation.evaluate(options.run, options.split, options.model, options.texts)
    print(evaluation.as_markdown(report))
    out = options.out or options.run / f"evaluation-{report['split']}.json"
    write_atomically(out, json.dumps(report, indent=1) + "\n")
    write_atomically(out.with_suffix(".md"), evaluation.as_markdown(report) + "\n")
    print(f"written to {out} and {out.with_suffix('.md').name}", file=sys.stderr)


COMMANDS = {
    "finetune": _finetune,
    "train": _train,
    "explain": _explain,
    "compare": _compare,
    "evaluate": _evaluate,
}

if __name__ == "__main__":
    sys.exit(main())
