"""The command line: `diffmask finetune | train | explain | compare | evaluate | report`."""

import errno
import io
import os
import sys
from collections.abc import Sequence

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.huge_pages import use_huge_pages
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.preemption import Notice, Stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it went well, 2 after a mistake told in one line.

    130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP: a training or fine-tuning is then saved.
    """
    if arguments is None:  # from a shell, not from Python
        use_huge_pages()
    # Not above: what is imported here need not be imported to start again with huge pages.
    from diffmask_jax.commands.parse import COMMANDS, parse

    options = parse(arguments)
    # transformers advises to install PyTorch, which nothing here needs, and quotes files as is.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    keep_compiled_programs()
    if sys.stdout is None:  # closed before we began: the next file would take its number
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that is not UTF-8 shows a ? instead
        sys.stdout.reconfigure(errors="replace")
    try:
        COMMANDS[options.command].run(options)
        sys.stdout.flush()
        return 0
    except UserError as error:
        say(f"diffmask: {error}")
        return 2
    except BrokenPipeError:
        _leave_stdout()  # its reader has left (`| head`)
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO):
            raise
        _leave_stdout()
        say(f"diffmask: cannot write standard output: {error.strerror}")
        return 2
    except Stopped as stop:
        from diffmask_jax.runtime import distributed

        distributed.say(f"diffmask: {stop}")
        return stop.notice
    except KeyboardInterrupt:
        say("diffmask: interrupted")
        return Notice.INTERRUPT


def _leave_stdout() -> None:
    """Keep Python from complaining at exit about what it cannot write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
