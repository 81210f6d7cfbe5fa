"""A page in a real browser: what it shows at a given width, and what it asks of the network.

The page stands in a frame of another page that measures it, because it has no script of its own (and must not
have one).
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from http_server import LocalServer, QuietHandler, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARY = shutil.which("chromium") or shutil.which("google-chrome")
MISSING = "no chromium on this machine: dev/chromium.sh installs one"
_HANGS_SECONDS = 120
_HARNESS = Path(__file__).with_suffix(".html")


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page."""

    width: int
    """Pixels that it takes; wider than the frame means that it has to be moved sideways."""
    outside: list[str]
    """Elements that stand out of the frame."""
    collisions: list[str]
    """Pairs of words in a picture that cover each other."""
    smallest: float
    """Pixels of the smallest text."""
    headings: list[str]
    text: str
    scripts: int
    hacked: bool
    """Whether anything set `window.hacked`, in the page or above it."""
    colours: dict[str, str]
    """Of the body: background and text, as the browser computed them."""
    requests: list[str]
    """Paths that were asked for beside the page itself."""


def look(page: str, width: int, *, dark: bool = False) -> Seen:
    """Open a page in a frame of this width."""
    assert BINARY, MISSING
    with _served({"/page": page, "/": _HARNESS.read_text().replace("WIDTH", str(width))}) as (url, asked):
        found = _chromium(["--dump-dom"], url, dark=dark)
    said = re.search(r'<pre id="seen">(.*?)</pre>', found, re.DOTALL)
    assert said, f"the page did not load: {found[:500]}"
    seen: dict[str, Any] = json.loads(html.unescape(said[1]))
    others = [path for path in asked if path not in ("/", "/page", "/favicon.ico")]
    return Seen(**seen, requests=others)


def screenshot(page: str, width: int, height: int, file: Path, *, dark: bool = False) -> None:
    """A picture of the upper `height` pixels, for people."""
    frame = f'<body style="margin:0"><iframe src="/page" style="width:{width}px;height:{height}px;border:0">'
    with _served({"/page": page, "/": frame}) as (url, _):
        _chromium([f"--screenshot={file}", f"--window-size={width},{height}"], url, dark=dark)


def _chromium(options: list[str], url: str, *, dark: bool) -> str:
    assert BINARY, MISSING
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [
            BINARY, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run",
            f"--user-data-dir={profile}", *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            *options, url,
        ]  # fmt: skip
        environ = {**os.environ, "no_proxy": "127.0.0.1", "HOME": profile}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_HANGS_SECONDS, env=environ, check=True
        )
    return done.stdout


@contextlib.contextmanager
def _served(pages: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The pages on an address of this machine, and the paths that are asked for."""
    asked: list[str] = []

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = pages.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((content or "").encode())

    with answering(LocalServer(Handler)) as server:
        yield f"{server.address}/", asked
