"""A study's configuration: YAML to frozen dataclasses; unknown keys and wrong types are errors."""

import dataclasses
import json
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from tfcells.errors import RequestError, UnknownNameError
from tfcells.finetune.settings import (
    HEAD,
    FinetuneSettings,
    LossSettings,
    NetworkSettings,
    PhaseSettings,
    TrainingSettings,
)

_T = TypeVar("_T")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*$")


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """What is looked at.

    Attributes:
        root: A folder, an `.npz` file, a `.csv` manifest, `tfds:<name>`, or an address such as `s3://bucket/cells`.
        groups: CSV file with the columns `id` and `group`; pictures of one group are never parted.
        class_names: Names for the numbers in an npz file's labels; for folders, the classes to expect.
        folds: Number of cross-validation folds.
        holdout: Share of the pictures kept aside until the end, whole groups, stratified; 0 for none.
        audit: Whether copies are looked for; pictures that are confirmed to be copies share a group.
    """

    root: str
    groups: Path | None = None
    class_names: tuple[str, ...] | None = None
    folds: int = 5
    holdout: float = 0.0
    audit: bool = True


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """What it is looked at with; see `tfcells.features.extract.Extraction`.

    Here the engine is TensorFlow in float32, which is what an export computes with; of another one no export is made.
    """

    name: str = "mobilenet_v2"
    weights: str = "imagenet"
    taps: tuple[str, ...] = ()
    pooling: str = "mean"
    size: int | None = None
    batch_size: int = 32
    dtype: str = "float32"
    handcrafted: tuple[str, ...] = ()
    engine: str = "tensorflow"
    precision: str = "float32"


@dataclass(frozen=True, kw_only=True)
class ProbesConfig:
    """What reads the features.

    Attributes:
        kinds: Names of probes.
        scalers: `none`, `minmax`, `standard`; each is tried.
        reductions: `none`, `pca:0.8` (a share of the variance), `pca:50` (a number of components); each is tried.
        grids: Values of parameters to choose among, by probe and parameter; the catalog's where one is missing.
        inner_folds: Folds within each training set over which all this is chosen; 0 chooses nothing.
        repeats: How often the nested choice is made, each time on other outer folds; joined to one estimate.
        concatenate: Whether all taps side by side are a candidate.
        workers: Processes; -1 for one per core. Results do not depend on it.
        memory: GiB for features or matrices in each process; what needs more is refused before it is read. Results
            do not depend on it.
    """

    kinds: tuple[str, ...] = ("logistic", "knn", "svm", "tree")
    scalers: tuple[str, ...] = ("standard",)
    reductions: tuple[str, ...] = ("none",)
    grids: Mapping[str, Mapping[str, tuple[int | float | str, ...]]] = field(default_factory=dict)
    inner_folds: int = 3
    repeats: int = 1
    concatenate: bool = True
    workers: int = -1
    memory: float = 1.5


@dataclass(frozen=True, kw_only=True)
class MapsConfig:
    """How maps are drawn.

    Attributes:
        perplexity: Of t-SNE; about how many neighbours count.
        max_rows: A larger table is mapped by a stratified sample of so many rows.
        thumbnail: Side of the Projector's thumbnails in pixels.
    """

    perplexity: float = 30.0
    max_rows: int = 5000
    thumbnail: int = 64


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """One study."""

    name: str
    images: ImagesConfig
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    probes: ProbesConfig = field(default_factory=ProbesConfig)
    maps: MapsConfig = field(default_factory=MapsConfig)
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        """The configuration as a JSON object."""
        return _as_json(self)


@dataclass(frozen=True, kw_only=True)
class TaughtImagesConfig:
    """What a network is taught with.

    Attributes:
        root, groups, class_names, audit: As in `ImagesConfig`.
        folds: 1 keeps one holdout aside that is asked once; more train as often, and every fold is asked once.
        holdout: Share of the pictures that is asked, where `folds` is 1.
        validation: Share of the pictures that the epoch is chosen by, taken from those that are not asked. With 0
            nothing is chosen: no phase ends early and the last epoch counts.
    """

    root: str
    groups: Path | None = None
    class_names: tuple[str, ...] | None = None
    audit: bool = True
    folds: int = 1
    holdout: float = 0.2
    validation: float = 0.08

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise RequestError(f"images.folds is {self.folds}. Expected 1 for one holdout, or 2 or more folds.")
        for name, share in (("holdout", self.holdout), ("validation", self.validation)):
            if not 0 <= share < 1 or (name == "holdout" and not share):
                least = "above 0" if name == "holdout" else "from 0"
                raise RequestError(f"images.{name} is {share:g}. Expected a share {least} to less than 1.")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One fine-tuning.

    Attributes:
        name: Of the study; the trained weights are called `<backbone>_<name>.weights.h5`.
        images: What it is taught and asked.
        network, phases, loss, training: See `tfcells.finetune.settings`.
        compare: Whether a probe on the frozen backbone is fitted on the same rows and asked the same.
        against: A store, or a study's folder, whose features are the frozen ones; they are extracted by default.
        seed: Of everything that is drawn.
    """

    name: str
    images: TaughtImagesConfig
    network: NetworkSettings = field(default_factory=NetworkSettings)
    phases: tuple[PhaseSettings, ...] = field(
        default_factory=lambda: (PhaseSettings(epochs=3, train=HEAD), PhaseSettings(epochs=12))
    )
    loss: LossSettings = field(default_factory=LossSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    compare: bool = False
    against: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not _FILE_NAME.match(self.name):
            raise RequestError(
                f"name is {self.name!r}. Expected letters, digits, dashes and underlines alone: weights are called so."
            )
        self.settings  # noqa: B018 - looks at the phases

    @property
    def settings(self) -> FinetuneSettings:
        """What training is asked for."""
        return FinetuneSettings(network=self.network, phases=self.phases, loss=self.loss, training=self.training)

    def as_json(self) -> dict[str, Any]:
        """The configuration as a JSON object."""
        return _as_json(self)


def read_config(path: str | Path, overrides: Mapping[str, str] | None = None) -> StudyConfig:
    """Read a YAML file.

    Args:
        path: The file. `name` defaults to its stem.
        overrides: Values by dotted key, e.g. `{"images.root": "cells"}`, as YAML text; they win over the file.

    Raises:
        RequestError: If the file cannot be read, a needed key is missing or a value has the wrong type.
        UnknownNameError: If a key is unknown; suggests the nearest.
    """
    return parse_config(_read(Path(path), overrides))


def read_finetune_config(path: str | Path, overrides: Mapping[str, str] | None = None) -> FinetuneConfig:
    """Read the YAML file of a fine-tuning; see `read_config`.

    Args:
        path: The file. `name` defaults to its stem.
        overrides: Likewise; a phase is named by its number from 1, e.g. `{"phases.1.epochs": "3"}`.

    Raises:
        RequestError, UnknownNameError: As for `read_config`.
    """
    return parse_finetune_config(_read(Path(path), overrides))


def _as_json(config: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return plain


def _read(path: Path, overrides: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        raw = _load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise RequestError(f"Config {path} cannot be read: {fault}.") from fault
    except _NOT_YAML as fault:
        raise RequestError(f"Config {path} is not YAML: {' '.join(str(fault).split())}") from fault
    if not isinstance(raw, dict):
        raise RequestError(
            f"Config {path} holds {type(raw).__name__}. Expected keys such as `images:` and `backbone:`."
        )
    for key, text in (overrides or {}).items():
        _set(raw, key.split("."), _override(text), key)
    return {"name": path.stem, **raw}


def parse_config(raw: Mapping[str, Any]) -> StudyConfig:
    """Turn plain dicts into a `StudyConfig`; errors as for `read_config`."""
    return _build(StudyConfig, raw, "")


def parse_finetune_config(raw: Mapping[str, Any]) -> FinetuneConfig:
    """Turn plain dicts into a `FinetuneConfig`; errors as for `read_config`."""
    return _build(FinetuneConfig, raw, "")


class _Loader(yaml.SafeLoader):
    """YAML whose numbers look like numbers, and whose keys come once.

    YAML 1.1, which PyYAML reads, also takes 2024_01, 010 and 12:30 for whole numbers and 2024-01-15 for a date, but
    not 1e-3 for a number; a folder or a class may be called so.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} comes twice", node.start_mark)
        return super().construct_mapping(node, deep)


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag not in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}timestamp")]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"^(0|-?[1-9][0-9]*)$"), list("-0123456789"))
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(r"^[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)
_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)  # the latter for thousands of digits and of brackets


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def _override(text: str) -> object:
    """A value from the command line: numbers, true, null, [lists] and "quoted text" as in YAML, else as it stands."""
    # Not parsed unless it must be: a path may hold what YAML takes for a comment, a key or an anchor.
    tag = _Loader("").resolve(yaml.ScalarNode, text.strip(), (True, False))  # type: ignore[no-untyped-call]
    if tag == f"{_TAG}str" and not text.startswith(("[", "'", '"')):
        return text
    try:
        return _load_yaml(text)
    except _NOT_YAML:
        return text


def _set(raw: dict[str, Any], path: Sequence[str], value: object, key: str) -> None:
    for place, name in enumerate(path[:-1]):
        inner = raw.setdefault(name, {})
        if isinstance(inner, list) and all(isinstance(entry, dict) for entry in inner):
            number = path[place + 1]
            if not (number.isdecimal() and 1 <= int(number) <= len(inner)) or place + 2 == len(path):
                raise RequestError(
                    f"--{key}: {name} is a list of {len(inner)} in the config. Expected --{name}.N.FIELD with N from "
                    f"1 to {len(inner)}."
                )
            _set(inner[int(number) - 1], path[place + 2 :], value, key)
            return
        if not isinstance(inner, dict):
            raise RequestError(f"--{key}: {name} is {inner!r} in the config. Expected a section with keys.")
        raw = inner
    raw[path[-1]] = value


def _build(kind: type[_T], raw: object, prefix: str) -> _T:
    hints = get_type_hints(kind)
    if not isinstance(raw, Mapping):
        raise RequestError(f"Config section {prefix or '(top)'} is {raw!r}. Expected the keys {', '.join(hints)}.")
    for key in raw:
        if key not in hints:
            raise UnknownNameError(f"config key{f' in {prefix}' if prefix else ''}", str(key), hints)
    values = {key: _value(hints[key], value, _join(prefix, key)) for key, value in raw.items()}
    for part in dataclasses.fields(kind):  # type: ignore[arg-type]
        needed = part.default is dataclasses.MISSING and part.default_factory is dataclasses.MISSING
        key = _join(prefix, part.name)
        if needed and part.name not in values:
            if dataclasses.is_dataclass(hints[part.name]):
                values[part.name] = _build(hints[part.name], {}, key)  # names the key that is missing inside
            else:
                raise RequestError(f"Config key {key} is missing. Give it in the file, or as --{key} VALUE.")
    return kind(**values)


def _value(kind: Any, value: object, key: str) -> object:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, key)  # type: ignore[arg-type]
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [part for part in get_args(kind) if part is not type(None)]
        if value is None and len(kinds) < len(get_args(kind)):
            return None
        return _value(kinds[0], value, key) if len(kinds) == 1 else _one_of(kinds, value, key)
    if get_origin(kind) is tuple:
        entries = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_value(get_args(kind)[0], entry, key) for entry in entries)
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise RequestError(f"Config key {key} is {value!r}. Expected names, each with its values.")
        return {str(name): _value(get_args(kind)[1], entry, _join(key, name)) for name, entry in value.items()}
    return _plain(kind, value, key)


def _plain(kind: type, value: object, key: str) -> object:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = number if kind is float else isinstance(value, kind)
    if kind is str and number and isinstance(value, int):
        return str(value)  # a class named 1, a folder named 2024; 1.10 would come back as 1.1
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not fits or (kind is int and isinstance(value, bool)):
        quotes = "; put it in quotes" if kind is str and isinstance(value, (bool, float)) else ""
        raise RequestError(f"Config key {key} is {value!r}. Expected {_words(kind)}{quotes}.")
    return float(value) if kind is float else value  # type: ignore[arg-type]


def _one_of(kinds: Sequence[type], value: object, key: str) -> object:
    if type(value) not in kinds:
        raise RequestError(f"Config key {key} is {value!r}. Expected {' or '.join(map(_words, kinds))}.")
    return value


def _words(kind: type) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return names.get(kind, kind.__name__)


def _join(prefix: str, key: object) -> str:
    return f"{prefix}.{key}" if prefix else str(key)
