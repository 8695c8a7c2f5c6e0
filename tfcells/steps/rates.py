"""Which learning rates suit a fine-tuning: a range test of every phase, before anything is trained."""

import importlib.metadata
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tfcells.config import FinetuneConfig
from tfcells.errors import RequestError
from tfcells.features.pieces import write_atomically
from tfcells.finetune.batchnorm import recalibrate
from tfcells.finetune.determinism import deterministic
from tfcells.finetune.examples import faults_by_name
from tfcells.finetune.losses import build_loss
from tfcells.finetune.networks import Network, build_network
from tfcells.finetune.precision import resolve_precision
from tfcells.finetune.rate_finder import RateTest, find_rate
from tfcells.finetune.settings import PhaseSettings
from tfcells.finetune.table_examples import TableExamples
from tfcells.finetune.trainee import RECALIBRATED
from tfcells.progress import Progress, silent
from tfcells.report.training_figures import plot_rates
from tfcells.steps.finetune import audited_rows, read_rows
from tfcells.steps.taught import deal_rows
from tfcells.steps.training import examples_of

FACTS: Final = "rate_finder.json"
PICTURE: Final = "rate_finder.png"
STEPS: Final = 100
"""Batches for each phase: from 1e-7 to 1, 14 to each power of ten."""

_FORMAT: Final = 1
_OURS: Final = frozenset({FACTS, PICTURE, "audit"})


def find_rates(
    config: FinetuneConfig, *, out: str | Path, steps: int = STEPS, progress: Progress = silent
) -> dict[str, Any]:
    """Test the rates of every phase on the rows that would teach, those of the first fold where there are several.

    Each phase is tested on the weights that training begins with, since nothing is trained: a later phase starts from
    better ones, and bears its suggestion as an order of magnitude. The same seed gives the same answer on a processor.

    Args:
        config: The fine-tuning that is planned.
        out: Folder for `rate_finder.json` and `rate_finder.png`; not that of the fine-tuning.
        steps: Batches for each phase.
        progress: Told how far it is.

    Returns:
        What `rate_finder.json` holds: for each phase the rates tried and the smoothed losses, and of `asked` and
        `suggested` the rate of the fastest layers and the settings that lead to it, their ratios kept; `suggested` is
        None where no rate lowered the loss.

    Raises:
        RequestError: If it cannot be done as asked, or `out` holds something else.
        DamageError: If a picture cannot be read.
    """
    out = Path(out)
    _check_out(out)
    table = read_rows(config, out=out, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    table, _ = audited_rows(config, table, out=out, progress=progress)
    taught = deal_rows(table, config.images, seed=config.seed)
    fold, settings = taught.folds[0], config.settings
    precision = resolve_precision(settings.training.precision)
    with deterministic(), faults_by_name():
        network = build_network(
            settings.network, classes=len(taught.class_names), seed=config.seed, precision=precision
        )
        examples = examples_of(config, taught, fold, network)
        if settings.training.batch_norm == RECALIBRATED:
            recalibrate(network, (batch.numpy() for batch in examples.plain()))
        loss = build_loss(settings.loss, taught.class_names)
        tests = [
            find_rate(
                network,
                _batches(examples, f"phase {number}, rates", steps, progress),
                steps=steps,
                loss=loss,
                phase=phase,
                batch_norm=settings.training.batch_norm,
            )
            for number, phase in enumerate(settings.phases, 1)
        ]
    phases = [
        _phase_json(number, phase, test, network)
        for number, (phase, test) in enumerate(zip(settings.phases, tests, strict=True), 1)
    ]
    facts = {
        "format": _FORMAT,
        "tfcells": importlib.metadata.version("tfcells"),
        "name": config.name,
        "config": config.as_json(),
        "rows": len(fold.training),
        "batches": steps,
        "precision": precision,
        "phases": phases,
    }
    plot_rates(phases).savefig(out / PICTURE, dpi=160)
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(out / FACTS, text.encode("utf-8", "backslashreplace"))  # a folder's name may be no text
    return facts


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(entry.name not in _OURS for entry in out.iterdir())):
        raise RequestError(
            f"{out} exists and holds something other than a test of rates. Choose another --out, or empty it."
        )


def _batches(examples: TableExamples, stage: str, steps: int, progress: Progress) -> Iterator[tuple[Any, Any, Any]]:
    """One epoch after another, as training would show them."""
    epochs = (examples.training(epoch) for epoch in itertools.count())
    for done, batch in enumerate(itertools.chain.from_iterable(epochs), 1):
        progress(stage, done, steps)
        yield batch


def _phase_json(number: int, phase: PhaseSettings, test: RateTest, network: Network) -> dict[str, Any]:
    return {
        "phase": number,
        "train": phase.train,
        "accumulate": phase.accumulate,
        "rates": list(test.rates),
        "losses": list(test.losses),
        "asked": _settings_json(phase, test.asked, 1.0, network),
        "suggested": None
        if test.suggested is None
        else _settings_json(phase, test.suggested, test.suggested / test.asked, network),
    }


def _settings_json(phase: PhaseSettings, fastest: float, factor: float, network: Network) -> dict[str, Any]:
    """The settings that count in a phase, all scaled alike."""
    of_body = network.body is not None and phase.train != "head"
    body = {"body_rate": phase.body_rate * factor} if of_body else {}
    others = {f"rates.{name}": rate * factor for name, rate in phase.rates.items()} if of_body else {}
    return {"fastest": fastest, "settings": {"head_rate": phase.head_rate * factor, **body, **others}}
