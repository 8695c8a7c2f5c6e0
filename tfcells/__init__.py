"""tfcells: from a folder of cell images to honest numbers, a map you can walk, and a served model.

The public names below are loaded on first use, so that `import tfcells` costs nothing and loads no TensorFlow.
"""

import importlib
from typing import Any

_HOME = {
    "Cluster": "tfcells.features.cluster",
    "DamageError": "tfcells.errors",
    "Extraction": "tfcells.features.extract",
    "FeatureStore": "tfcells.features.store",
    "FeatureTable": "tfcells.features.table",
    "FinetuneConfig": "tfcells.config",
    "GramPCA": "tfcells.probes.gram",
    "ImageTable": "tfcells.images.table",
    "RequestError": "tfcells.errors",
    "ServedModel": "tfcells.serving.export",
    "Space": "tfcells.probes.reading",
    "Split": "tfcells.images.splits",
    "StudyConfig": "tfcells.config",
    "TfcellsError": "tfcells.errors",
    "audit": "tfcells.images.audit",
    "audit_images": "tfcells.steps.audit",
    "bench": "tfcells.features.bench",
    "build_projector": "tfcells.steps.maps",
    "cut": "tfcells.backbones.cut",
    "cut_backbone": "tfcells.backbones.cut",
    "draw_cell": "tfcells.images.synthetic.cells",
    "draw_map": "tfcells.steps.maps",
    "export_run": "tfcells.steps.reexport",
    "extract": "tfcells.features.extract",
    "list_layers": "tfcells.backbones.cut",
    "open_backbone": "tfcells.backbones.open",
    "open_source": "tfcells.steps.pictures",
    "parse_config": "tfcells.config",
    "plan_extraction": "tfcells.features.extract",
    "predict_folder": "tfcells.serving.predict",
    "probe_layers": "tfcells.probes.sweep",
    "probe_store": "tfcells.steps.probe",
    "read_config": "tfcells.config",
    "read_finetune_config": "tfcells.config",
    "read_images": "tfcells.images.readers",
    "run_demo": "tfcells.demo",
    "run_finetune": "tfcells.steps.finetune",
    "run_study": "tfcells.study",
    "split_table": "tfcells.images.splits",
    "verify_store": "tfcells.steps.verify",
    "write_split_files": "tfcells.steps.split",
    "write_sample_folder": "tfcells.images.synthetic.folder",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tfcells' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
