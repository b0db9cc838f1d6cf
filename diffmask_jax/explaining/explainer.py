"""Explaining texts with a trained probe: one forward pass gives the attributions of every layer."""

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from diffmask_jax.data.inputs import EncoderInputs
from diffmask_jax.data.texts import Text, halves_of, is_one, texts_in, texts_of
from diffmask_jax.data.wordpieces import Encoded, cut_to
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import answering, asked
from diffmask_jax.explaining.answering import Replies
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.explaining.explanations import Explanations
from diffmask_jax.explaining.replayed import replayed_of
from diffmask_jax.explaining.word import words_of
from diffmask_jax.models.answers import Answer
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.heads import REGRESSION
from diffmask_jax.runtime import devices
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.tensors import OVERFLOW, check_finite
from diffmask_jax.training import fingerprint, keeping, run_folder, setup
from diffmask_jax.training.assessment import Assessment
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.fingerprint import Fingerprint

BATCH = 32
READ_AHEAD = 64  # batches whose texts are sorted by length together


class Explainer:
    """A frozen classifier and its trained probe.

    Attributes:
        assessment: the verdict on the probe at the end of its training; None if unknown.
        doubt: why explanations by this probe are not to be trusted; None for a run's kept probe.
        pairs: whether it was trained on pairs of texts; None if unknown. Explanations of what it
            was not trained on say so (`Explanation.doubt`).

    Examples:
        >>> explainer = Explainer.from_pretrained("runs/sst-input")  # doctest: +SKIP
        >>> explainer("A fast , funny , highly enjoyable movie .")  # doctest: +SKIP
    """

    def __init__(
        self,
        config: RunConfig,
        model: Classifier,
        probe_params: Any,
        assessment: Assessment | None = None,
        doubt: str | None = None,
        pairs: bool | None = None,
    ) -> None:
        self.config = config
        self.assessment = assessment
        self.model = model
        self.doubt = doubt
        self.pairs = pairs
        self.game = setup.make_game(config, model.network, model.config.width)
        self._mesh = devices.data_mesh()
        self.params = devices.place((model.params, probe_params), self._mesh, devices.WHOLE)
        self._reply = devices.spread(answering.reply, self._mesh, self.game)
        self._replayed = devices.spread(answering.reply_and_replay, self._mesh, self.game)

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        model: str | Path | None = None,
        *,
        anyway: bool = False,
        last_probe: bool = False,
    ) -> "Explainer":
        """The kept probe of a run folder, on the model it was trained on.

        Args:
            run: the run's folder.
            model: where the model is now, if it was moved.
            anyway: accept a different model, if the probe fits it.
            last_probe: use the run's last probe even if it is not the one the run kept; every
                explanation then says so (`Explanation.doubt`).

        Raises:
            UserError: if the run or the model cannot be read, they do not fit together, or the run
                was made with another model.
        """
        keep_compiled_programs()
        folder = Path(os.path.expanduser(run))
        config = run_folder.load_config(folder)
        params, doubt = keeping.load(config, folder, last_probe)
        classifier = setup.load_model(config, model)
        if (scale := run_folder.load_scale(folder)) is not None:
            classifier = classifier.scaled(scale)
        elif classifier.head.scale is not None:
            raise UserError(
                f"there is no scale.json in {folder}, the scale of the outputs of "
                f"{classifier.path}: run the training command again to recreate it"
            )
        assessment = None if doubt else keeping.assessed(folder)
        pairs = fingerprint.pairs_in(folder)
        explainer = cls(config, classifier, params, assessment, doubt, pairs)
        if jax.tree.map(np.shape, params) != setup.probe_shapes(explainer.game, classifier):
            raise UserError(
                f"the probe in {folder} does not fit {classifier.path}: it is for another model"
            )
        fingerprint.check(folder, explainer.fingerprint, anyway)
        return explainer

    @functools.cached_property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of its model."""
        return fingerprint.of_model(self.model)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is an Iterable[str], but comes first
        self, texts: Text, *, truncate: bool = False, replay: bool = False, target: None = None
    ) -> Explanation: ...
    @overload
    def __call__(
        self,
        texts: Iterable[Text],
        *,
        truncate: bool = False,
        replay: bool = False,
        target: None = None,
    ) -> Explanations: ...
    @overload
    def __call__(
        self,
        *,
        question: str,
        passage: str,
        truncate: bool = False,
        replay: bool = False,
        target: None = None,
    ) -> Explanation: ...
    def __call__(
        self,
        texts: object = None,
        *,
        question: object = None,
        passage: object = None,
        truncate: bool = False,
        replay: bool = False,
        target: object = None,
    ) -> Explanation | Explanations:
        """Explain one text or pair, or many in batches.

        Args:
            texts: a str, a pair of them as a tuple, or any iterable of either: a list, a generator,
                an array, a pandas Series. For a model that answers questions, (question, passage)
                pairs.
            question: a question, with `passage`, instead of `texts`.
            passage: the passage that answers it.
            truncate: truncate a text that is too long for the model instead of refusing it; of a
                question and its passage, only the passage is truncated.
            replay: also run the model on only what is kept at each layer, which costs one more pass
                per layer.
            target: refused, with an explanation: other methods have targets, this one has none.

        Raises:
            UserError: for an empty text, one that is too long, or something that is not a text; for
                a question without its passage, or a question to a model that answers none; for a
                target.
        """
        asked.check_no_target(target)
        if question is not None or passage is not None:
            self.model.check_answers()
            texts = asked.question_pair(texts, question, passage)
        if is_one(texts):
            return self([texts], truncate=truncate, replay=replay)[0]
        read = texts_of(texts)
        return Explanations(self.explanations(read, self.model.encode(read, truncate), replay))

    def map(
        self,
        texts: Iterable[Text],
        *,
        batch_size: int = BATCH,
        truncate: bool = False,
        replay: bool = False,
        progress: bool = False,
    ) -> Iterator[Explanation]:
        """Explain any number of texts lazily and in order, in constant memory.

        Args:
            texts: any iterable that a call takes. It is read `READ_AHEAD` batches ahead, so that
                texts of similar length run together; explanations already yielded are not kept.
            batch_size: how many texts run at once.
            truncate: as in a call.
            replay: as in a call.
            progress: draw a progress bar.

        Raises:
            UserError: as a call does; at once if `texts` is not an iterable, but for a bad text
                only when its turn comes.
        """
        if type(batch_size) is not int or batch_size < 1:
            raise UserError(f"batch_size must be a whole number of 1 or more, not {batch_size!r}")
        read = texts_in(texts)  # refuses anything but an iterable of texts at once
        total = len(texts) if isinstance(texts, Sized) else None
        numbers = map(str, itertools.count(1))

        def mapped() -> Iterator[Explanation]:
            with tqdm(total=total, desc="explain", unit="text", disable=not progress) as bar:
                while portion := list(itertools.islice(read, READ_AHEAD * batch_size)):
                    rows = list(itertools.islice(numbers, len(portion)))
                    encoded = self.model.encode(portion, truncate, rows)
                    yield from self.explanations(portion, encoded, replay, bar.update, batch_size)

        return mapped()

    def explanations(
        self,
        texts: Sequence[Text],
        encoded: Sequence[Encoded],
        replay: bool = False,
        advance: Callable[[], object] = lambda: None,
        batch_size: int = BATCH,
    ) -> list[Explanation]:
        """The explanations of all texts, in order. advance: called after each."""
        found: dict[int, Explanation] = {}
        for index, explanation in self.stream(texts, encoded, replay, batch_size):
            found[index] = explanation
            advance()
        return [found[index] for index in range(len(texts))]

    def stream(
        self,
        texts: Sequence[Text],
        encoded: Sequence[Encoded],
        replay: bool = False,
        batch_size: int = BATCH,
    ) -> Iterator[tuple[int, Explanation]]:
        """(index, explanation) of every text, as soon as its batch is done."""
        for indices, replies in self.answered(encoded, replay, batch_size):
            for row, index in enumerate(indices.tolist()):
                yield index, self.explanation(texts[index], encoded[index], replies, row)

    def answered(
        self, encoded: Sequence[Encoded], replay: bool = False, batch_size: int = BATCH
    ) -> Iterator[tuple[Int[np.ndarray, " B"], Replies]]:
        """For each batch the indices of its texts, and the replies, whose first rows are theirs.

        Raises: UserError if a reply is not finite.
        """
        packs = self.model.network.packs and not replay  # a replay resumes from unpacked states
        size = batch_size if len(encoded) > 1 else 1
        positions = self.model.config.positions
        stream = answering.in_few_shapes(encoded, size, positions, self._mesh, packs)

        def ask(inputs: EncoderInputs) -> Replies:
            run = self._replayed if replay else self._reply
            told: Replies = jax.device_get(run(*self.params, inputs))
            check_finite(told, f"the outputs of {self.model.path} are not finite: {OVERFLOW}")
            return told

        return answering.text_by_text(stream, ask)

    def explanation(self, text: Text, encoded: Encoded, replies: Replies, row: int) -> Explanation:
        """The explanation of one text, from its row of a batch's replies."""
        model, head = self.model, self.model.head

        def answer(outputs: np.ndarray) -> Answer:
            return head.answer(model.labels, outputs, text, encoded)

        outputs = np.array(replies.outputs[row])
        if head.spans:
            outputs = outputs[: len(encoded.tokens)]  # without padding
        whole, replayed = answer(outputs), None
        if replies.replay is not None:
            numbers = head.problem_type == REGRESSION.problem_type
            replayed = replayed_of(replies.replay, row, whole, answer, numbers)
        return Explanation(
            texts=halves_of(text),
            tokens=encoded.tokens,
            shown=encoded.shown,
            offsets=encoded.offsets,
            parts=tuple(encoded.parts.tolist()),
            words=words_of(text, encoded),
            layers=model.network.layers,
            keep=np.array(replies.keep[:, row, : len(encoded.tokens)]),  # a view keeps its batch
            labels=model.labels,
            outputs=outputs,
            answer=whole,
            problem_type=head.problem_type,
            gate=self.config.gate,
            assessment=self.assessment,
            cut_to=cut_to(text, encoded, model.config.positions),
            doubt=self.doubt or asked.other_kind(text, self.pairs),
            replayed=replayed,
        )
