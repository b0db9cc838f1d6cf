"""Scores of predictions against gold labels: accuracy, F1, and those of regressions."""

import numpy as np
from jaxtyping import Bool, Float, Int


def accuracy(prediction: Int[np.ndarray, "N ..."], gold: Int[np.ndarray, "N ..."]) -> float:
    """Share of examples that are right, in [0, 1]; with several labels, all must be."""
    return float(np.mean((prediction == gold).reshape(len(gold), -1).all(axis=-1)))


def macro_f1(prediction: Int[np.ndarray, " N"], gold: Int[np.ndarray, " N"]) -> float:
    """Unweighted mean over classes of F1 = 2·TP / (2·TP + FP + FN), over the classes that occur."""
    classes = np.union1d(prediction, gold)
    return float(np.mean([_f1(prediction == c, gold == c) for c in classes]))


def macro_f1_of_labels(prediction: Int[np.ndarray, "N C"], gold: Int[np.ndarray, "N C"]) -> float:
    """Unweighted mean of F1 over the labels that occur; 1 if none does."""
    found = [
        _f1(p, g) for p, g in zip(prediction.T == 1, gold.T == 1, strict=True) if (p | g).any()
    ]
    return float(np.mean(found)) if found else 1.0


def micro_f1_of_labels(prediction: Int[np.ndarray, "N C"], gold: Int[np.ndarray, "N C"]) -> float:
    """F1 of the decisions on all labels taken together; 1 if no label occurs."""
    p, g = (prediction == 1).ravel(), (gold == 1).ravel()
    return _f1(p, g) if (p | g).any() else 1.0


def pearson(prediction: Float[np.ndarray, "N C"], gold: Float[np.ndarray, "N C"]) -> float:
    """Pearson's correlation, averaged over outputs; NaN if an output or its gold is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p, g = (a - a.mean(axis=0) for a in (prediction, gold))
        r = (p * g).sum(axis=0) / np.sqrt((p**2).sum(axis=0) * (g**2).sum(axis=0))
    return float(np.mean(r))


def root_mean_square(prediction: Float[np.ndarray, "N C"], gold: Float[np.ndarray, "N C"]) -> float:
    """√(mean (y − ŷ)²), in the units of the outputs."""
    return float(np.sqrt(np.mean((prediction - gold) ** 2)))


def exact_match(prediction: Int[np.ndarray, "N 2"], gold: Int[np.ndarray, "N *A 2"]) -> float:
    """Share of spans that equal the gold span, or one of them, in [0, 1]."""
    ours, theirs = _against(prediction, gold)
    return float(np.mean(np.all(ours == theirs, axis=-1).any(axis=-1)))


def overlap_f1(prediction: Int[np.ndarray, "N 2"], gold: Int[np.ndarray, "N *A 2"]) -> float:
    """Mean of 2·|P ∩ G| / (|P| + |G|) over the positions P and G of both spans, in [0, 1].

    With several gold spans, the largest counts. A span that ends before it starts has no positions.
    """
    ours, theirs = _against(prediction, gold)
    starts, ends = np.maximum(ours, theirs)[..., 0], np.minimum(ours, theirs)[..., 1]
    common = _length(np.stack([starts, ends], axis=-1))
    return float(np.mean((2 * common / (_length(ours) + _length(theirs))).max(axis=-1)))


def _against(
    prediction: Int[np.ndarray, "N 2"], gold: Int[np.ndarray, "N *A 2"]
) -> tuple[Int[np.ndarray, "N 1 2"], Int[np.ndarray, "N A 2"]]:
    """Spans beside any number of gold spans each; (-1, -1) stands for no span."""
    return prediction[:, None], gold.reshape(len(gold), -1, 2)


def _length(spans: Int[np.ndarray, "*N 2"]) -> Int[np.ndarray, "*N"]:
    return np.maximum(spans[..., 1] - spans[..., 0] + 1, 0)


def _f1(prediction: Bool[np.ndarray, " N"], gold: Bool[np.ndarray, " N"]) -> float:
    return float(2 * np.sum(prediction & gold) / (np.sum(prediction) + np.sum(gold)))
