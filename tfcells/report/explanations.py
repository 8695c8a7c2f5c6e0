"""A page of explanations: maps beside pictures, what was checked of them, and what must not be trusted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tfcells.names import visible
from tfcells.report.words import mean_words


def write_explanations(
    path: Path, facts: Mapping[str, Any], *, pictures: Mapping[str, Mapping[str, str]], titles: Mapping[str, str]
) -> None:
    """Write one HTML file that loads nothing.

    Args:
        path: The file.
        facts: What `explain.json` holds; no number comes from elsewhere.
        pictures: Data URIs by image, and by method; the picture itself is `picture`.
        titles: What methods are called, by name.
    """
    environment = Environment(
        loader=PackageLoader("tfcells.report", "."),
        autoescape=True,  # ids and class names come from whoever named the files
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = mean_words
    shown = [image for image in facts["images"] if image["shown"]]
    text = environment.get_template("explanations.html.j2").render(
        facts=facts, images=shown, pictures=pictures, titles=titles
    )
    path.write_text(text, encoding="utf-8")
