"""Compiled programs that outlive the process which made them."""

import os
import warnings
from pathlib import Path


def keep_compiled_programs() -> None:
    """Let a second call find the first one's programs, unless the user has said where."""
    import jax

    # Which the environment sets, too.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "diffmask_jax")
        jax.config.update("jax_compilation_cache_dir", str(cache))
    # A cache that cannot be written, or that a killed process left half-written, costs time only.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
