"""Explanations as a page and within a study's report: maps beside pictures, their checks, what must not be trusted."""

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from tfcells.features.pieces import write_atomically
from tfcells.features.recipe import canonical_json
from tfcells.report.rendering import page_environment

_log = logging.getLogger(__name__)

# Comments cannot come from a name, whose `<` is escaped.
_SECTION: Final = re.compile(r"<!-- explained ([0-9a-f]{64}|nothing) -->\n(.*?)<!-- explained end -->", re.DOTALL)
_NOTHING: Final = "nothing"
_MARKS: Final = {"trustworthy": "", "undecided": "undecided", "untrustworthy": "wrong"}  # classes of the style sheet
_JUDGED: Final = 3
"""Changes with the rules by which maps are judged: verdicts by others must not be kept."""
_STALE: Final = (
    '<p class="soft">Explanations of an earlier state of this study stood here. Its features, its split, its best '
    "candidate, or the rules by which maps are judged are others now; <code>tfcells explain</code> makes new ones."
    "</p>\n"
)


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """What pages show.

    Attributes:
        facts: What `explain.json` holds; no number comes from elsewhere.
        pictures: Data URIs by image, and by method; the picture itself is `picture`.
        titles: What methods are called, by name.
    """

    facts: Mapping[str, Any]
    pictures: Mapping[str, Mapping[str, str]]
    titles: Mapping[str, str]

    def rendered(self, template: str) -> str:
        """A template with these explanations in it."""
        shown = [image for image in self.facts["images"] if image["shown"]]
        return (
            page_environment()
            .get_template(template)
            .render(facts=self.facts, images=shown, pictures=self.pictures, titles=self.titles, marks=_MARKS)
        )


def write_explanations(path: Path, explanations: Explanations) -> None:
    """Write one HTML file that loads nothing."""
    write_atomically(path, explanations.rendered("explanations.html.j2").encode("utf-8", "backslashreplace"))


def add_explanations(report: Path, explanations: Explanations, results: Mapping[str, Any]) -> bool:
    """Put explanations into a study's report, in the place of those of before.

    Args:
        report: `report.html` of the study.
        explanations: Of the study.
        results: What its `results.json` holds.

    Returns:
        Whether the report has a place for them: there may be none, or one of an older version.
    """
    text = report.read_text(encoding="utf-8") if report.is_file() else ""
    if not _SECTION.search(text):
        return False
    section = _marked(explanations.rendered("explained_section.html.j2"), of=identity_of(results))
    write_atomically(report, _SECTION.sub(lambda _: section, text, count=1).encode("utf-8", "backslashreplace"))
    return True


def kept_explanations(report: Path, results: Mapping[str, Any]) -> Markup:
    """The explanations in a report that is about to be written anew, if they are of what it will tell of.

    Explanations of other features, another split or another best candidate are left out, and those that were judged by
    other rules, which the page says.
    """
    found = _SECTION.search(report.read_text(encoding="utf-8")) if report.is_file() else None
    if found is None or found[1] == _NOTHING:
        return _marked("", of=_NOTHING)
    if found[1] == identity_of(results):
        return Markup(found[0])  # noqa: S704 - as it was rendered
    _log.warning(
        "report: its explanations are of other features, another split or candidate, or were judged by other rules, "
        "and are left out"
    )
    return _marked(_STALE, of=_NOTHING)


def identity_of(results: Mapping[str, Any]) -> str:
    """SHA-256 of what explanations of a study depend on: features, split, best candidate, and how maps are judged."""
    best = {name: results["best"][name] for name in ("taps", "scaler", "reduction", "probe", "parameters")}
    whole = {"store": results["store"]["digest"], "split": results["split"]["digest"], "best": best, "judged": _JUDGED}
    return hashlib.sha256(canonical_json(whole).encode()).hexdigest()


def _marked(section: str, *, of: str) -> Markup:
    return Markup(f"<!-- explained {of} -->\n{section}<!-- explained end -->")  # noqa: S704 - rendered, so escaped
