"""The main path: one configuration in, one report out. It reads top to bottom like the README."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfcells.config import StudyConfig
from tfcells.errors import DamageError, RequestError
from tfcells.features.extract import extract
from tfcells.features.store import FeatureStore, known_files
from tfcells.images.readers import read_images
from tfcells.images.sources import PixelSource
from tfcells.images.splits import Split, split_table
from tfcells.images.table import ImageTable
from tfcells.maps.reduce import check_perplexity
from tfcells.probes.final import FinalProbe, ask_holdout, fit_final
from tfcells.probes.limits import check_readings
from tfcells.probes.memory import memory_bytes
from tfcells.probes.predictions import prediction_columns, write_predictions
from tfcells.probes.reading import Space
from tfcells.probes.review import ReviewList, review_json, write_review
from tfcells.probes.rows import rows_marked
from tfcells.probes.sweep import Sweep, deal_outer_folds, probe_layers
from tfcells.progress import Progress, silent
from tfcells.report.page import write_report
from tfcells.steps.audit import audit_images, audited_groups
from tfcells.steps.export import card_facts, chosen_json, current_card, export_inputs, make_export, why_no_export
from tfcells.steps.extraction import extraction_of
from tfcells.steps.maps import build_projector, check_max_rows, check_thumbnail, draw_map
from tfcells.steps.pictures import choose_examples, examples_json, review_pictures
from tfcells.steps.probe import CHECKPOINTS, space_of, worker_count
from tfcells.steps.results import exit_code, holdout_json, study_json, write_results
from tfcells.steps.seen import seen_json, warn_of_seen
from tfcells.steps.split import write_split_files
from tfcells.steps.trust import review_of, shortcuts_of, trust_json

_log = logging.getLogger(__name__)
RUN_FILES: Final = frozenset({"features", "results.json", "truth.csv"})  # each says: this is a run (or a demo begun)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A finished study.

    Attributes:
        out: Its folder: `report.html`, `results.json`, `predictions.csv`, `review.csv`, `split.csv`, `split.json`,
            `audit/`, `features/`, `maps/`, `projector/`, `export/`.
        results: What `results.json` holds.
    """

    out: Path
    results: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """What the command line returns: 1 if some input was quarantined or left out by name."""
        return exit_code(self.results["data"]["quarantined"], self.results["data"]["left_out"])


def run_study(config: StudyConfig, *, out: str | Path, progress: Progress = silent) -> Study:
    """Run a study; what is done already and unchanged is kept.

    Args:
        config: What to study.
        out: Folder for everything; made if it does not exist, resumed if it holds the same study.
        progress: Told how far each stage is.

    Raises:
        RequestError: If the study cannot be made as asked. Nothing was written, unless it is the groups found by the
            audit that forbid it; the message then says what is kept.
        DamageError: If the export does not answer as measured. Everything else was written.
    """
    out = Path(out)
    check_out(out)
    space, memory = space_of(config), memory_bytes(config.probes.memory)
    check_perplexity(config.maps.perplexity)
    check_max_rows(config.maps.max_rows)
    check_thumbnail(config.maps.thumbnail)
    workers = worker_count(config.probes.workers)
    table, split, store, audited = _look(config, space, out=out, workers=workers, progress=progress)
    sweep = probe_layers(
        store,
        split,
        taps=store.layers,  # only they can be exported
        space=space,
        concatenate=config.probes.concatenate,
        repeats=config.probes.repeats,
        seed=config.seed,
        workers=workers,
        memory=memory,
        checkpoints=out / CHECKPOINTS,
        progress=progress,
    )
    final = fit_final(store, split, sweep.best.reading, space=space, seed=config.seed, memory=memory)
    held = config.images.holdout > 0
    holdout = holdout_json(*ask_holdout(final, store, split, memory=memory), sweep) if held else None
    results = study_json(config, store=store, split=split, sweep=sweep, holdout=holdout)
    results |= trust_json(store, split, sweep, seed=config.seed, workers=workers, memory=memory, progress=progress)
    results["shortcuts"] = shortcuts_of(table, sweep, workers=workers, progress=progress)
    results["audit"] = audited
    reviews = review_of(sweep)
    results["review"] = review_json(reviews)
    results["maps"] = _draw(config, store, sweep, table.source, out, progress)
    unlike = None
    try:
        results["export"] = _export(config, store, split, final, results, table.source, out)
    except DamageError as refused:
        results["export"], unlike = None, refused
    _write(out, results, split, sweep, reviews, table.source)
    if unlike is not None:
        raise DamageError(f"{unlike} Everything but the export is in {out}.") from unlike
    return Study(out=out, results=results)


def _look(
    config: StudyConfig, space: Space, *, out: Path, workers: int, progress: Progress
) -> tuple[ImageTable, Split, FeatureStore, dict[str, Any] | None]:
    """Read, split, extract and audit: images, their parts, their features, and what the audit found where asked for."""
    table = read_images(
        config.images.root,
        class_names=config.images.class_names,
        groups=config.images.groups,
        known=known_files(out / "features"),
        progress=progress,
    )
    # Before the features: a study whose classes cannot be split or probed must not cost an hour first.
    split = _split(config, table, space)

    def check(widths: Mapping[str, int]) -> None:
        _check_widths(widths, config, table, split, space)

    store = extract(
        table,
        extraction_of(config),
        into=out / "features",
        progress=progress,
        announce=lambda plan: check(plan.widths),
    )
    check({tap: store.widths[tap] for tap in store.layers})  # nothing was announced if nothing was missing
    warn_of_seen(seen_json(store), weights=config.backbone.weights)
    audited = None
    if config.images.audit:
        audited = audit_images(table, out=out / "audit", store=store, workers=workers, progress=progress)
        table = audited_groups(table, out / "audit")
        split = _split_anew(config, table, space, out)
        store = extract(table, extraction_of(config), into=store.path, progress=progress)  # only groups are new
    return table, split, store, audited


def check_out(out: Path) -> None:
    """Refuse a folder that holds something other than a run.

    Raises:
        RequestError: If so.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not any((out / name).exists() for name in RUN_FILES):
        raise RequestError(f"{out} exists and is no run of tfcells. Choose another --out, or empty it.")


def _split(config: StudyConfig, table: ImageTable, space: Space) -> Split:
    """A split, after a look at all that decides without features whether it can be probed."""
    split = split_table(table, folds=config.images.folds, holdout=config.images.holdout, seed=config.seed)
    _, class_names, _, rows = rows_marked(table, split, seed=config.seed)
    deal_outer_folds(rows, class_names, space=space, repeats=config.probes.repeats, served=True)
    for difference in split.unlike_asked:
        _log.warning("%s", difference)
    return split


def _check_widths(
    widths: Mapping[str, int], config: StudyConfig, table: ImageTable, split: Split, space: Space
) -> None:
    """Refuse what could not be probed or served, as soon as the network says how wide its layers are."""
    _, class_names, _, rows = rows_marked(table, split, seed=config.seed)
    check_readings(
        widths,
        deal_outer_folds(rows, class_names, space=space, repeats=config.probes.repeats),
        space,
        concatenate=config.probes.concatenate,
        served=True,
        memory=memory_bytes(config.probes.memory),
    )


def _split_anew(config: StudyConfig, table: ImageTable, space: Space, out: Path) -> Split:
    """The split with the groups of the audit, which compares features too and so comes after them."""
    try:
        return _split(config, table, space)
    except RequestError as refused:
        raise RequestError(
            f"With the groups of copies that the audit found: {refused} Ask for fewer folds, a smaller holdout or "
            f"other probes, or set images.audit to false. The features and the audit are kept in {out}; the next run "
            "over the same images there extracts nothing again."
        ) from refused


def _write(
    out: Path, results: dict[str, Any], split: Split, sweep: Sweep, reviews: ReviewList, source: PixelSource
) -> None:
    """All files together, at the end: a run that was stopped leaves those of the one before."""
    hits, misses = choose_examples(sweep, source)
    results["examples"] = examples_json(hits, misses)
    write_split_files(split, out)
    write_predictions(sweep, out / "predictions.csv")
    write_review(reviews, out / "review.csv")
    write_results(out / "results.json", results)
    doubted = review_pictures(reviews, source)
    write_report(out / "report.html", results, hits=hits, misses=misses, doubted=doubted, maps=out / "maps")


def _draw(
    config: StudyConfig, store: FeatureStore, sweep: Sweep, source: PixelSource, out: Path, progress: Progress
) -> dict[str, Any]:
    columns = prediction_columns(sweep, store.rows.ids)
    drawn = [
        draw_map(
            store,
            taps=sweep.best.taps,
            method=method,
            out=out / "maps" / method,
            source=source,
            columns=columns,
            perplexity=config.maps.perplexity,
            max_rows=config.maps.max_rows,
            seed=config.seed,
            progress=progress,
        )
        for method in ("pca", "tsne")
    ]
    projector = build_projector(
        store,
        taps=sweep.best.taps,
        out=out / "projector",
        source=source,
        columns=columns,
        drawn=drawn,
        thumbnail=config.maps.thumbnail,
        seed=config.seed,
        progress=progress,
    )
    facts = {entry.method: entry.facts for entry in drawn}
    return {**facts, "projector": {"rows": projector.rows, "thumbnail": projector.cell}}


def _export(
    config: StudyConfig,
    store: FeatureStore,
    split: Split,
    final: FinalProbe,
    results: dict[str, Any],
    source: PixelSource,
    out: Path,
) -> dict[str, Any] | None:
    refusal = why_no_export(store)
    if refusal is not None:
        _log.warning("export: none is made. %s", refusal)
        return None
    chosen = chosen_json(final, seed=config.seed)
    inputs = export_inputs(store, split, chosen)
    card = current_card(out / "export", inputs=inputs)
    if card is None:
        facts = card_facts(results, chosen, inputs)
        card = make_export(store, split, final, extraction_of(config), into=out / "export", source=source, card=facts)
    else:
        _log.info("export: kept, its inputs are unchanged")
    return {
        "path": "export",
        "inputs": inputs,
        "parameters": chosen["parameters"],
        "parity": card["parity"],
        "fitted_on": card["fitted_on"],
    }
