"""A real Chromium: no column of a table lies outside the page, on screens and on paper."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tfcells.report.page import write_report

CHROMIUM = shutil.which("chromium")
A4 = 718  # pixels between the margins that Chromium prints with

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
]

# How much wider each table and the page itself are than what can be seen of them.
HIDDEN = """
<script>
const parts = [...document.querySelectorAll('.wide'), document.documentElement];
const hidden = parts.map(part => part.scrollWidth - part.clientWidth);
document.title = JSON.stringify({hidden, width: document.documentElement.clientWidth});
</script>
"""


@pytest.fixture
def page(results, maps, tmp_path):
    """A report of candidates with long names, which may run a script."""
    for entry in [*results["probes"], results["best"]]:
        entry["taps"] = [f"block_{number}_expand_relu" for number in range(len(entry["taps"]) + 2)]
        entry |= {"pooling": "flatten, mean", "scaler": "minmax", "reduction": "pca:0.8", "probe": "linear_svm"}
    path = tmp_path / "report.html"
    write_report(path, results, hits=[], misses=[], doubted={}, maps=maps)
    text = re.sub(r"<meta http-equiv=[^>]*>", "", path.read_text(encoding="utf-8"))
    return text.replace("</body>", f"{HIDDEN}</body>")


def measured(text: str, folder: Path, *, width: int) -> dict:
    (folder / "measured.html").write_text(text, encoding="utf-8")
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    place = [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000", "--dump-dom"]
    dom = subprocess.run(
        [*words, *place, (folder / "measured.html").as_uri()], capture_output=True, check=True, timeout=120
    ).stdout.decode()
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S)[1]))


@pytest.mark.parametrize("width", [1000, 1300, 1600])
def test_no_column_is_lost_on_a_screen(page, tmp_path, width):
    found = measured(page, tmp_path, width=width)
    assert found["width"] == width
    assert len(found["hidden"]) >= 4
    assert max(found["hidden"]) <= 0


def test_no_column_is_lost_on_paper(page, tmp_path):
    assert page.count("@media print") == 1
    found = measured(page.replace("@media print", "@media all"), tmp_path, width=A4)
    assert max(found["hidden"]) <= 0
