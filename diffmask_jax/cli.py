"""The command line: `diffmask finetune | train | explain | compare | evaluate | report`."""

import io
import os
import sys
from collections.abc import Sequence

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.huge_pages import use_huge_pages
from diffmask_jax.runtime.preemption import STATUS, Stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it went well, 2 after a mistake told in one line.

    130 after Ctrl-C, 143 if SIGTERM stopped a training run, which is then saved.
    """
    if arguments is None:  # from a shell, not from Python
        use_huge_pages()
    # Not above: what is imported here need not be imported to start again with huge pages.
    from diffmask_jax.commands.parse import COMMANDS, parse

    options = parse(arguments)
    # transformers advises to install PyTorch, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    keep_compiled_programs()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that is not UTF-8 shows a ? instead
        sys.stdout.reconfigure(errors="replace")
    try:
        COMMANDS[options.command].run(options)
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


if __name__ == "__main__":
    sys.exit(main())
