"""Studies of the paper's claims and of this package's speed, each a package or a module."""

import signal
import sys

from diffmask_jax.runtime.process import hush_libraries, open_standard_streams

hush_libraries()  # before JAX is imported
if sys.argv[0] == "-m":  # started as `python -m experiments.…`
    open_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command handles it
