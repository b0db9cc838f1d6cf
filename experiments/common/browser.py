"""A headless Chromium, controlled by Chrome's DevTools protocol.

Messages are JSON terminated by a zero byte, over two pipes: no port is opened, and nothing but the
browser need be installed.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from diffmask_jax.errors import UserError

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PATIENCE = 600.0  # seconds to wait for an answer on a busy machine
ARROWS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
KEYS = {"Tab": 9, "Enter": 13, " ": 32, **ARROWS}
"""Chromium's numbers of keys that have no letter."""

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--no-first-run", "--remote-debugging-pipe"),
)
_FRAME = "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"


class Look(NamedTuple):
    """How a page is shown.

    width, height: the size of the window, in CSS pixels
    scale: device pixels per CSS pixel
    dark: whether the reader prefers a dark theme
    script: whether pages may run scripts
    """

    width: int = 1000
    height: int = 800
    scale: float = 1.0
    dark: bool = False
    script: bool = True


@contextlib.contextmanager
def browser() -> Iterator["Browser"]:
    """A browser until the end of the block. Raises: UserError if there is no Chromium."""
    if CHROMIUM is None:
        raise UserError("there is no Chromium on this machine (Debian: apt-get install chromium)")
    (its_in, out), (back, its_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        # It reads from descriptor 3 and writes to 4, which a shell can arrange, but not Popen.
        shell = ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "bash"]
        command = [*shell, CHROMIUM, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        with subprocess.Popen(
            command,
            pass_fds=(its_in, its_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            os.close(its_in)
            os.close(its_out)
            try:
                yield Browser(out, back)
            finally:
                os.close(out)  # which ends the browser
                os.close(back)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()


class Browser:
    """One window, in which `open` shows a page.

    out, back: the pipes to the browser and back
    """

    def __init__(self, out: int, back: int) -> None:
        self._out, self._back = out, back
        self._number, self._rest, self._look = 0, b"", Look()
        self._events: list[str] = []
        self._session: dict[str, str] = {}
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        self.ask("Page.enable")
        self.ask("Performance.enable", timeDomain="threadTicks")

    def open(self, address: str, look: Look | None = None) -> None:
        """Show a page, and return once it is loaded and drawn."""
        self._look = look or Look()
        self._resize(self._look.height)
        theme = {"name": "prefers-color-scheme", "value": "dark" if self._look.dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="", features=[theme])
        self.ask("Emulation.setScriptExecutionDisabled", value=not self._look.script)
        self._go("about:blank")  # another place in the current page would not be a new page
        self._go(address)
        self._drawn()

    def see(self, script: str) -> Any:
        """Run the body of an async function in the page, and return its result."""
        return self.ask(
            "Runtime.evaluate",
            expression=f"(async () => {{ {script} }})()",
            awaitPromise=True,
            returnByValue=True,
        )["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after another, as a person would: they go to the focused element."""
        for key in keys:
            number = KEYS.get(key, ord(key[0].upper()))
            text = {"text": key} if len(key) == 1 else {}
            told = {"key": key, "code": key, "windowsVirtualKeyCode": number}
            self.ask("Input.dispatchKeyEvent", type="keyDown", **told, **text)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **told)
        self._drawn()

    def picture(self, most: int = 16_000) -> bytes:
        """The whole page as PNG, at most so many pixels high."""
        for _ in range(2):  # parts that become visible may be higher than estimated
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            self._resize(min(int(size["height"]), most))
            self._drawn()
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def paper(self) -> bytes:
        """The printed page, as PDF."""
        printed = self.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(printed["data"])

    def metrics(self) -> dict[str, float]:
        """Chromium's own counters of the page, such as LayoutDuration: CPU seconds, bytes."""
        found = self.ask("Performance.getMetrics")["metrics"]
        return {one["name"]: one["value"] for one in found}

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the protocol; returns its result. Raises: RuntimeError if it fails."""
        self._number += 1
        told = {"id": self._number, "method": method, "params": params, **self._session}
        self._write(json.dumps(told).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._events.append(answer.get("method", ""))
        if "error" in answer or "exceptionDetails" in answer["result"]:
            raise RuntimeError(f"{method}: {json.dumps(answer)[:2000]}")
        result: dict[str, Any] = answer["result"]
        return result

    def _go(self, address: str) -> None:
        self._events.clear()
        self.ask("Page.navigate", url=address)
        while "Page.loadEventFired" not in self._events:
            self._events.append(self._read().get("method", ""))

    def _resize(self, height: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=self._look.width,
            height=height,
            deviceScaleFactor=self._look.scale,
            mobile=False,
        )

    def _drawn(self) -> None:
        if self._look.script:
            self.see(f"await {_FRAME}")

    def _write(self, told: bytes) -> None:
        while told:
            told = told[os.write(self._out, told) :]

    def _read(self) -> dict[str, Any]:
        """The next message. Raises: RuntimeError if there is none."""
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], PATIENCE)
            more = os.read(self._back, 1 << 20) if ready else b""
            if not more:
                raise RuntimeError("the browser does not answer" if not ready else "it has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        read: dict[str, Any] = json.loads(message)
        return read
