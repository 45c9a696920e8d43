"""A real headless Chromium, driven by chromedriver over its plain HTTP protocol (W3C WebDriver)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
MISSING = "" if CHROMIUM and CHROMEDRIVER else "chromium or chromedriver is not installed"

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Escape": "\ue00c", "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015", "Home": "\ue011"}
_PATIENCE = 60.0


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, page: Path) -> None:
        """Open a file, and wait until its script is through."""
        self.address(page.as_uri())
        self.wait("document.documentElement.dataset.ready === 'yes'")

    def address(self, url: str) -> None:
        """Go to an address, as when it is typed."""
        call("POST", f"{self._session}/url", {"url": url})

    def downloads(self, folder: Path) -> None:
        """Have what is downloaded in a folder."""
        self._devtools("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})

    def run(self, script: str, *arguments: object) -> Any:
        """Return what the body of a function returns when it is run in the page."""
        return call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        ends = time.monotonic() + _PATIENCE
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < ends, f"never came true: {condition}"
            time.sleep(0.02)

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of all elements that match."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector
        )
        return found

    def text(self, selector: str) -> str:
        """Return the visible text of the only element that matches."""
        (found,) = self.texts(selector)
        return found

    def click(self, selector: str) -> None:
        """Click as a person does: it must be there, in sight and not covered."""
        call("POST", f"{self._session}/element/{self._element(selector)}/click", {})

    def type(self, selector: str, *keys: str) -> None:
        """Type into an element; names of `KEYS` are those keys."""
        text = "".join(KEYS.get(key, key) for key in keys)
        call("POST", f"{self._session}/element/{self._element(selector)}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press a key, wherever the focus is."""
        value = KEYS.get(key, key)
        actions = [{"type": kind, "value": value} for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keyboard", "actions": actions})

    def point(self, selector: str, across: float, down: float) -> None:
        """Move the mouse over an element, to these shares of its width and height."""
        box = self.run(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.x, b.y, b.width, b.height]",
            selector,
        )
        x, y = round(box[0] + across * box[2]), round(box[1] + down * box[3])
        actions = [{"type": "pointerMove", "duration": 0, "x": x, "y": y}]
        self._act({"type": "pointer", "id": "mouse", "actions": actions})

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select."""
        self.click(f'{selector} option[value="{value}"]')

    def fit(self, width: int, height: int, *, dark: bool = False, still: bool = True, touch: bool = False) -> None:
        """Give the page a size, a colour scheme, a wish for stillness, and a finger or a mouse, whatever the window has."""
        self._devtools("Emulation.setTouchEmulationEnabled", {"enabled": touch})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme, motion]})

    def count_thread_time(self) -> None:
        """Start to count what `thread_seconds` tells."""
        self._devtools("Performance.enable", {})

    def thread_seconds(self) -> float:
        """Return how long the page's thread has been on a processor."""
        metrics = self._devtools("Performance.getMetrics", {})["metrics"]
        return next(float(one["value"]) for one in metrics if one["name"] == "ThreadTime")

    def logs(self) -> list[dict[str, Any]]:
        """Return what the browser's console has said since last asked."""
        found: list[dict[str, Any]] = call("POST", f"{self._session}/se/log", {"type": "browser"})
        return found

    def screenshot(self, path: Path) -> None:
        """Save what is in sight as a PNG."""
        path.write_bytes(base64.b64decode(call("GET", f"{self._session}/screenshot")))

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return call("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _element(self, selector: str) -> str:
        found = call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    def _act(self, source: dict[str, Any]) -> None:
        call("POST", f"{self._session}/actions", {"actions": [source]})


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Have a browser with an empty profile, which can reach no network."""
    assert CHROMIUM
    assert CHROMEDRIVER
    with subprocess.Popen(
        [CHROMEDRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        try:
            assert driver.stdout
            port = next(
                line.rsplit(maxsplit=1)[1].rstrip(".") for line in driver.stdout if "successfully on port" in line
            )
            arguments = [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                f"--user-data-dir={profile}",
            ]
            arguments += ["--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run", "--hide-scrollbars"]
            options = {"binary": CHROMIUM, "args": arguments}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            base = f"http://127.0.0.1:{port}/session"
            session = call("POST", base, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(f"{base}/{session}")
            finally:
                with suppress(OSError):
                    call("DELETE", f"{base}/{session}")
        finally:
            driver.terminate()


def call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    """Return the value of a WebDriver command's answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_PATIENCE) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            value = json.load(error)["value"]
        raise AssertionError(f"{value['error']}: {value['message'].splitlines()[0]}") from None
