"""See how a decision forms: DiffMask (De Cao et al., EMNLP 2020) in JAX."""

__version__ = "0.1.0"
