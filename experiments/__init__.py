"""Studies of the paper's claims and of this package's speed, a package or a module each."""

from diffmask_jax.runtime.process import hush_libraries

hush_libraries()  # before one of them imports JAX
