"""The generator as a tensorflow-datasets builder, `tfcells_smears`; the only file here that imports TensorFlow."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfcells.errors import RequestError
from tfcells.images.synthetic.cells import HEIGHT, WIDTH
from tfcells.images.synthetic.folder import PLAN, picture_of
from tfcells.images.synthetic.plant import Plants, plan_entries
from tfcells.images.synthetic.recipes import CLASSES
from tfcells.images.synthetic.stain import OTHER_SITE, PBC_LIKE


@dataclass(eq=False, kw_only=True)
class SmearsConfig(tfds.core.BuilderConfig):
    """What to generate. Not frozen, because its base class is not.

    Args:
        name: Name under which the data set is kept; by default it is made of the numbers below, so that two
            different requests never share a folder.
        images_per_class: Originals per class.
        seed: Number of the collection; not negative.
        copies: Augmented copies added; they share the `group` of their original.
        other_site: Share of the originals, 0 to 1, that come from another laboratory.

    Raises:
        RequestError: A number is out of its range.
    """

    name: str = ""
    images_per_class: int = 20
    seed: int = 0
    copies: int = 0
    other_site: float = 0.0

    def __post_init__(self) -> None:
        if self.images_per_class < 1 or self.seed < 0:
            raise RequestError(
                f"images_per_class is {self.images_per_class} and seed is {self.seed}. "
                "Expected 1 or more, and 0 or more."
            )
        plants = self.plants
        if not self.name:
            plain = plants.copies == 0 and plants.other_site == 0
            extra = "" if plain else f"_copies{plants.copies}_other{plants.other_site:g}"
            self.name = f"n{self.images_per_class}_seed{self.seed}{extra}"

    @property
    def plants(self) -> Plants:
        """What is planted, checked."""
        return Plants(copies=self.copies, other_site=self.other_site)


class TfcellsSmears(tfds.core.GeneratorBasedBuilder):
    """Generated blood smears of eight classes with their true groups and sites; needs no network."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 - the base class reads it as a plain attribute
    BUILDER_CONFIGS = [SmearsConfig(), SmearsConfig(images_per_class=200)]  # noqa: RUF012

    # tensorflow-datasets 4.9.10 looks this up through importlib_resources, which it does not require and which may
    # be missing; the answer is this file.
    code_path = Path(__file__)

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            description="Procedurally generated blood smears; see tfcells.images.synthetic.",
            features=tfds.features.FeaturesDict(
                {
                    # PNG, so that the pixels are those that were drawn.
                    "image": tfds.features.Image(shape=(HEIGHT, WIDTH, 3), dtype=np.uint8, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(CLASSES)),
                    "group": tfds.features.Text(),
                    "site": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        entries = plan_entries(
            config.plants,
            classes=CLASSES,
            images_per_class=config.images_per_class,
            rng=np.random.default_rng([config.seed, PLAN]),
        )
        for number, entry in enumerate(entries):
            picture, _ = picture_of(entry, seed=config.seed)
            yield (
                f"{number:06d}",
                {
                    "image": picture,
                    "label": entry.filed,
                    "group": f"{entry.group:06d}",
                    "site": (OTHER_SITE if entry.elsewhere else PBC_LIKE).name,
                },
            )
