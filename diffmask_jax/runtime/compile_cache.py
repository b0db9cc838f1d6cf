"""Compiled programs that outlive their process, in a cache on disk."""

import os
import warnings
from pathlib import Path

from diffmask_jax.errors import UserError


def keep_compiled_programs() -> None:
    """Keep compiled programs in this user's cache, unless the user has chosen a place.

    All of the process's programs, however small, unless JAX's own variables say otherwise.
    """
    try:
        import jax
    except ValueError as error:  # for one of its environment variables
        raise UserError(
            f"JAX cannot start ({error}): check the environment variables JAX_…"
        ) from error

    where = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if where is None and (home := _home()):  # the environment may set it, too
        jax.config.update("jax_compilation_cache_dir", str(home / "diffmask_jax"))
    # A cache that cannot be written, or was left half-written by a killed process, only costs time.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    for name in (
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    ):
        if name.upper() not in os.environ:
            jax.config.update(name, 0)


def folder() -> Path | None:
    """The folder of the cache, where other costly results are kept as well; None if there is none.

    There is none before `keep_compiled_programs`, unless the user has chosen a place.
    """
    import jax

    where = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return None if where is None or "://" in where else Path(where)


def _home() -> Path | None:
    """The folder of this user's caches; None for a user without a home."""
    asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = Path(os.path.expanduser("~"))
    return next((place for place in (asked, home / ".cache") if place.is_absolute()), None)
