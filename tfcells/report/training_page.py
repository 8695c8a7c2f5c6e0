"""The report of a fine-tuning: `finetune.json`, figures and pictures as one HTML file that loads nothing."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from markupsafe import Markup, escape

from tfcells.backbones.seen import seen_words
from tfcells.features.pieces import write_atomically
from tfcells.report.figures import plot_class_counts, plot_confusion
from tfcells.report.page import ExamplePicture
from tfcells.report.rendering import page_environment, reduced_uri, svg
from tfcells.report.training_figures import plot_drift, plot_training
from tfcells.report.training_words import (
    chance_words,
    family_words,
    frozen_choice_words,
    lone_class_words,
    parity_words,
    unfair_frozen_words,
)
from tfcells.report.words import counted, percent, points

_SHEET_WIDTH: Final = 1200
_SHEET_HEIGHT: Final = 6000
_SHOWN_QUARANTINE: Final = 50
_WIDE: Final = 0.15  # an interval beyond which a number says little
_MOST_NAMED: Final = 40  # classes that a table of counts can hold


def write_training_report(
    path: Path, results: Mapping[str, Any], *, misses: Sequence[ExamplePicture], sheets: Sequence[Path]
) -> None:
    """Write the page.

    Args:
        path: The HTML file, in the folder of the fine-tuning.
        results: What `finetune.json` holds; no number comes from elsewhere.
        misses: The surest wrong answers.
        sheets: Contact sheets of the augmentation, as PNG files; the first is shown.
    """
    environment = page_environment()
    environment.filters |= {"phase_words": phase_words, "minutes": minutes_words, "parity_words": parity_words}
    text = environment.get_template("training.html.j2").render(
        results=results,
        verdict=verdict(results),
        warnings=warnings(results),
        figures=_figures(results),
        curves={fold["fold"]: _curve(fold) for fold in results["folds"]},
        sheet=reduced_uri(sheets[0], width=_SHEET_WIDTH, height=_SHEET_HEIGHT) if sheets else None,
        misses=misses,
        looked_at=looked_at(results["folds"][0]),
        frozen_choice=frozen_choice_words(results),
        commands=commands(results, path.parent),
        config=config_words(results["config"]),
        shown_quarantine=_SHOWN_QUARANTINE,
    )
    # A folder's name may be no text.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def verdict(results: Mapping[str, Any]) -> str:
    """The fine-tuning in two or three sentences."""
    network, folds, asked = results["folds"][0]["network"], results["folds"], results["asked"]
    begun = "from nothing" if network["weights"] == "none" else f"from {network['weights']} weights"
    once = len(folds) == 1
    text = (
        f"{network['name']}, taught {begun}, tells {len(results['confusion']['classes'])} classes apart with "
        f"{percent(results['accuracy'])} accuracy on {asked['images']:,} images in {asked['groups']:,} groups that "
        f"{_what_they_are(folds[0], once=once)}. "
    )
    text += "".join(f"{words} " for words in (chance_words(results), family_words(results)) if words is not None)
    comparison = results["comparison"]
    if comparison is None:
        return text + "It was not compared with frozen features; that is asked for by compare: true."
    gain, frozen = comparison["gain"]["accuracy"], comparison["frozen"]
    return text + (
        f"Frozen features read by {frozen['probe']} reach {percent(frozen['accuracy'])} on the same images: "
        f"fine-tuning {_gained(gain)} for {minutes_words(comparison['minutes']['fine_tuned'])} of training."
    )


def _what_they_are(fold: Mapping[str, Any], *, once: bool) -> str:
    chose = "neither taught it nor chose its epoch" if fold["rows"]["validation"] else "did not teach it"
    return chose if once else f"{chose}, each asked by the one of several networks that had not learned from it"


def _gained(gain: Mapping[str, Any]) -> str:
    difference = gain["difference"]
    if difference["low"] <= 0 <= difference["high"]:
        return f"cannot be told from them ({points(difference)} points)"
    if difference["value"] > 0:
        return f"gained {points(difference)} points"
    # The loss as positive numbers, from the smaller to the larger.
    turned = {"value": -difference["value"], "low": -difference["high"], "high": -difference["low"]}
    return f"lost {points(turned).replace('+', '')} points"


def warnings(results: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the numbers."""
    data, folds, found = results["data"], results["folds"], []
    if data["quarantined"]:
        found.append(f"{len(data['quarantined']):,} files were quarantined, each with its name and reason.")
    found += [f"Class {name} is left out: {reason}." for name, reason in data["left_out"].items()]
    found += [f"{difference[0].upper()}{difference[1:]}." for difference in results["split"]["unlike_asked"]]
    if data["groups"] == data["images"]:
        found.append(
            "Every image is its own group: if several show the same cell, field or patient, the numbers are too good. "
            "Give a groups file, or let images.audit find copies."
        )
    audit = results["audit"]
    if audit is not None and audit["label_conflicts"]:
        found.append(f"Groups of copies that hold more than one class: {len(audit['label_conflicts']):,}.")
    if results["accuracy"]["high"] - results["accuracy"]["low"] > _WIDE:
        found.append(
            f"The interval of the accuracy is wider than {100 * _WIDE:.0f} points: {results['asked']['groups']:,} "
            "groups were asked, too few to say more."
        )
    found += [words for words in (lone_class_words(results),) if words is not None]
    for fold in folds:
        found += _warnings_of(fold, results["config"]["phases"], "" if len(folds) == 1 else f" in fold {fold['fold']}")
    if results["comparison"] is not None:
        found += _warnings_of_comparison(results)
    return found


def _warnings_of_comparison(results: Mapping[str, Any]) -> list[str]:
    """What speaks against the gain: frozen features that did better, or that knew the answers."""
    unfair = unfair_frozen_words(results)
    if unfair is not None:
        return [unfair]  # by features that were taught the asked images nothing is shown to be worse
    if results["comparison"]["gain"]["accuracy"]["difference"]["high"] < 0:
        return ["The frozen features are distinguishably better: this fine-tuning made the network worse."]
    return []


def _warnings_of(fold: Mapping[str, Any], phases: Sequence[Mapping[str, Any]], where: str) -> list[str]:
    found = [
        f"Precision fell from {entry['from']} to {entry['to']}{where} in phase {entry['phase']}, epoch "
        f"{entry['epoch']}: {entry['reason']}."
        for entry in fold["fallbacks"]
    ]
    asked = f"images that were asked{where}"
    seen = seen_words(fold["seen"], weights=fold["network"]["weights"], images=asked)
    found += [] if seen is None else [seen]
    last = fold["curve"][-1]
    if fold["best"] is None:
        found.append(f"No epoch was better than the weights that were begun with{where}: nothing was learned.")
    elif (
        fold["rows"]["validation"]
        and (fold["best"]["phase"], fold["best"]["epoch"]) == (last["phase"], last["epoch"])
        # At the end of a cosine nothing learns any more: that the last epoch is the best is no sign that it could.
        and phases[last["phase"] - 1]["schedule"] == "constant"
    ):
        found.append(f"The last epoch was the best{where}: more epochs may do better.")
    return found


def looked_at(fold: Mapping[str, Any]) -> str:
    """What the rows are called that were looked at after every epoch."""
    return "validation" if fold["rows"]["validation"] else "held-out"


def phase_words(phase: Mapping[str, Any], *, backbone: bool) -> str:
    """A phase of training in words.

    Args:
        phase: Of the configuration.
        backbone: Whether the network has a backbone with a rate of its own.
    """
    train = phase["train"]
    trained = {"head": "the head alone", "all": "all layers"}.get(train)
    if trained is None:
        count = train.removeprefix("last:")
        trained = f"everything from layer {train} on"
        if count != train:
            trained = f"the last {count + ' blocks' if count != '1' else 'block'} and the head"
    rates = f"the head at {phase['head_rate']:.2g}"
    if not backbone:
        rates = f"all at {phase['head_rate']:.2g}"
    elif train != "head":
        rates = f"the backbone at {phase['body_rate']:.2g}, {rates}"
    rates += "".join(f", from {name} on at {rate:.2g}" for name, rate in phase["rates"].items())
    optimiser = {"adamw": "AdamW", "sgd": "SGD with Nesterov momentum"}[phase["optimiser"]]
    steps = [f"{optimiser}, weight decay {phase['weight_decay']:.2g}"]
    if phase["clip_norm"]:
        steps.append(f"gradients clipped to a norm of {phase['clip_norm']:.2g}")
    if phase["accumulate"] > 1:
        steps.append(f"gradients of {phase['accumulate']} batches averaged")
    after = "falling to zero along a cosine" if phase["schedule"] == "cosine" else "constant"
    warmup = "1 epoch" if phase["warmup"] == 1 else f"{phase['warmup']:g} epochs"
    rising = f"rising over {warmup}, then {after}" if phase["warmup"] else after
    epochs = f"{phase['epochs']} epochs at most" if phase["epochs"] > 1 else "1 epoch"
    return f"{epochs}: {trained} ({rates}; {rising}). {'; '.join(steps)}."


def minutes_words(minutes: float | None) -> str:
    """A time a person can read."""
    if minutes is None:
        return "not known"
    return counted(round(60 * minutes), "second") if minutes < 2 else f"{minutes:.1f} minutes"


def config_words(config: Mapping[str, Any]) -> Markup:
    """A configuration as YAML, which writes control characters as escapes itself and keeps its lines."""
    return escape(yaml.safe_dump(config, sort_keys=False, allow_unicode=False))


def commands(results: Mapping[str, Any], out: Path) -> dict[str, str]:
    """Command lines that do the same in any folder, quoted for a shell: to use the weights, to look closer, to make all
    of it again.

    Beside them `file`, the weights as Python writes their path.
    """
    fold, network = results["folds"][0], results["folds"][0]["network"]
    out = out.absolute()
    place = out if len(results["folds"]) == 1 else out / f"fold-{fold['fold']}"
    file = place / fold["weights"]["file"]
    again = ["tfcells", "finetune", str(out / "config.json")]
    found = {
        "file": repr(str(file)),
        "tensorboard": shlex.join(["tensorboard", "--logdir", str(place / "tensorboard")]),
        "projector": shlex.join(["tensorboard", "--logdir", str(place / "projector")]),
        "again": shlex.join([*again, *_from_anywhere(results["config"]), "--out", f"{out}-again"]),
    }
    name, weights, size = network["name"], str(file), str(network["size"])
    if network["backbone"]:
        further = ["--network.name", name, "--network.weights", weights, "--network.size", size]
        found["further"] = shlex.join(["tfcells", "finetune", "CONFIG", *further])
    if network["catalog"]:
        study = ["--backbone.name", name, "--backbone.weights", weights, "--backbone.size", size]
        extraction = ["--backbone", name, "--weights", weights, "--size", size]
        found["study"] = shlex.join(["tfcells", "run", "CONFIG", *study])
        found["extract"] = shlex.join(["tfcells", "extract", "DIR", *extraction, "--out", "STORE"])
    return found


def _from_anywhere(config: Mapping[str, Any]) -> list[str]:
    """Overrides for what a configuration names relative to the folder that it was asked in, which is this one."""
    images, weights = config["images"], config["network"]["weights"]
    named = {
        "images.root": images["root"],
        "images.groups": images["groups"],
        "network.weights": weights if Path(weights).is_file() else None,  # else a name, whatever folder is called so
        "against": config["against"],
    }
    relative = {key: Path(name) for key, name in named.items() if name is not None and not Path(name).is_absolute()}
    # An address is no path: what is one is there.
    return [word for key, path in relative.items() if path.exists() for word in (f"--{key}", str(path.absolute()))]


def _figures(results: Mapping[str, Any]) -> dict[str, Markup | None]:
    confusion = results["confusion"]
    counts = results["data"]["classes"]
    drifts = {fold["fold"]: fold["drift"]["cka"] for fold in results["folds"] if fold["drift"] is not None}
    figures = {
        "confusion": plot_confusion(confusion["counts"], confusion["classes"], title="Asked rows"),
        "classes": plot_class_counts(counts, results["data"]["left_out"]) if len(counts) <= _MOST_NAMED else None,
        "drift": plot_drift(drifts) if drifts else None,
    }
    return {name: None if figure is None else svg(figure) for name, figure in figures.items()}


def _curve(fold: Mapping[str, Any]) -> Markup:
    return svg(plot_training(fold["curve"], best=fold["best"], looked_at=looked_at(fold)))
