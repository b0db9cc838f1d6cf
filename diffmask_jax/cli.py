"""The command line: `diffmask tour | finetune | train | explain | compare | evaluate | report`."""

import functools
import sys
from collections.abc import Sequence

from diffmask_jax.runtime import ending, process
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.huge_pages import use_huge_pages


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status (`ending.status_of`)."""
    process.open_standard_streams()
    from_a_shell = arguments is None  # not from Python
    if from_a_shell:
        use_huge_pages()
    run = functools.partial(_run, arguments)
    return ending.status_of("diffmask", run, leaves=from_a_shell, goes_on=False)


def _run(arguments: Sequence[str] | None) -> None:
    # Imported here, not above: restarting with huge pages does without it.
    from diffmask_jax.commands.parse import COMMANDS, parse

    options = parse(arguments)
    process.hush_libraries()
    process.draw_into_files()
    process.check_here()
    process.forget_empty_variables()
    process.forget_strictness()
    process.check_addresses()
    process.check_bars()
    keep_compiled_programs()
    COMMANDS[options.command].run(options)


if __name__ == "__main__":
    sys.exit(main())
