"""The command line: `diffmask train | explain | evaluate`."""

import argparse
import dataclasses
import io
import json
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffmask_jax import __version__
from diffmask_jax.errors import UserError

UNSET: Any = argparse.SUPPRESS  # options left out leave the run's own defaults in force
PATHS = ("raw_dir", "data_dir", "train", "dev")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it went well, 2 after a mistake told in one line, 130 on Ctrl-C."""
    options = _parse(arguments)
    # transformers advises to install PyTorch, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    _keep_compiled_programs()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that is not UTF-8 shows a ? instead
        sys.stdout.reconfigure(errors="replace")
    try:
        options.command(options)
        sys.stdout.flush()
        return 0
    except UserError as error:
        print(f"diffmask: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output has left (`| head`); keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("diffmask: interrupted", file=sys.stderr)
        return 130


def _keep_compiled_programs() -> None:
    """Let a second call find the first one's programs, unless the user has said where."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "diffmask_jax")
        jax.config.update("jax_compilation_cache_dir", str(cache))
    # A cache that cannot be written, or that a killed process left half-written, costs time only.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _train(options: argparse.Namespace) -> None:
    from diffmask_jax import clean_states, fitting, runs
    from diffmask_jax.data import batches, texts, wordpieces
    from diffmask_jax.models.hub import load_bert

    given = {name: value for name, value in vars(options).items() if value is not None}
    given |= {name: str(Path(given[name]).absolute()) for name in PATHS if name in given}
    if Path(options.model).exists():  # else a hub id
        given["model"] = str(Path(options.model).absolute())
    given.setdefault("layers", "example" if options.gate == "input" else "batch")
    names = {field.name for field in dataclasses.fields(runs.RunConfig)}
    config = runs.RunConfig(**{name: value for name, value in given.items() if name in names})

    model = load_bert(config.model)
    train, dev = (runs.read_split(config, split) for split in ("train", "dev"))
    texts.check_labels(dev, len(model.labels))
    limit = model.config.positions
    encoded = [
        wordpieces.encode_within(model.tokenizer, split.texts, limit, options.truncate)
        for split in (train, dev)
    ]
    batches.check_fills(encoded[0], config.batch_size)
    if runs.open_run(options.out, config):
        done = fitting.steps_done(options.out)
        where = "is finished" if done >= config.steps else f"goes on after step {done}"
        print(f"the run in {options.out} {where}", file=sys.stderr)
    passes = None
    if options.cache_states:
        passes = clean_states.compute(model.model, model.params, encoded[0], limit)
    scores = fitting.fit(config, options.out, model, encoded[0], encoded[1], passes)
    if scores is None:
        raise UserError(
            f"no validation found a probe with divergence ≤ {config.tolerance:g} margins and "
            f"agreement ≥ {config.min_agreement:g}: train longer, or loosen these two"
        )
    print(
        f"kept the probe of step {scores['step']:.0f}: masks {scores['masked']:.1%} of the tokens, "
        f"divergence {scores['divergence']:.3f} nats, agreement {scores['agreement']:.1%}"
    )


def _explain(options: argparse.Namespace) -> None:
    from diffmask_jax import presenting
    from diffmask_jax.explainer import Explainer
    from diffmask_jax.files import check_writable

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


def _texts(options: argparse.Namespace) -> list[str]:
    """The texts given as arguments, or a file's lines, or standard input's."""
    from diffmask_jax.data.texts import read_lines

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
    from diffmask_jax import evaluation
    from diffmask_jax.files import check_writable, write_atomically

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


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; texts may stand behind options too, which argparse itself does not see."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.command is not _explain or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.text += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diffmask",
        description="See which tokens a classifier's decision needs, layer by layer.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True)
    _add_train(commands.add_parser("train", help="train a probe on a frozen classifier"))
    _add_explain(commands.add_parser("explain", help="explain texts with a trained probe"))
    _add_evaluate(commands.add_parser("evaluate", help="masked share, divergence and F1 by layer"))
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_train)
    add = parser.add_argument
    add("task", choices=["sst", "texts"], help="sst: the treebank; texts: your own, a line each")
    add("--model", required=True, help="Hugging Face folder or hub id of a BERT classifier")
    add("--out", required=True, type=Path, help="run folder; an unfinished run there goes on")
    add("--raw-dir", help="sst: folder of train.txt, dev.txt, test.txt (default: download)")
    add("--data-dir", help="sst: where the prepared data set is kept (default: TFDS's folder)")
    add("--train", help="texts: file of training texts, one a line")
    add("--dev", help="texts: file of validation texts, one a line")
    add("--truncate", action="store_true", help="cut texts longer than the model takes")
    add("--gate", choices=["input", "hidden"], default="input", help="what the probe masks")
    add("--layers", choices=["example", "batch"], help="one depth an example (the default of the "
        "input probe) or a batch (the authors' way, the only one of the hidden probe)")  # fmt: skip
    add("--sparsity", choices=["log", "count"], default=UNSET,
        help="minimise log keep probabilities or their sum")  # fmt: skip
    add("--steps", type=_positive_int, help="optimiser steps", default=UNSET)
    add("--batch-size", type=_positive_int, help="texts a step", default=UNSET)
    add("--steps-per-call", type=_positive_int, default=UNSET,
        help="steps in one call of the device")  # fmt: skip
    add("--seed", type=_seed, help="of initialisation, gates and data order", default=UNSET)
    add("--margin", type=_positive, help="divergence allowed, in nats", default=UNSET)
    add("--probe-rate", type=_positive, help="learning rate of the probe", default=UNSET)
    add("--baseline-rate", type=_positive, help="learning rate of the baseline", default=UNSET)
    add("--multiplier-rate", type=_positive, help="learning rate of the multipliers", default=UNSET)
    add("--warmup", type=_count, help="steps of linear warm-up", default=UNSET)
    add("--validate-every", type=_positive_int, help="steps between validations", default=UNSET)
    add("--validation-texts", type=_positive_int, help="texts of a validation", default=UNSET)
    add("--tolerance", type=_positive, default=UNSET,
        help="a probe is kept only if its divergence is at most this many margins")  # fmt: skip
    add("--cache-states", action="store_true",
        help="keep the clean states of all training texts in memory: faster steps")  # fmt: skip
    add("--min-agreement", type=_positive, default=UNSET,
        help="and if at least this share of predictions stays")  # fmt: skip


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_explain)
    add = parser.add_argument
    add("run", type=Path, help="run folder made by `diffmask train`")
    add("text", nargs="*", help="texts to explain")
    add("--file", type=Path, help="file of texts, one a line (default: standard input)")
    add("--model", help="where the model lies now, if it was moved")
    add("--layers", action="store_true", help="one row per layer instead of the last one")
    add("--truncate", action="store_true", help="cut texts longer than the model takes")
    add("--png", type=Path, help="write a heat map (one text)")
    add("--html", type=Path, help="write one standalone page")
    add("--jsonl", type=Path, help="write one JSON object a text")
    add("--color", choices=["auto", "always", "never"], default="auto")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_evaluate)
    add = parser.add_argument
    add("run", type=Path, help="run folder made by `diffmask train`")
    add("--split", choices=["train", "dev", "test"], default="dev", help="of SST")
    add("--texts", type=Path, help="evaluate on a file of texts, one a line, instead")
    add("--model", help="where the model lies now, if it was moved")
    add("--out", type=Path, help="JSON file (default: RUN/evaluation-SPLIT.json)")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _seed(text: str) -> int:
    value = _count(text)
    if value >= 2**32:  # JAX would take it for another one
        raise argparse.ArgumentTypeError(f"{text} is not below 2^32")
    return value


if __name__ == "__main__":
    sys.exit(main())
