"""Takes the pictures of pages and of the terminal in the README and the guide.

    python -m experiments.screenshots --run RUN --texts FILE [--model MODEL] [--demo PAGE]
        [--out docs/images]

They show the page of one text (in both themes, wide and 400 pixels narrow), the report on a file,
and the output of `diffmask explain` in a terminal of 80 columns; with --model also a short tour,
with --demo the page that `make demo` made. Chromium draws them. Cost: two minutes on two CPU cores,
and the minutes of the tour.
"""

import argparse
import io
import shlex
import sys
import tempfile
from pathlib import Path

from PIL import Image

from diffmask_jax import cli
from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import make_folder, write_atomically
from experiments.common.browser import Browser, Look, browser
from experiments.common.command import command, parser_of
from experiments.screenshots import terminal

TEXT = "I had to look away - this was god awful."
LINES = ("--layers", "--replay")
HIGHEST = 1300  # pixels: the height of a page that a picture shows


@command("screenshots", goes_on=False)
def main() -> None:
    """Read the command line, make the pages, and take the pictures."""
    parser = parser_of("screenshots", __doc__)
    add = parser.add_argument
    add("--run", required=True, type=Path, help="folder made by `diffmask train`")
    add("--texts", required=True, type=Path, help="texts for the report, labelled or not")
    add("--text", default=TEXT, help=f"text of the page (default: {TEXT})")
    add("--layer", default="3", help="layer that the page shows (default: 3)")
    add("--model", help="a classifier to take a tour of, too")
    add("--steps", default="300", help="training steps of the tour (default: 300)")
    add("--demo", type=Path, help="a page made by `make demo`, to be drawn, too")
    add("--out", type=Path, default=Path("docs/images"), help="folder for the pictures")
    options = parser.parse_args()
    with browser() as eye:
        make_folder(options.out)
        with tempfile.TemporaryDirectory() as folder:
            take(options, eye, Path(folder))


def take(options: argparse.Namespace, eye: Browser, folder: Path) -> None:
    """Take all pictures. folder: for the files that they show."""
    page, report = folder / "page.html", folder / "report.html"
    _diffmask("explain", options.run, options.text, "--html", page)
    _diffmask("report", options.run, "--texts", options.texts, "--out", report)
    at = f"#layer={options.layer}"
    _take(eye, options.out / "page.png", page, Look(scale=1.5), at)
    _take(eye, options.out / "page_dark.png", page, Look(dark=True), at)
    _take(eye, options.out / "page_narrow.png", page, Look(400, scale=1.5), "#view=dropped")
    _take(eye, options.out / "report.png", report, Look(1100))
    if options.demo is not None:
        _take(eye, options.out / "demo.png", options.demo, Look())
    run = options.run.resolve()
    _say(eye, options.out / "terminal.png", run.parent, "explain", run.name, options.text, *LINES)
    if options.model is not None:
        texts, model = options.texts.resolve(), Path(options.model).resolve()
        words: list[str | Path] = ["tour", model, "--texts", texts, "--steps", options.steps]
        _say(eye, options.out / "tour.png", folder, *words)


def _diffmask(*words: str | Path) -> None:
    if cli.main([str(word) for word in words]):
        raise UserError(f"`diffmask {words[0]}` has failed")


def _take(eye: Browser, picture: Path, page: Path, look: Look, place: str = "") -> None:
    """Take a picture of the upper part of a page, opened at a place."""
    eye.open(page.resolve().as_uri() + place, look)
    drawn = Image.open(io.BytesIO(eye.picture(HIGHEST))).convert("RGB")
    # A third of the bytes, and every pixel within a fortieth of its colour.
    shown = drawn.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    shown.save(file, "PNG", optimize=True)
    write_atomically(picture, file.getvalue())
    print(f"{picture}: {shown.width} x {shown.height}, {len(file.getvalue()) / 1000:.0f} kB")


def _say(eye: Browser, picture: Path, folder: Path, *words: str | Path) -> None:
    """Take a picture of a terminal in which `diffmask` is run in a folder."""
    command = [str(word) for word in words]
    said = terminal.typed([str(Path(sys.executable).with_name("diffmask")), *command], folder)
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "terminal.html"
        prompt = f"$ {shlex.join(['diffmask', *command])}"
        page.write_text(terminal.page(f"{prompt}\n{said}"), encoding="utf-8")
        _take(eye, picture, page, Look(720, 100, scale=1.5))


if __name__ == "__main__":
    main()
