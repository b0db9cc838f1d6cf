"""Compiled programs that outlive the process which made them."""

import os
import warnings
from pathlib import Path

from diffmask_jax.errors import UserError


def keep_compiled_programs() -> None:
    """Let a second call find the first one's programs, unless the user has said where."""
    try:
        import jax
    except ValueError as error:  # of a variable of its own
        raise UserError(f"JAX cannot be started ({error}): see the variables JAX_…") from error

    where = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if where is None and (home := _home()):  # which the environment sets, too
        jax.config.update("jax_compilation_cache_dir", str(home / "diffmask_jax"))
    # A cache that cannot be written, or that a killed process left half-written, costs time only.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def folder() -> Path | None:
    """Where programs are kept, for other costly things to lie beside; None if not on this machine.

    Nor before `keep_compiled_programs`, unless the user has said where.
    """
    import jax

    where = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return None if where is None or "://" in where else Path(where)


def _home() -> Path | None:
    """Where this user's programs keep what can be made anew; None for a user without a home."""
    asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = Path(os.path.expanduser("~"))
    return next((place for place in (asked, home / ".cache") if place.is_absolute()), None)
