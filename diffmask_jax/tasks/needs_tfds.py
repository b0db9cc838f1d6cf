"""What is said where TFDS, which prepares some data sets, is not installed."""

import contextlib
from collections.abc import Iterator

from diffmask_jax.errors import UserError


@contextlib.contextmanager
def needs_tfds(data: str) -> Iterator[None]:
    """Around the import of a data set's builder and the first use of it.

    The package must import where TFDS is not installed, and TFDS itself imports some of its
    dependencies at first use. data: what messages call the data.

    Raises: UserError if a module is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"the {data} data needs TFDS, which cannot be loaded ({error}): "
            "run `pip install tensorflow-datasets importlib_resources`"
        ) from error
