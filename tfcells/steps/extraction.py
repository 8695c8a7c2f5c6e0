"""The part of a study's configuration that makes features."""

from tfcells.config import StudyConfig
from tfcells.features.extract import Extraction


def extraction_of(config: StudyConfig) -> Extraction:
    """Return it as the request that `extract` takes."""
    return Extraction(
        backbone=config.backbone.name,
        weights=config.backbone.weights,
        taps=config.backbone.taps,
        pooling=config.backbone.pooling,
        size=config.backbone.size,
        batch_size=config.backbone.batch_size,
        dtype=config.backbone.dtype,
        engine=config.backbone.engine,
        precision=config.backbone.precision,
        seed=config.seed,
        handcrafted=config.backbone.handcrafted,
    )
