"""A report as a page: its numbers, in words, tables and curves."""

from collections.abc import Sequence

import numpy as np

from diffmask_jax.analysis.bootstrap import Interval
from diffmask_jax.analysis.survival import Kept
from diffmask_jax.explaining import rivalry_table
from diffmask_jax.explaining.report import LEAST, Report, Turn
from diffmask_jax.explaining.rivals import Rivalry
from diffmask_jax.explaining.survey import Survey
from diffmask_jax.game.gates import GATES
from diffmask_jax.render import report_html
from diffmask_jax.render.charts import Axis, Bar, Level, Series, bar_table, line_chart
from diffmask_jax.render.layer_names import explained, some_of
from diffmask_jax.render.replay import instead
from diffmask_jax.render.report_html import Opened, Section
from diffmask_jax.render.text import shorten
from diffmask_jax.training.assessment import THRESHOLDED

OPENED = 20  # the texts that can be opened, or fewer:
CELLS = 60_000  # the most cells that they may have together, lest the page be too large
SUMMARY = 90  # terminal cells of a text's line
SHARES, NATS = Axis(1.0, percent=True), Axis(0.0, percent=False)
VERDICTS = {"good": "Yes", "not settled": "Not yet: it has not settled", "not good": "No"}


def page(report: Report, survey: Survey, rows: Sequence[str]) -> str:
    """The report, and some texts, evenly spread over the data, that can be opened."""
    subject, masks = report.subject, GATES[report.subject.gate].masks
    sections = [_verdict(report), _curves(report), _last_layers(report), _words(report)]
    sections += [_groups(report)] * bool(report.groups) + [_turned(report)]
    if report.rivalry is not None:
        sections.append(_rivalry(report.rivalry))
    cells = np.mean([explanation.keep.size for explanation in survey.explanations])
    count = int(np.clip(CELLS // cells, 1, OPENED))
    chosen = np.unique(np.linspace(0, report.texts - 1, min(count, report.texts)).astype(int))
    return report_html.page(
        f"Which {masks} the predictions need",
        f"{subject.run}: a probe trained to drop what {subject.model} can do without, at a "
        f"divergence of {subject.margin:g} nats; here on {report.texts} {subject.examples} "
        f"({subject.data}). A position is kept where its keep probability is above ½. Intervals "
        f"are 95% intervals of the mean (bootstrap over {subject.drawn}).",
        sections,
        f"{len(chosen)} {subject.examples}, evenly spread over the data",
        [_opened(survey, rows, number) for number in chosen.tolist()],
    )


def _verdict(report: Report) -> Section:
    verdict = report.assessment
    found = [(finding.holds, finding.says) for finding in verdict.findings]
    return Section(
        f"Is this probe good? {VERDICTS[verdict.answer]}.",
        f"Judged by what it did to these {report.subject.examples} ({THRESHOLDED}), and by how its "
        "training ended.",
        report_html.findings(found, verdict.advice),
    )


def _curves(report: Report) -> Section:
    layers = report.subject.layers

    def chart(title: str, note: str, interval: Interval, axis: Axis, level: Level | None) -> str:
        return line_chart(title, note, layers, [Series("mean", *interval)], axis, level)

    margin = Level("margin", report.subject.margin)
    title = report.subject.agreement.capitalize()
    charts = [
        chart("Masked", "share of dropped positions", report.masked, SHARES, None),
        chart("KL", "nats from the original prediction", report.divergence, NATS, margin),
        chart(title, "share of unchanged predictions", report.agreement, SHARES, None),
    ]
    for curve in report.scores:
        both = [
            Series("masked", np.array(curve.masked)),
            Series("whole texts", np.full(len(layers), curve.original)),
        ]
        axis = Axis(1.0 if curve.score.is_share else 0.0, curve.score.is_share)
        title = curve.score.title[:1].upper() + curve.score.title[1:]
        charts.append(line_chart(title, "against the gold labels", layers, both, axis))
    head = ["layer", "masked", "KL (nats)", report.subject.agreement]
    head += [
        f"{curve.score.title} ({curve.score.shown(curve.original)})" for curve in report.scores
    ]
    numbers = [
        [
            layer,
            _shown(report.masked, n, SHARES),
            _shown(report.divergence, n, NATS),
            _shown(report.agreement, n, SHARES),
            *(curve.score.shown(curve.masked[n]) for curve in report.scores),
        ]
        for n, layer in enumerate(layers)
    ]
    whole = "; scores of the whole texts in parentheses" if report.scores else ""
    table = report_html.listing(f"Means with their intervals{whole}", head, numbers)
    names = f"{explained(layers)}. " if explained(layers) else ""
    return Section(
        "Layer by layer",
        f"{names}What the model still answers once each layer's dropped positions are gone.",
        report_html.side_by_side("charts", charts) + report_html.folded("The numbers", table),
    )


def _last_layers(report: Report) -> Section:
    layers, total = report.subject.layers, max(sum(report.gone), 1)
    names = [f"at {layer}" for layer in layers] + ["never"]
    bars = [
        Bar(name, (str(count), f"{count / total:.1%}"), count / total)
        for name, count in zip(names, report.gone, strict=True)
    ]
    longest = max(bar.value for bar in bars)
    return Section(
        "At which layer words are dropped",
        "The first layer from which no layer keeps the word; a word is kept where any of its "
        "pieces is.",
        bar_table(
            "Words by the layer at which they are dropped",
            ["dropped", "words", "share"],
            bars,
            longest,
        ),
    )


def _words(report: Report) -> Section:
    if not report.longest:
        return Section("Words", f"No word is in {LEAST} {report.subject.drawn} or more.", "")
    tables = [
        _kept_table("Kept longest", report.longest, report),
        _kept_table("Dropped first", report.first, report),
    ]
    return Section(
        "Which words are kept longest, and which are dropped first",
        f"The expected number of layers (of {len(report.subject.layers)}) that keep a word, "
        f"ignoring case; only words in {LEAST} {report.subject.drawn} or more. They were picked "
        "for their means, which therefore overstate: trust the order, not single ranks.",
        report_html.side_by_side("tables", tables),
    )


def _groups(report: Report) -> Section:
    tables = [
        _kept_table(
            f"By {way}" if way != "special tokens" else "Words and special tokens", kept, report
        )
        for way, kept in report.groups.items()
    ]
    return Section(
        "Which groups of words are kept longest",
        f"The expected number of layers (of {len(report.subject.layers)}) that keep a word.",
        report_html.side_by_side("tables", tables),
    )


def _kept_table(caption: str, kept: Sequence[Kept], report: Report) -> str:
    longest = float(len(report.subject.layers))
    head = ["", "times", report.subject.drawn, "layers that keep it"]
    return bar_table(caption, head, [_kept_bar(one) for one in kept], longest)


def _kept_bar(kept: Kept) -> Bar:
    """The bar of a name, with its interval unless it occurs in a single text."""
    counts, mean = (str(kept.tokens), str(kept.texts)), f"{kept.mean:.2f}"
    if kept.texts == 1:
        return Bar(kept.name, (*counts, mean), kept.mean)
    interval = f"{mean} [{kept.low:.2f}, {kept.high:.2f}]"
    return Bar(kept.name, (*counts, interval), kept.mean, kept.low, kept.high)


def _turned(report: Report) -> Section:
    examples = report.subject.examples
    title = f"The prediction changes at some layer for {report.turned} of {report.texts} {examples}"
    if not report.turned:
        return Section(title, "", "")
    layers = len(report.subject.layers)
    more = f", the first {len(report.turns)} of them" if len(report.turns) < report.turned else ""
    markup = report_html.entries(
        [(_above(turn, layers), turn.text, _below(turn)) for turn in report.turns]
    )
    return Section(
        title,
        "Worst first, by the largest divergence of the layers at which the prediction "
        f"changes{more}.",
        report_html.folded(f"The {examples}", markup),
    )


def _above(turn: Turn, layers: int) -> str:
    return f"row {turn.row}, changes at {some_of(turn.layers, layers)}"


def _below(turn: Turn) -> str:
    after = f"with what layer {turn.worst} keeps, {turn.after}"
    return f"{turn.before}; {after}, KL {turn.divergence:z.3f} nats"


def _rivalry(rivalry: Rivalry) -> Section:
    tables = [
        report_html.listing(title, rivalry_table.HEAD, cells)
        for title, cells in rivalry_table.tables(rivalry).items()
    ]
    return Section(
        "Is it more faithful than other methods?",
        rivalry_table.explained(rivalry),
        report_html.side_by_side("tables", tables),
    )


def _opened(survey: Survey, rows: Sequence[str], number: int) -> Opened:
    explanation, last = survey.explanations[number], survey.answers[number][-1]
    answer = instead(last.line, explanation.answer.line)
    texts = shorten(" / ".join(explanation.texts), SUMMARY)
    return Opened(
        f"row {rows[number]}: {texts}",
        f"With only what the last layer keeps, the answer is {answer}.",
        explanation.heatmap(),
    )


def _shown(interval: Interval, layer: int, axis: Axis) -> str:
    mean, low, high = (axis.shown(part[layer]) for part in interval)
    return f"{mean} [{low}, {high}]" if np.isfinite(interval.low[layer]) else mean
