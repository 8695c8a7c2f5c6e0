"""A real TensorBoard, a real Chromium: what a person sees is what was written, and nothing leaves the machine."""

import base64
import io
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import websocket
from PIL import Image

from tfcells.maps.projector import write_projector

ROWS, CELL = 37, 16
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
]

# The page is Angular around Polymer elements: what it shows lies in nested shadow roots.
TEXT_OF_PAGE = """
(() => {
  const texts = [];
  const visit = (node) => {
    if (node.shadowRoot) visit(node.shadowRoot);
    if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
    if (node.tagName === 'IFRAME' && node.contentDocument) visit(node.contentDocument);
    for (const child of node.childNodes) visit(child);
  };
  visit(document);
  return texts.join(' ').replace(/\\s+/g, ' ');
})()
"""


@pytest.fixture(scope="module")
def thumbnails() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS, CELL, CELL, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tensorboard(tmp_path_factory: pytest.TempPathFactory, thumbnails: np.ndarray) -> Iterator[str]:
    logdir = tmp_path_factory.mktemp("projector")
    points = np.random.default_rng(1).normal(size=(ROWS, 5))
    columns = {"label": ["a", "b"] * 18 + ["a"], "id": [f"cell {row}" for row in range(ROWS)]}
    write_projector(logdir, coordinates={"pca": points, "tsne": points[:, :2]}, columns=columns, thumbnails=thumbnails)
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1"]
    server = subprocess.Popen([*command, "--port", str(port), "--load_fast=false"], stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/data/plugin/projector/runs", seconds=90)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture(scope="module")
def visit(tensorboard: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """What the browser showed and asked for while it looked at the Projector."""
    profile, port = tmp_path_factory.mktemp("profile"), free_port()
    browser = start_chromium(profile, port)
    try:
        wait_for(f"http://127.0.0.1:{port}/json/version", seconds=60)
        yield look_at(f"{tensorboard}/#projector", port)
    finally:
        browser.terminate()
        browser.wait(timeout=20)


def test_the_number_of_points_is_the_number_of_rows(visit: dict) -> None:
    assert f"Points: {ROWS}" in visit["text"]
    assert "Dimension: 5" in visit["text"]


def test_both_tensors_are_offered(visit: dict) -> None:
    assert "2 tensors found" in visit["text"]


def test_no_request_leaves_the_machine(visit: dict) -> None:
    hosts = {urlsplit(url).hostname for url in visit["requests"] if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}


def test_a_sprite_cell_as_the_browser_got_it_is_the_thumbnail_of_its_row(visit: dict, thumbnails: np.ndarray) -> None:
    sprite = np.asarray(Image.open(io.BytesIO(visit["sprite"])))
    grid = sprite.shape[0] // CELL
    for row in (0, 7, ROWS - 1):
        top, left = row // grid * CELL, row % grid * CELL
        np.testing.assert_array_equal(sprite[top : top + CELL, left : left + CELL], thumbnails[row])


def test_the_page_raised_no_error(visit: dict) -> None:
    assert visit["errors"] == []


def look_at(url: str, port: int) -> dict:
    page = next(target for target in get_json(f"http://127.0.0.1:{port}/json") if target["type"] == "page")
    devtools = DevTools(page["webSocketDebuggerUrl"])
    for domain in ("Network", "Page", "Runtime"):
        devtools.call(f"{domain}.enable")
    devtools.call("Page.navigate", url=url)
    deadline, text = time.monotonic() + 90, ""
    while f"Points: {ROWS}" not in text and time.monotonic() < deadline:
        devtools.listen(1.0)
        text = devtools.call("Runtime.evaluate", expression=TEXT_OF_PAGE)["result"]["value"]
    devtools.listen(3.0)
    sprite = next(id for id, asked in devtools.requests.items() if "sprite_image" in asked)
    body = devtools.call("Network.getResponseBody", requestId=sprite)
    devtools.close()
    return {
        "text": text,
        "requests": list(devtools.requests.values()),
        "errors": devtools.errors,
        "sprite": base64.b64decode(body["body"]) if body["base64Encoded"] else body["body"].encode("latin-1"),
    }


class DevTools:
    """Chromium's DevTools protocol over a websocket, as far as this test needs it."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._number = 0
        self.requests: dict[str, str] = {}
        self.errors: list[str] = []

    def call(self, method: str, **parameters: object) -> dict:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                return message["result"]
            self._note(message)

    def listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                self._note(json.loads(self._socket.recv()))
            except websocket.WebSocketTimeoutException:
                break
        self._socket.settimeout(60)

    def close(self) -> None:
        self._socket.close()

    def _note(self, message: dict) -> None:
        if message.get("method") == "Network.requestWillBeSent":
            self.requests[message["params"]["requestId"]] = message["params"]["request"]["url"]
        if message.get("method") == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))


def start_chromium(profile: Path, port: int) -> subprocess.Popen:
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
    place = [f"--user-data-dir={profile}", f"--remote-debugging-port={port}", "--window-size=1500,950", "about:blank"]
    return subprocess.Popen([*command, *place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            get_json(url)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def get_json(url: str):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())
