"""The report: `results.json`, figures and pictures as one HTML file that loads nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from markupsafe import Markup

from tfcells.backbones.seen import seen_words
from tfcells.backbones.weights import model_card
from tfcells.features.pieces import write_atomically
from tfcells.report.explanations import kept_explanations
from tfcells.report.figures import (
    plot_abstention,
    plot_candidates,
    plot_class_counts,
    plot_confusion,
    plot_learning,
    plot_reliability,
    plot_roc,
    plot_thresholds,
)
from tfcells.report.rendering import page_environment, png_uri, reduced_uri, svg
from tfcells.report.words import UNDECIDED, percent, points, title_of

_MOSAIC_WIDTH: Final = 1800
_SHOWN_QUARANTINE: Final = 50


@runtime_checkable
class ExamplePicture(Protocol):
    """A picture with what it is and what was said of it."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def truth(self) -> str: ...  # noqa: D102
    @property
    def predicted(self) -> str: ...  # noqa: D102
    @property
    def confidence(self) -> float: ...  # noqa: D102
    @property
    def picture(self) -> str: ...  # noqa: D102


def write_report(
    path: Path,
    results: Mapping[str, Any],
    *,
    hits: Sequence[ExamplePicture],
    misses: Sequence[ExamplePicture],
    doubted: Mapping[str, str],
    maps: Path,
) -> None:
    """Write the page.

    Args:
        path: The HTML file. Explanations in the one that was there are kept if they are of the same results.
        results: What `results.json` holds; no number comes from elsewhere.
        hits: The surest right answers.
        misses: The surest wrong ones.
        doubted: Data URIs of rows of the review list, by id; rows without a picture are not shown.
        maps: Folder with `<method>/map.png` and `<method>/mosaic.png`.
    """
    environment = page_environment()
    environment.filters["handcrafted_words"] = handcrafted_words
    text = environment.get_template("page.html.j2").render(
        results=results,
        card=model_card(results["backbone"]["sha256"]),
        title_of=title_of,
        undecided=UNDECIDED,
        verdict=verdict(results),
        warnings=warnings(results),
        figures=_figures(results),
        maps={method: _map_pictures(maps / method) for method in ("tsne", "pca") if (maps / method).is_dir()},
        hits=hits,
        misses=misses,
        doubted=doubted,
        shown_quarantine=_SHOWN_QUARANTINE,
        explained=kept_explanations(path, results),
    )
    # A folder's name may be no text.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def verdict(results: Mapping[str, Any]) -> str:
    """The study in two or three sentences."""
    best, split, colour = results["best"], results["split"], best_baseline(results)
    text = (
        f"{' + '.join(best['taps'])} of {results['backbone']['name']} ({results['backbone']['weights']}), read by "
        f"{best['probe']}, tells {len(results['confusion']['classes'])} classes apart with "
        f"{percent(best['balanced_accuracy'])} balanced accuracy on {split['train']:,} images in "
        f"{split['train_groups']:,} groups. "
    )
    if results["selection"] is not None and len(results["probes"]) > 1:
        text += (
            f"Being the best of {len(results['probes'])} flatters it; chosen anew in every fold, "
            f"{percent(results['selection']['balanced_accuracy'])} are to be expected of new images. "
        )
    if colour is not None:
        text += f"{handcrafted_words(colour).capitalize()} alone reach {percent(colour['balanced_accuracy'])}. "
    tied = sum(entry["tied_with_best"] for entry in results["probes"]) - 1
    if tied:
        return text + f"{tied} other candidate{'s' if tied > 1 else ''} cannot be told from it."
    return text + ("Every other candidate is distinguishably worse." if len(results["probes"]) > 1 else "")


def best_baseline(results: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The strongest reading of colour statistics or other hand-made features, or None if there is none."""
    made = [entry for entry in results["baselines"] if entry["taps"]]
    return max(made, key=lambda entry: float(entry["balanced_accuracy"]["value"]), default=None)


def handcrafted_words(entry: Mapping[str, Any]) -> str:
    """What a person calls the hand-made features of a baseline."""
    (name,) = entry["taps"]
    return "colour statistics" if name == "colour" else f"hand-made {name} features"


def warnings(results: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = []
    if results["backbone"]["weights"] == "none":
        found.append(
            "Random weights. This backbone has never seen a picture (weights: none, batch norm calibrated): its "
            "numbers say what an untrained network gives, not what a pretrained one would."
        )
    seen = seen_words(results["backbone"]["seen"], weights=results["backbone"]["weights"])
    if seen is not None:
        found.append(seen)
    data = results["data"]
    if data["quarantined"]:
        found.append(f"{len(data['quarantined']):,} files were quarantined; they are named below.")
    for name, reason in data["left_out"].items():
        found.append(f"Class {name} is left out of the probes: {reason}.")
    found += [f"{difference[0].upper()}{difference[1:]}." for difference in results["split"]["unlike_asked"]]
    found += _trust_warnings(results)
    colour = best_baseline(results)
    if colour is not None and colour["tied_with_best"]:
        alone = "colour" if colour["taps"] == ["colour"] else "what hand-made features see"
        found.append(
            f"{title_of(colour)} cannot be told from the best candidate: what is measured may be {alone} alone."
        )
    elif colour is not None and colour["best_minus_this"]["difference"]["value"] < 0:
        found.append(f"{title_of(colour)} is distinguishably better than every layer: the network adds nothing here.")
    if results["data"]["groups"] == results["data"]["images"]:
        found.append(
            "Every image is its own group: if several show the same cell, field or patient, the numbers are too good. "
            "Give a groups file to keep such images together."
        )
    best = results["best"]
    if best["balanced_accuracy"]["high"] - best["balanced_accuracy"]["low"] > 0.15:
        found.append("The interval of the best candidate is wider than 15 points: too few images to rank candidates.")
    return found


def _trust_warnings(results: Mapping[str, Any]) -> list[str]:
    """What the audit, the shortcut probes and the leak tax have to say."""
    found = []
    for cue in results["shortcuts"]["cues"]:
        if cue["warns"]:
            share = ""
            if cue["share"]:
                share = (
                    f", at least {percent(cue['share'])} of what the features tell above chance (a lower bound: a "
                    "stronger reader may find more)"
                )
            found.append(
                f"Shortcut: {cue['cue']} alone tells classes apart with {percent(cue['balanced_accuracy'])} balanced "
                f"accuracy{share}. It is no part of the cell: what is measured may be how images were made."
            )
    audit = results["audit"]
    if audit is not None and audit["label_conflicts"]:
        count = len(audit["label_conflicts"])
        found.append(
            f"{count:,} group{'s' if count > 1 else ''} of copies hold{'' if count > 1 else 's'} more than one class; "
            "see audit/audit.json."
        )
    leak = results["leak_tax"]
    if leak["tax"] is not None and leak["tax"]["low"] > 0:
        found.append(
            f"Leak tax: folds that part groups would have shown {points(leak['tax'])} points more accuracy. Numbers "
            "here are those of whole groups."
        )
    return found


def _figures(results: Mapping[str, Any]) -> dict[str, Markup]:
    confusion = results["confusion"]
    figures = {
        "classes": plot_class_counts(results["data"]["classes"], results["data"]["left_out"]),
        "candidates": plot_candidates(results["probes"], results["baselines"]),
        "confusion": plot_confusion(confusion["counts"], confusion["classes"], title="Cross-validated"),
    }
    if results["holdout"] is not None:
        held = results["holdout"]["confusion"]
        figures["holdout"] = plot_confusion(held["counts"], held["classes"], title="Holdout")
    told = results["probabilities"]
    figures["reliability"] = plot_reliability(told["calibration"]["bins"])
    figures["abstention"] = plot_abstention(told["abstention"]["curve"])
    figures["roc"] = plot_roc(told["auc"]["classes"])
    figures["thresholds"] = plot_thresholds(told["auc"]["classes"])
    if results["learning_curve"] is not None:
        figures["learning"] = plot_learning(results["learning_curve"])
    return {name: svg(figure) for name, figure in figures.items()}


def _map_pictures(folder: Path) -> dict[str, str]:
    pictures = {"map": png_uri(folder / "map.png")}
    if (folder / "mosaic.png").is_file():
        pictures["mosaic"] = reduced_uri(folder / "mosaic.png", width=_MOSAIC_WIDTH)
    return pictures
