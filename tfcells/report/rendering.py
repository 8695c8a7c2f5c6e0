"""How pages are made: one environment for all templates, figures and pictures as text inside the page."""

import base64
import io
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from tfcells.names import visible
from tfcells.report.words import counted, difference_words, mean_words, percent, points, probability, read_by

_JPEG_QUALITY: Final = 85


def page_environment() -> Environment:
    """Where templates of this package are found, and what they may call."""
    environment = Environment(
        loader=PackageLoader("tfcells.report", "."),
        autoescape=True,  # ids and class names come from whoever named the files
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "bare_percent": lambda share: f"{100 * share:.1f}\u00a0%",
        "points": points,
        "probability": probability,
        "number": mean_words,
        "difference": difference_words,
        "count": "{:,}".format,
        "counted": counted,
        "read_by": read_by,
    }
    return environment


def svg(figure: Figure) -> Markup:
    """Inline SVG: sharp at any zoom, and its text can be searched."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    # A fixed salt and no date: the same results give the same page, byte for byte.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tfcells", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704 - matplotlib escapes the text it draws


def png_uri(path: Path) -> str:
    """A PNG file as it is, as a data URI."""
    return data_uri(path.read_bytes(), "png")


def reduced_uri(path: Path, *, width: int, height: int | None = None) -> str:
    """A picture as a JPEG data URI, made to fit into so many pixels where it is larger."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((width, height or width))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return data_uri(buffer.getvalue(), "jpeg")


def data_uri(data: bytes, kind: str) -> str:
    """An encoded picture inside the page."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _shown(value: object) -> object:
    """What a page shows of a value: of texts the visible characters, drawn figures (`Markup`) as they are."""
    return visible(value) if type(value) is str else value
