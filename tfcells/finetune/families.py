"""Families of classes: `family/class` competes inside its family alone, so what tells families apart is not asked for.

A family is a laboratory, a stain or a collection that names its own classes: `pbc/lymphocyte` and `chula/lymphocyte`
are told apart from the other cells of their own collection, never from one another.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.special import softmax

from tfcells.arrays import Probabilities
from tfcells.errors import RequestError

SEPARATOR: Final = "/"

FamilyMask = Bool[np.ndarray, "classes classes"]
"""Whether the class of a column competes with the class of a row; symmetric, True on the diagonal."""


def family_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """The family of each class: what stands before the first slash.

    Raises:
        RequestError: If a class names no family.
    """
    bare = [name for name in class_names if SEPARATOR not in name]
    if bare:
        raise RequestError(
            f"Class {bare[0]!r} names no family ({len(bare)} of {len(class_names)} classes do not). Expected "
            "`family/class` for every class, such as 'pbc/lymphocyte', or loss.families = false."
        )
    return tuple(name.partition(SEPARATOR)[0] for name in class_names)


def lone_classes(class_names: tuple[str, ...]) -> dict[str, str]:
    """Families that have one class alone, with that class: told the family, nobody can be wrong about it.

    Raises:
        RequestError: If a class names no family.
    """
    families = family_names(class_names)
    return {family: name for family, name in zip(families, class_names, strict=True) if families.count(family) == 1}


def family_mask(class_names: tuple[str, ...]) -> FamilyMask:
    """Which classes compete: those of one family."""
    families = np.array(family_names(class_names))
    mask: FamilyMask = families[:, None] == families[None, :]
    return mask


def probabilities(
    logits: Float32[np.ndarray, "images classes"], *, competing: Bool[np.ndarray, "images classes"] | None = None
) -> Probabilities:
    """Logits to probabilities, by the same softmax as the loss.

    Args:
        logits: float32 (images, classes).
        competing: For each image the classes that compete; all of them by default. Of labelled images under
            families it is `family_mask(class_names)[labels]`.

    Returns:
        float64 (images, classes); rows sum to one, classes that do not compete have exactly zero.
    """
    values: Float[np.ndarray, "images classes"] = logits.astype(np.float64)
    if competing is not None:
        values = np.where(competing, values, -np.inf)
    answer: Probabilities = softmax(values, axis=1)
    return answer


def within_families(chances: Probabilities, *, competing: Bool[np.ndarray, "images classes"]) -> Probabilities:
    """Class probabilities of one who is told the family: of the classes that compete, made to sum to one.

    Of the softmax of logits it is `probabilities(logits, competing=competing)`, so that a network and a probe that are
    told the same are read alike.

    Args:
        chances: float64 (images, classes).
        competing: For each image the classes that compete, one or more.

    Returns:
        float64 (images, classes); even among the classes that compete where all of them had probability zero.
    """
    kept = np.where(competing, chances, 0.0)
    total = kept.sum(axis=1, keepdims=True)
    even = competing / competing.sum(axis=1, keepdims=True)
    answer: Probabilities = np.where(total > 0, kept / np.where(total > 0, total, 1.0), even)
    return answer
