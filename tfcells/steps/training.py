"""One training of a fine-tuning: from rows to a network that was asked, and what is left of it on disk."""

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from tfcells.arrays import Probabilities
from tfcells.backbones.catalog import BACKBONES
from tfcells.backbones.seen import SeenPictures, list_beside, write_seen
from tfcells.backbones.weights import file_digest
from tfcells.config import FinetuneConfig
from tfcells.features.pieces import write_atomically
from tfcells.features.recipe import images_of
from tfcells.finetune.contact_sheet import draw_contact_sheet, png_of, some_of_each_class
from tfcells.finetune.determinism import deterministic
from tfcells.finetune.draws import count_batches
from tfcells.finetune.examples import faults_by_name
from tfcells.finetune.journal import Journal
from tfcells.finetune.networks import Network
from tfcells.finetune.phases import check_phase
from tfcells.finetune.pictures import Pictures
from tfcells.finetune.precision import precision_parity, resolve_precision
from tfcells.finetune.table_examples import TableExamples
from tfcells.finetune.train import FLOAT32, EpochSeen, Trained, train
from tfcells.finetune.trainee import NetworkTrainee, build_trainee, replicas_of_host
from tfcells.images.thumbnails import read_thumbnails
from tfcells.progress import Progress
from tfcells.report.figures import plot_confusion
from tfcells.report.training_figures import plot_training
from tfcells.steps.embeddings import Embeddings, project_epochs, sampled_places
from tfcells.steps.layer_drift import ROWS as DRIFT_ROWS
from tfcells.steps.layer_drift import layer_drift
from tfcells.steps.maps import stratified_sample
from tfcells.steps.seen import seen_by, seen_count, warn_of_seen
from tfcells.steps.taught import Taught, TaughtFold

CHECKPOINTS: Final = "checkpoints"
CONTACT_SHEET: Final = "contact_sheet.png"
_PICTURES: Final = 24  # shown with their answers after every epoch
_PICTURE_SIDE: Final = 96
_COMPARED: Final = 64  # asked rows whose answers are compared with float32's
PACKAGES: Final = ("albumentations", "keras", "numpy", "opencv-python-headless", "tensorflow")
"""Whose versions the course of a training depends on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TaughtNetwork:
    """A network that was trained and asked.

    Attributes:
        facts: What `finetune.json` says of it.
        probabilities: float64 of shape (asked, classes): its answers.
        minutes: That training took, looking at the validation rows included.
        size: Side of its input in pixels.
    """

    facts: dict[str, Any]
    probabilities: Probabilities
    minutes: float
    size: int


def teach(
    config: FinetuneConfig, taught: Taught, fold: TaughtFold, *, folder: Path, progress: Progress
) -> TaughtNetwork:
    """Train on the rows of a fold, ask the network, and leave its files in a folder.

    Raises:
        RequestError: If it cannot be trained as asked.
        StaleStoreError: If the folder holds another training.
        DamageError: If a picture cannot be read any more, or the loss is no number.
    """
    settings, precision = config.settings, resolve_precision(config.training.precision)
    folder.mkdir(parents=True, exist_ok=True)
    build, examples, network = _prepared(config, taught, fold, precision)
    before = _seen_before(config, network)
    known = seen_count(before, taught.digests_of(fold.asked))
    warn_of_seen(known, weights=network.weights, images="images that will be asked")  # before hours of training
    journal, embeddings = _journal(taught, fold, folder), _embeddings(taught, fold, folder, seed=config.seed)

    def watch(seen: EpochSeen) -> None:
        journal.write(seen)
        embeddings.write(seen)

    # Answers by the same operations as in training: the same bits every time, and nothing is traced for them again.
    with faults_by_name(), deterministic():
        _show_augmentation(config, taught, fold, examples, folder)
        trained = train(
            build,
            examples,
            settings,
            precision=precision,
            folder=folder / CHECKPOINTS,
            recipe=_recipe(config, taught, fold, network, precision),
            choose=bool(len(fold.validation)),
            watch=watch,
            progress=progress,
        )
        trainee = cast(NetworkTrainee, trained.trainee)  # it is what `build` made
        answers = _asked(trainee, examples, taught, fold.asked)
        watched = _asked(trainee, examples, taught, fold.watched)
        parity = _parity(trainee, examples, taught, fold, seed=config.seed)
    weights = trainee.write_weights(folder, name=config.name)
    before = _seen_before(config, network)
    write_seen(
        list_beside(weights), SeenPictures.of(taught.digests_of(fold.learning)) | (before or SeenPictures.of(()))
    )
    _draw_curve(trained, config, fold, folder)
    _project(taught, fold, embeddings, watched, folder)
    facts = {
        **_facts(trained, fold),
        "network": _network_json(network),
        "precision": {"asked": config.training.precision, "begun": precision, "ended": trained.precision},
        "parity": parity,
        "weights": {"file": str(weights.relative_to(folder)), "sha256": file_digest(weights)},
        "seen": known,
        "drift": _drift(config, taught, fold, weights, network, folder, progress),
    }
    return TaughtNetwork(facts=facts, probabilities=answers, minutes=facts["minutes"], size=network.size)


def _seen_before(config: FinetuneConfig, network: Network) -> SeenPictures | None:
    """What the weights that training began with have seen; None where no list says so."""
    if network.body is None:
        return None
    return seen_by(network.settings.name, config.network.weights, sha256=network.sha256)


def _facts(trained: Trained, fold: TaughtFold) -> dict[str, Any]:
    """The course of a training."""
    return {
        "fold": fold.number,
        "rows": {
            "training": len(fold.training),
            "validation": len(fold.validation),
            "asked": len(fold.asked),
        },
        "fallbacks": list(trained.fallbacks),
        "best": None if trained.best is None else dataclasses.asdict(trained.best),
        "curve": list(trained.curve),
        "minutes": sum(row["seconds"] for row in trained.curve) / 60,
    }


def _prepared(
    config: FinetuneConfig, taught: Taught, fold: TaughtFold, precision: str
) -> tuple[Any, TableExamples, Network]:
    """What builds the network, the pictures at its size, and the first network that it builds, to be read from."""
    settings = config.settings
    batches = count_batches(len(fold.training), settings.training.batch_size, replicas=replicas_of_host())
    held: list[TableExamples] = []  # the pictures' size is the network's, which asks for pictures only when it is there
    build = build_trainee(
        settings,
        class_names=taught.class_names,
        seed=config.seed,
        batches=batches,
        plain=lambda: held[0].plain(),
    )
    first = build(precision)
    network = first.network
    for phase in settings.phases:
        check_phase(network, phase, batches=batches)
    held.append(examples_of(config, taught, fold, network))
    ready = [first]  # building a backbone takes seconds: what was built to be looked at is what is trained

    def built(asked: str) -> NetworkTrainee:
        return ready.pop() if ready and asked == precision else build(asked)

    return built, held[0], network


def examples_of(config: FinetuneConfig, taught: Taught, fold: TaughtFold, network: Network) -> TableExamples:
    """The pictures of a fold as a network wants them."""
    return TableExamples(
        table=taught.table,
        all_labels=taught.labels,
        teaching=fold.training,
        looked_at=fold.watched,
        settings=config.settings,
        size=network.size,
        kernel=network.kernel,
        seed=config.seed,
        replicas=replicas_of_host(),
    )


def _show_augmentation(
    config: FinetuneConfig, taught: Taught, fold: TaughtFold, examples: TableExamples, folder: Path
) -> None:
    """What augmentation makes of a picture of each class, as a contact sheet."""
    path = folder / CONTACT_SHEET
    if config.training.augmentation == "none" or path.exists():
        return
    pictures = Pictures(taught.table, examples.size, examples.kernel, examples.cache)
    rows = some_of_each_class(
        taught.ids, taught.labels, classes=len(taught.class_names), rows=fold.training.tolist(), seed=config.seed
    )
    sheet = draw_contact_sheet(pictures, rows, taught.labels, taught.class_names, seed=config.seed)
    write_atomically(path, png_of(sheet))


def _asked(trainee: NetworkTrainee, examples: TableExamples, taught: Taught, rows: np.ndarray) -> Probabilities:
    logits, _ = trainee.look(examples.in_order(rows))
    return trainee.judge(taught.labels[rows], logits)[1]


def _parity(
    trainee: NetworkTrainee, examples: TableExamples, taught: Taught, fold: TaughtFold, *, seed: int
) -> dict[str, Any] | None:
    """How the answers on some asked rows differ from those of the same weights in float32; None if they are those."""
    if trainee.network.precision == FLOAT32:
        return None
    rows = fold.asked[stratified_sample(taught.labels[fold.asked], _COMPARED, seed=seed)]
    pixels = np.concatenate([batch.numpy() for batch in examples.in_order(rows)])
    return dataclasses.asdict(precision_parity(trainee.network, pixels))


def _recipe(
    config: FinetuneConfig, taught: Taught, fold: TaughtFold, network: Network, precision: str
) -> dict[str, Any]:
    """Everything that the course of a training depends on."""
    settings = dataclasses.asdict(config.settings)
    phases = settings.pop("phases")
    settings["training"] = {**settings["training"], "precision": precision}
    return {
        **settings,
        "phases": {str(number): phase for number, phase in enumerate(phases, 1)},
        "classes": list(taught.class_names),
        "images": images_of(taught.ids, taught.table.digests),
        "rows": {name: _digest(getattr(fold, name), taught) for name in ("training", "validation", "asked")},
        "start": {"weights": network.weights, "sha256": network.sha256, "size": network.size, "kernel": network.kernel},
        "seed": config.seed,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _digest(rows: np.ndarray, taught: Taught) -> str:
    """SHA-256 over ids and labels of rows, in order."""
    digest = hashlib.sha256()
    for row in rows.tolist():
        digest.update(f"{taught.ids[row]}\x1f{taught.labels[row]}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _journal(taught: Taught, fold: TaughtFold, folder: Path) -> Journal:
    places = stratified_sample(taught.labels[fold.watched], _PICTURES, seed=0).tolist()
    ids = [taught.ids[row] for row in fold.watched[places].tolist()]
    pictures = read_thumbnails(taught.table.source, ids, side=_PICTURE_SIDE)
    return Journal(
        folder,
        class_names=taught.class_names,
        shown=places,
        pictures=pictures,
        draw_confusion=lambda counts: plot_confusion(counts.tolist(), taught.class_names, title="Rows looked at"),
    )


def _embeddings(taught: Taught, fold: TaughtFold, folder: Path, *, seed: int) -> Embeddings:
    return Embeddings(folder / "embeddings", sampled_places(taught.labels[fold.watched], seed=seed))


def _draw_curve(trained: Trained, config: FinetuneConfig, fold: TaughtFold, folder: Path) -> None:
    figure = plot_training(
        trained.curve,
        best=None if trained.best is None else dataclasses.asdict(trained.best),
        looked_at="validation" if len(fold.validation) else "held-out",
        title=f"{config.network.name}, {config.name}",
    )
    figure.savefig(folder / "curve.png", dpi=160)


def _project(taught: Taught, fold: TaughtFold, embeddings: Embeddings, watched: Probabilities, folder: Path) -> None:
    rows = fold.watched[embeddings.places]
    names = taught.class_names
    guesses = watched.argmax(axis=1)[embeddings.places].tolist()
    project_epochs(
        embeddings.folder,
        taught.table.take(rows),
        [names[label] for label in taught.labels[rows].tolist()],
        [names[guess] for guess in guesses],
        out=folder / "projector",
    )


def _network_json(network: Network) -> Mapping[str, Any]:
    return {
        "name": network.settings.name,
        "weights": network.weights,
        "sha256": network.sha256,
        "size": network.size,
        "kernel": network.kernel,
        "parameters": network.model.count_params(),
        # Keras-hub's have one inside too, which studies and extractions do not know.
        "backbone": network.body is not None,
        "catalog": network.settings.name in BACKBONES,
    }


def _drift(
    config: FinetuneConfig,
    taught: Taught,
    fold: TaughtFold,
    weights: Path,
    network: Network,
    folder: Path,
    progress: Progress,
) -> dict[str, Any] | None:
    """How far the layers of a backbone of the catalog moved, by rows that did not teach it."""
    if network.settings.name not in BACKBONES:
        return None
    rows = fold.asked[stratified_sample(taught.labels[fold.asked], DRIFT_ROWS, seed=config.seed)]
    return layer_drift(
        taught.table.take(rows),
        backbone=network.settings.name,
        before=config.network.weights,
        after=weights,
        size=network.size,
        into=folder / "drift",
        seed=config.seed,
        progress=progress,
    )
