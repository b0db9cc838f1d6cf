"""The kinds of heads and labels, as transformers names them; the last has no name there.

Without the heads themselves, since tasks and options name them before JAX is imported.
"""

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"
QUESTION_ANSWERING = "question_answering"

CLASSIFICATIONS = (SINGLE_LABEL, MULTI_LABEL)
OF_TEXTS = (*CLASSIFICATIONS, REGRESSION)

SPAN_OUTPUTS = ("start", "end")
"""The names of the outputs of a network that answers questions, whatever its checkpoint says."""
