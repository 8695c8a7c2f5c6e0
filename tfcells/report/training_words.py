"""What a fine-tuning's numbers rest on, in words: the same ones on the page and on the terminal."""

from collections.abc import Mapping
from typing import Any

from tfcells.report.words import percent


def family_words(results: Mapping[str, Any]) -> str | None:
    """Who was told the families; None where all classes compete."""
    if results["families"] is None:
        return None
    told = "The network was" if results["comparison"] is None else "The network and the frozen probe were both"
    return f"{told} told the family of every image that was asked: classes competed inside their family alone."


def lone_class_words(results: Mapping[str, Any]) -> str | None:
    """Families of one class, whose images nobody who is told the family can get wrong; None where there is none."""
    lone = [] if results["families"] is None else results["families"]["of_one_class"]
    if not lone:
        return None
    named = ", ".join(f"{entry['family']} ({entry['class']}, {entry['asked']:,} images)" for entry in lone)
    free, asked = sum(entry["asked"] for entry in lone), results["asked"]["images"]
    return (
        f"Right by construction: {free:,} of the {asked:,} images that were asked belong to families of one class "
        f"alone, which were told: {named}. They lift every number."
    )


def unfair_frozen_words(results: Mapping[str, Any]) -> str | None:
    """That the frozen features had seen more of the asked images than the weights that were fine-tuned; None where
    that is not known of them."""
    frozen = results["comparison"]["frozen"]
    seen = 0 if frozen["seen"] is None else frozen["seen"]["images"]
    ours = sum(fold["seen"]["images"] for fold in results["folds"] if fold["seen"] is not None)
    if seen <= ours:
        return None
    return (
        f"The frozen features are of the weights {frozen['store']['weights']['name']}, which have seen {seen:,} of "
        f"these {frozen['seen']['of']:,} images that were asked in their own training, and the network that was "
        f"fine-tuned began with weights that have seen {ours or 'none'}: what the frozen features reach is better than "
        "on new images, and the gain over them is too small. Compare with features of weights that have not seen these."
    )


def parity_words(parity: Mapping[str, Any]) -> str:
    """How the answers in a mixed precision differ from those of the same weights in float32."""
    return (
        f"{100 * parity['agreement']:.1f} % of {parity['images']:,} asked images get the same answer from the same "
        f"weights in float32; logits differ by {parity['max_difference']:.2g} at most "
        f"({100 * parity['relative_difference']:.2g} % of their standard deviation), and their cosine is "
        f"{parity['cosine']:.4f} or more"
    )


def frozen_choice_words(results: Mapping[str, Any]) -> str | None:
    """The rows that the layer of the frozen probe was chosen on; None where there was no such probe."""
    if results["comparison"] is None:
        return None
    if results["folds"][0]["rows"]["validation"]:
        return "the rows that chose the epoch"
    counts = [f"{entry['chosen_on']:,}" for entry in results["comparison"]["frozen"]["chosen"]]
    return (
        f"{' and '.join(dict.fromkeys(counts))} of the rows that taught, kept back for that alone, since no rows chose "
        "an epoch"
    )


def chance_words(results: Mapping[str, Any]) -> str | None:
    """That a fine-tuning is not better than chance; None where the interval of its balanced accuracy says it is."""
    found, chance = results["balanced_accuracy"], results["chance"]
    if found["low"] > chance:
        return None
    standing = "is below" if found["high"] < chance else "cannot be told from"
    return f"Its balanced accuracy, {percent(found)}, {standing} chance, {100 * chance:.1f}\u00a0%."
