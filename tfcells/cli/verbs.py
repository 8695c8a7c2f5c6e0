"""One function per verb: options to a call of the Python API, its answer to the terminal."""

import argparse
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfcells.cli.show import (
    name_quarantine,
    print_explanations,
    print_json,
    print_scores,
    print_table,
    progress_bars,
    say,
    share,
)
from tfcells.errors import DamageError, RequestError
from tfcells.names import visible
from tfcells.report.training_words import chance_words, family_words, parity_words

if TYPE_CHECKING:
    from tfcells.config import FinetuneConfig
    from tfcells.features.plan import Plan
    from tfcells.features.request import Extraction
    from tfcells.features.store import FeatureStore
    from tfcells.images.table import ImageTable
    from tfcells.steps.verify import Verification
    from tfcells.study import Study

_SHOWN: Final = 10

Options = argparse.Namespace
Overrides = Mapping[str, str]


def demo(options: Options, _: Overrides) -> int:
    """`tfcells demo`: exit code 0 when exactly the planted faults were found."""
    from tfcells.demo import run_demo

    study = run_demo(Path(options.out), progress=progress_bars(quiet=options.quiet))
    _show_study(study, options)
    say(f"the {len(study.results['data']['quarantined'])} planted faults were found, and no other")
    return 0


def run(options: Options, overrides: Overrides) -> int:
    """`tfcells run CONFIG`."""
    from tfcells.config import read_config
    from tfcells.study import run_study

    path = Path(options.config)
    if path.is_dir():
        raise RequestError(f"{path} is a folder. Expected a config first: tfcells run CONFIG --section.field VALUE ...")
    config = read_config(path, overrides)
    out = Path(options.out) if options.out else Path("runs") / path.stem
    study = run_study(config, out=out, progress=progress_bars(quiet=options.quiet))
    _show_study(study, options)
    return study.exit_code


def finetune(options: Options, overrides: Overrides) -> int:
    """`tfcells finetune CONFIG`: exit code 1 if some image was quarantined or a class left out."""
    from tfcells.config import read_finetune_config

    path = Path(options.config)
    if path.is_dir():
        raise RequestError(f"{path} is a folder. Expected a config: tfcells finetune CONFIG --section.field VALUE ...")
    if options.against:
        overrides = {**overrides, "against": options.against}
    config = read_finetune_config(path, overrides)
    if options.find_rate:
        return _find_rate(config, options)
    from tfcells.steps.finetune import run_finetune

    out = Path(options.out) if options.out else Path("runs") / path.stem
    finetuned = run_finetune(config, out=out, progress=progress_bars(quiet=options.quiet))
    results = finetuned.results
    name_quarantine([(entry["id"], entry["reason"]) for entry in results["data"]["quarantined"]])
    for name, reason in results["data"]["left_out"].items():
        say(f"class {name} is left out: {reason}")
    if options.json:
        print_json(results)
    else:
        print("\n".join(_finetune_lines(results, out)))
    return finetuned.exit_code


def _find_rate(config: "FinetuneConfig", options: Options) -> int:
    """`tfcells finetune CONFIG --find-rate`."""
    if config.against is not None:
        raise RequestError("--find-rate and --against given. Rates are tested on nothing else; leave --against out.")
    from tfcells.steps.rates import FACTS, PICTURE, find_rates

    out = Path(options.out) if options.out else Path("runs") / f"{Path(options.config).stem}-rates"
    facts = find_rates(config, out=out, progress=progress_bars(quiet=options.quiet))
    if options.json:
        print_json(facts)
        return 0
    for phase in facts["phases"]:
        print(visible(f"phase {phase['phase']} ({phase['train']}): {_rate_words(phase, facts['batches'])}"))
    print(visible(f"loss by rate: {out / PICTURE}; {out / FACTS}"))
    return 0


def _rate_words(phase: Mapping[str, Any], batches: int) -> str:
    """The options that set the rates a test suggests, or that it suggests none."""
    if phase["suggested"] is not None:
        found = phase["suggested"]["settings"].items()
        return " ".join(f"--phases.{phase['phase']}.{name} {rate:.1e}" for name, rate in found)
    words = f"no rate lowered the loss within {batches} batches, so none is suggested"
    steps = batches // phase["accumulate"]
    return words if steps == batches else f"{words}; averaged gradients made {steps} steps of them: test accumulate 1"


def audit(options: Options, _: Overrides) -> int:
    """`tfcells audit DIR`: exit code 1 if some image was quarantined."""
    from tfcells.images.readers import read_images

    progress = progress_bars(quiet=options.quiet)
    table = read_images(options.images, progress=progress)
    name_quarantine(table.quarantine)
    from tfcells.features.extract import Extraction
    from tfcells.steps.audit import audit_images

    extraction = None
    if options.backbone:
        extraction = Extraction(backbone=options.backbone, weights=options.weights, taps=(), pooling="mean")
    elif not options.store:
        say("without --store or --backbone, candidates come from pixel digests and local features alone")
    facts = audit_images(
        table,
        out=Path(options.out),
        store=_complete_store(options.store) if options.store else None,
        extraction=extraction,
        seed=options.seed,
        progress=progress,
    )
    if options.json:
        print_json(facts)
    else:
        print("\n".join(_audit_lines(facts, Path(options.out))))
    return 1 if table.quarantine else 0


def split(options: Options, _: Overrides) -> int:
    """`tfcells split DIR`: exit code 1 if some image was quarantined or a class left out."""
    from tfcells.images.readers import read_images
    from tfcells.images.splits import split_table
    from tfcells.steps.split import write_split_files

    table = read_images(
        options.images,
        groups=Path(options.groups) if options.groups else None,
        progress=progress_bars(quiet=options.quiet),
    )
    name_quarantine(table.quarantine)
    made = split_table(
        table, folds=options.folds, holdout=options.holdout, validation=options.validation, seed=options.seed
    )
    facts = write_split_files(made, options.out)
    for name, reason in made.left_out.items():
        say(f"class {name} left out: {reason}")
    for difference in made.unlike_asked:
        say(difference)
    if options.json:
        print_json(facts)
    else:
        parts = ", ".join(f"{count:,} {part}" for part, count in facts["parts"].items())
        print(f"{parts} in {options.out}/split.csv, {facts['groups']:,} groups, digest {facts['digest']}")
    return 1 if table.quarantine or made.left_out else 0


def layers(options: Options, _: Overrides) -> int:
    """`tfcells layers BACKBONE`."""
    from tfcells.backbones.catalog import find_backbone

    row = find_backbone(options.backbone)
    from tfcells.backbones.cut import list_layers
    from tfcells.backbones.open import build_network
    from tfcells.backbones.taps import POOLINGS

    found = list_layers(build_network(row, row.size))
    if options.json:
        facts = [
            {
                **asdict(layer),
                "bytes": {pooling: layer.bytes_per_image(pooling) for pooling in POOLINGS},
                "default": layer.name in row.taps,
            }
            for layer in found
        ]
        print_json({"backbone": row.name, "size": row.size, "layers": facts})
        return 0
    header = ("layer", "kind", "output", "parameters", "bytes/image mean", "flatten", "")
    table = [
        (
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.shape)),
            f"{layer.parameters:,}",
            f"{layer.bytes_per_image('mean'):,}",
            f"{layer.bytes_per_image('flatten'):,}",
            "default tap" if layer.name in row.taps else "",
        )
        for layer in found
    ]
    print_table(header, table, numbers=(3, 4, 5))
    return 0


def extract(options: Options, _: Overrides) -> int:
    """`tfcells extract DIR`: exit code 1 if some image was quarantined."""
    from tfcells.features.cluster import Cluster
    from tfcells.features.extract import extract as fill_store
    from tfcells.features.plan import parse_bytes
    from tfcells.features.store import known_files
    from tfcells.images.readers import read_images
    from tfcells.images.table import NOTHING_KNOWN

    _check_extract(options)
    cluster = Cluster(options.cluster, options.workers) if options.cluster else None
    extraction = _extraction_of(options)
    budget = None if options.budget is None else parse_bytes(options.budget)
    progress = progress_bars(quiet=options.quiet)
    groups = Path(options.groups) if options.groups else None
    known = known_files(options.out) if options.out else NOTHING_KNOWN
    table = read_images(options.images, groups=groups, known=known, progress=progress)
    name_quarantine(table.quarantine)
    if options.plan:
        _show_plan(table, extraction, options, budget)
        return 1 if table.quarantine else 0
    store = fill_store(
        table,
        extraction,
        into=Path(options.out),
        progress=progress,
        announce=(lambda plan: None) if options.quiet else _say_plan,
        budget=budget,
        cluster=cluster,
    )
    name_quarantine([entry for entry in store.quarantine if entry not in table.quarantine])
    _show_store(store, options)
    return 1 if store.quarantine else 0


def _check_extract(options: Options) -> None:
    if not options.out and not options.plan:
        raise RequestError(
            "--out STORE is missing. Name the store to make, or add --plan to see only what it would cost."
        )
    if options.workers is not None and not options.cluster:
        raise RequestError("--workers given without --cluster. Add `--cluster local`, or leave it out.")
    if options.plan and options.cluster:
        raise RequestError("--plan and --cluster given. A plan is that of this process; leave --cluster out of it.")


def _extraction_of(options: Options) -> "Extraction":
    from tfcells.features.request import Extraction

    return Extraction(
        **_network_of(options),
        dtype=options.dtype,
        handcrafted=_names(options.features),
        engine=options.engine,
        precision=options.precision,
    )


def _network_of(options: Options) -> dict[str, Any]:
    """What `extract` and `bench` ask for alike."""
    return {
        "backbone": options.backbone,
        "weights": options.weights,
        "taps": _names(options.layers),
        "pooling": options.pooling,
        "size": options.size,
        "batch_size": options.batch_size,
        "seed": options.seed,
    }


def _show_plan(table: "ImageTable", extraction: "Extraction", options: Options, budget: int | None) -> None:
    """Print what it would cost, then refuse what is too much."""
    from tfcells.features.extract import plan_extraction

    plan = plan_extraction(table, extraction, into=options.out)
    if options.json:
        print_json(asdict(plan))
    else:
        print("\n".join(_plan_lines(plan)))
    plan.require_budget(budget)
    plan.require_room(Path(options.out or "."))


def _show_store(store: "FeatureStore", options: Options) -> None:
    engine = store.recipe["engine"]
    facts = {
        "store": str(store.path),
        "digest": store.digest,
        "images": len(store.rows.ids),
        "taps": {key: list(store.shapes[key]) for key in store.taps},
        "engine": engine,
        "quarantined": [entry._asdict() for entry in store.quarantine],
    }
    if options.json:
        print_json(facts)
        return
    by = f"{engine['name']} {engine['precision']}"
    print(f"{facts['images']:,} images, {len(store.taps)} taps in {store.path} by {by}, digest {store.digest}")


def verify(options: Options, _: Overrides) -> int:
    """`tfcells verify STORE`: exit code 3 if something is wrong with it, 1 if something could not be checked."""
    from tfcells.steps.verify import verify_store

    if options.rows < 0:
        raise RequestError(f"--rows {options.rows} given. Expected 0 or more.")
    found = verify_store(
        options.store,
        images=options.images,
        weights=options.weights,
        rows=options.rows,
        seed=options.seed,
        progress=progress_bars(quiet=options.quiet),
    )
    if options.json:
        print_json(found.as_json())
    else:
        print("\n".join(_verification_lines(found)))
    if not found.sound:
        return DamageError.exit_code
    return 1 if found.left_out else 0


def bench(options: Options, _: Overrides) -> int:
    """`tfcells bench DIR`: exit code 1 if some image was quarantined."""
    from tfcells.features.bench import bench as measure
    from tfcells.features.request import Extraction
    from tfcells.images.readers import read_images

    extraction = Extraction(**_network_of(options))
    progress = progress_bars(quiet=options.quiet)
    table = read_images(options.images, progress=progress)
    name_quarantine(table.quarantine)
    facts = measure(table, extraction, images=options.count, repeats=options.repeats, progress=progress)
    if options.json:
        print_json(facts)
    else:
        _print_bench(facts)
    return 1 if table.quarantine else 0


def probe(options: Options, _: Overrides) -> int:
    """`tfcells probe STORE`: exit code 1 if some image or class was left out."""
    from tfcells.features.cluster import Cluster
    from tfcells.probes.memory import memory_bytes
    from tfcells.probes.reading import Space
    from tfcells.steps.probe import probe_store
    from tfcells.steps.results import exit_code

    space = Space(
        probes=_names(options.probes),
        scalers=_names(options.scalers),
        reductions=_names(options.reductions),
        inner_folds=options.inner_folds,
    )
    results = probe_store(
        _complete_store(options.store),
        out=Path(options.out),
        split_file=Path(options.split) if options.split else None,
        groups_file=Path(options.groups) if options.groups else None,
        space=space,
        folds=options.folds,
        repeats=options.repeats,
        seed=options.seed,
        workers=options.workers,
        cluster=Cluster(options.cluster, options.workers if options.workers > 0 else None) if options.cluster else None,
        memory=memory_bytes(options.memory),
        progress=progress_bars(quiet=options.quiet),
    )
    if options.json:
        print_json(results)
    else:
        print_scores(results)
    return exit_code(results["data"]["quarantined"], results["data"]["left_out"])


def map_(options: Options, _: Overrides) -> int:
    """`tfcells map STORE`."""
    from tfcells.maps.reduce import check_method
    from tfcells.steps.maps import draw_map
    from tfcells.steps.pictures import open_source

    check_method(options.method)
    store = _complete_store(options.store)
    drawn = draw_map(
        store,
        taps=_taps(options.taps, store),
        method=options.method,
        out=Path(options.out),
        source=_said_source(open_source(store), store),
        perplexity=options.perplexity,
        max_rows=options.max_rows,
        seed=options.seed,
        progress=progress_bars(quiet=options.quiet),
    )
    if options.json:
        print_json(drawn.facts)
    else:
        trust = drawn.facts["trustworthiness"]
        quality = "" if trust is None else f", trustworthiness {trust:.3f}"
        print(f"{drawn.facts['rows']:,} points in {Path(options.out) / 'map.csv'}{quality}")
    return 0


def projector(options: Options, _: Overrides) -> int:
    """`tfcells projector STORE`."""
    from tfcells.steps.maps import build_projector
    from tfcells.steps.pictures import open_source

    store = _complete_store(options.store)
    folder = build_projector(
        store,
        taps=_taps(options.taps, store),
        out=Path(options.out),
        source=_said_source(open_source(store), store),
        thumbnail=options.thumbnail,
        progress=progress_bars(quiet=options.quiet),
    )
    if options.json:
        print_json({"logdir": str(folder.path), "rows": folder.rows, "thumbnail": folder.cell})
    else:
        print(f"{folder.rows:,} points in {folder.path}; look at them with: tensorboard --logdir {folder.path}")
    return 0


def explain(options: Options, _: Overrides) -> int:
    """`tfcells explain RUN IMAGE` or `tfcells explain RUN --errors N`: exit code 1 if a method or mask was left out."""
    from tfcells.steps.results import read_results

    read_results(Path(options.run))  # before TensorFlow is loaded
    from tfcells.steps.explain import PAGE, explain_run

    facts = explain_run(
        options.run,
        out=options.out,
        image=options.image,
        errors=options.errors,
        methods=_names(options.methods),
        masks=options.masks,
        checks=options.checks,
        seed=options.seed,
        progress=progress_bars(quiet=options.quiet),
    )
    for reason in facts["refused"].values():
        say(reason)
    for id in facts["no_mask"]:
        say(f"{id} has no mask in {options.masks}, or an empty one: nothing is said of its maps' share in the cell.")
    if options.json:
        print_json(facts)
    else:
        print_explanations(facts)
        shown = sum(image["shown"] for image in facts["images"])
        print(f"{shown} image{'s' if shown > 1 else ''} in {Path(options.out) / PAGE}")
    return 1 if facts["refused"] or facts["no_mask"] else 0


def export(options: Options, _: Overrides) -> int:
    """`tfcells export RUN`."""
    from tfcells.steps.reexport import export_run

    out, card = export_run(Path(options.run), into=Path(options.out) if options.out else None)
    if options.json:
        print_json({"export": str(out), **card})
    else:
        print(f"{out}/1/saved_model.pb: {' + '.join(card['taps'])}, {card['probe']}, {len(card['classes'])} classes")
    return 0


def predict(options: Options, _: Overrides) -> int:
    """`tfcells predict EXPORT DIR`: exit code 1 if some file was quarantined."""
    from tfcells.serving.card import find_export

    find_export(Path(options.export))  # before TensorFlow is loaded
    from tfcells.serving.export import ServedModel
    from tfcells.serving.predict import predict_folder

    model = ServedModel(Path(options.export))
    answers = predict_folder(model, Path(options.images), progress=progress_bars(quiet=options.quiet))
    answers.write(Path(options.out))
    name_quarantine(answers.quarantine)
    if options.json:
        quarantined = [entry._asdict() for entry in answers.quarantine]
        print_json({"images": len(answers.ids), "quarantined": quarantined, "file": options.out})
    else:
        print(f"{len(answers.ids):,} predictions in {options.out}")
    return 1 if answers.quarantine else 0


def _audit_lines(facts: Mapping[str, Any], out: Path) -> list[str]:
    """What a person wants to know of an audit first."""
    pairs = ", ".join(f"{count:,} {kind}" for kind, count in facts["pairs"].items())
    lines = [
        f"{facts['images']:,} images in {facts['groups']:,} groups; pairs: {pairs}",
        f"{len(facts['label_conflicts']):,} groups hold more than one class",
    ]
    lines += [
        f"  {entry['group']}: {', '.join(sorted(set(entry['labels'].values())))}"
        for entry in facts["label_conflicts"][:_SHOWN]
    ]
    lines += [f"class {name} has no usable image" for name, count in facts["classes"].items() if not count]
    lines += [f"odd: {entry['id']}: {entry['reason']}" for entry in facts["odd"][:_SHOWN]]
    if len(facts["odd"]) > _SHOWN:
        lines.append(f"and {len(facts['odd']) - _SHOWN:,} more odd images in audit.json")
    return [*map(visible, lines), f"{out}/groups.csv, {out}/pairs.csv, {out}/audit.json"]


def _finetune_lines(results: Mapping[str, Any], out: Path) -> list[str]:
    """What a person wants to know of a fine-tuning first."""
    asked, out = results["asked"], out.absolute()
    lines = [
        f"asked {asked['images']:,} images in {asked['groups']:,} groups after {results['minutes']:.1f} minutes of "
        "training:",
        f"  balanced accuracy {share(results['balanced_accuracy'])}, accuracy {share(results['accuracy'])}, "
        f"macro-F1 {share(results['macro_f1'])}",
    ]
    for fold in results["folds"]:
        place = out if len(results["folds"]) == 1 else out / f"fold-{fold['fold']}"
        if fold["parity"] is not None:
            lines.append(f"{fold['precision']['ended']}: {parity_words(fold['parity'])}")
        lines.append(f"weights: {shlex.quote(str(place / fold['weights']['file']))}")
        lines.append(
            f"curve:   {shlex.quote(str(place / 'curve.png'))}; "
            f"{shlex.join(['tensorboard', '--logdir', str(place / 'tensorboard')])}"
        )
    if results["comparison"] is not None:
        lines += _comparison_lines(results["comparison"])
    lines += [words for words in (chance_words(results), family_words(results)) if words is not None]
    lines += [f"warning: {warning}" for warning in results["warnings"]]
    return [visible(line) for line in [*lines, f"report:  {shlex.quote(str(out / 'report.html'))}"]]


def _comparison_lines(comparison: Mapping[str, Any]) -> list[str]:
    frozen, minutes = comparison["frozen"], comparison["minutes"]
    taps = ", ".join(dict.fromkeys(entry["tap"] for entry in frozen["chosen"]))
    cost = minutes["frozen_probe"] + (minutes["frozen_extraction"] or 0.0)
    lines = [f"frozen {taps}, read by {frozen['probe']}, {cost:.1f} minutes: accuracy {share(frozen['accuracy'])}"]
    for name, gain in comparison["gain"].items():
        value, low, high = (100 * gain["difference"][key] for key in ("value", "low", "high"))
        chance = f"p {gain['p_value']:.3f}" if gain["p_value"] >= 0.001 else "p < 0.001"
        lines.append(
            f"fine-tuned minus frozen: {value:+.1f} points of {name.replace('_', ' ')} ({low:+.1f} to {high:+.1f}), "
            f"{chance}"
        )
    return lines


VERBS: Final[dict[str, Callable[[Options, Overrides], int]]] = {
    "demo": demo,
    "run": run,
    "finetune": finetune,
    "audit": audit,
    "split": split,
    "layers": layers,
    "extract": extract,
    "verify": verify,
    "bench": bench,
    "probe": probe,
    "map": map_,
    "projector": projector,
    "explain": explain,
    "export": export,
    "predict": predict,
}
"""The verbs by name."""


def _show_study(study: "Study", options: Options) -> None:
    results = study.results
    name_quarantine([(entry["id"], entry["reason"]) for entry in results["data"]["quarantined"]])
    for name, reason in results["data"]["left_out"].items():
        say(f"class {name} is left out of the probes: {reason}")
    if results["backbone"]["weights"] == "none":
        say("RANDOM WEIGHTS: these numbers say what an untrained network gives.")
    if options.json:
        print_json(results)
        return
    print_scores(results)
    if results["holdout"]:
        print(f"holdout, {results['holdout']['images']:,} images: accuracy {share(results['holdout']['accuracy'])}")
    print(f"report: {study.out / 'report.html'}")
    print(f"map:    tensorboard --logdir {study.out / 'projector'}")
    if results["export"] is not None:
        print(f"export: {study.out / 'export' / '1'}")


def _complete_store(path: str) -> "FeatureStore":
    from tfcells.features.store import FeatureStore

    store = FeatureStore(Path(path))
    if not store.complete:
        raise RequestError(
            f"{path} holds {store.rows_done:,} of {store.recipe['images']['count']:,} rows. Finish it with the "
            "`tfcells extract` command that began it."
        )
    return store


def _verification_lines(found: "Verification") -> list[str]:
    lines = [
        f"damaged: {fault.where}: {fault.what}"
        + ("" if fault.tap is None else f"; tap {fault.tap} by {fault.difference:.2g}")
        for fault in found.faults
    ]
    lines += [f"left out: {reason}" for reason in found.left_out]
    anew = (
        f", {found.compared:,} rows extracted anew ({found.identical:,} identical to the bit, the largest difference "
        f"{found.largest:.2g}, {found.tolerance:g} is allowed)"
        if found.compared
        else ""
    )
    return [*lines, f"{found.path}: {_verdict(found)}: {found.files:,} files, {found.images:,} pictures{anew}"]


def _verdict(found: "Verification") -> str:
    if not found.sound:
        return f"{len(found.faults):,} fault{'s' if found.faults[1:] else ''}"
    if not found.left_out:
        return "sound"
    return f"no fault found, but only digests{' and pictures' if found.images else ''} were checked"


def _print_bench(facts: Mapping[str, Any]) -> None:
    from tfcells.features.plan import bytes_text

    header = ("engine", "precision", "network/s", "end to end/s", "of both alone", "cosine", "peak memory", "")
    rows = [
        (
            row["engine"],
            row["precision"],
            f"{row['network_images_per_second']:.1f}",
            f"{row['images_per_second']:.1f}",
            f"{row['overlap']:.0%}",
            f"{min(entry['cosine'] for entry in row['parity'].values()):.5f}",
            bytes_text(row["peak_memory_bytes"]),
            "" if row["accepted"] else "refused",
        )
        for row in facts["engines"]
    ]
    print_table(header, rows, numbers=(2, 3, 4, 5, 6))
    print(f"decoding alone: {facts['decode_images_per_second']:.1f} images/s on {facts['cores']} cores")
    for entry in facts["impossible"]:
        print(f"not here: {entry['engine']} {entry['precision']}: {entry['reason']}")
    chosen, fastest = (f"{facts[key]['engine']} {facts[key]['precision']}" for key in ("chosen", "fastest"))
    verdict = "which is the fastest" if facts["table_is_right"] else f"but {fastest} is the fastest"
    print(f"auto takes {chosen}, {verdict}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _taps(text: str | None, store: "FeatureStore") -> tuple[str, ...]:
    return _names(text) if text else store.taps[-1:]


def _said_source(source: Any, store: "FeatureStore") -> Any:
    if source is None:
        say(f"the images are no longer at {store.facts['source']['root']}: no thumbnails")
    return source


def _say_plan(plan: "Plan") -> None:
    for line in _plan_lines(plan):
        say(line)


def _plan_lines(plan: "Plan") -> list[str]:
    from tfcells.features.plan import bytes_text

    kept = (
        [f"plan: kept of {plan.rows_kept:,} images: {', '.join(plan.taps_kept) or 'no tap'}"] if plan.rows_kept else []
    )
    taps = [
        f"plan: {key} ({tap.pooling}): {bytes_text(tap.bytes)} on disk, {bytes_text(tap.memory_bytes)} of memory"
        + (f", rounded by up to {tap.rounding:.1e} of its largest number" if tap.rounding else "")
        for key, tap in plan.taps.items()
    ]
    return [
        *kept,
        f"plan: {plan.rows:,} images in {_duration(plan.seconds)} at {plan.images_per_second:.0f} images/s "
        f"({plan.engine}, one pass for all taps)",
        *taps,
        f"plan: {bytes_text(plan.bytes_missing)} to write for a store of {bytes_text(plan.bytes_total)}, "
        f"{bytes_text(plan.bytes_free)} free",
        f"plan: about {bytes_text(plan.memory_bytes)} of memory beside the engine itself",
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "less than a second" if seconds < 1 else f"{seconds:.1f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
