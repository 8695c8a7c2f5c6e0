"""`tfcells VERB ...`: the parser and the way errors become exit codes.

Exit codes: 0 done; 1 done, some input quarantined or left out (each named); 2 the request cannot be met as
asked, nothing written; 3 failed, or found damage.

Nothing heavy is imported here, so that `--help` answers at once; each verb imports what it needs.
"""

import argparse
import io
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final

from tfcells.cli.quiet import quieten_tensorflow
from tfcells.errors import RequestError, TfcellsError
from tfcells.names import visible

_DESCRIPTION: Final = (
    "From a folder of cell images to honest numbers, a map you can walk, and a served model. "
    "Results go to stdout, progress and messages to stderr."
)
_OVERRIDABLE: Final = ("run", "finetune")
"""Verbs whose config can be overridden field by field."""

_EPILOG: Final = (
    "Exit codes: 0 done; 1 done, some input left out by name; 2 cannot be met as asked; 3 failed or damaged."
)

_WEIGHTS: Final = "imagenet, cells, another name, a file or folder; none is random (default: imagenet)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after `tfcells`; those of the process by default.

    Returns:
        The exit code.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    overrides = _overrides(rest) if options.verb in _OVERRIDABLE else None
    if overrides is None:
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        overrides = {}
    _escape_what_is_no_text()
    _log_to_stderr(quiet=options.quiet)
    quieten_tensorflow()
    try:
        return _call(options, overrides)
    except TfcellsError as error:
        print(f"tfcells: {visible(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("tfcells: interrupted; what is written so far is kept, the same command goes on", file=sys.stderr)
        return 130
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        print(f"tfcells: the system refused: {error.strerror or error}{place}", file=sys.stderr)
        return 3
    # A fault of ours: show where, and still end with the code that means failure.
    except Exception:
        logging.getLogger("tfcells").exception("tfcells: failed unexpectedly; this is a bug, please report it")
        return 3


def build_parser() -> argparse.ArgumentParser:
    """The parser with every verb."""
    parser = argparse.ArgumentParser(prog="tfcells", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=_version())
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (summary, add_options) in _VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        add_options(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        verb.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def _demo(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--out", default="runs/demo", metavar="DIR", help="default: runs/demo")


def _run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("config", metavar="CONFIG", help="a YAML file, e.g. configs/quickstart.yaml")
    verb.add_argument("--out", metavar="DIR", help="default: runs/<config>")
    verb.epilog = "Any field of the config can be given as --section.field VALUE, e.g. --images.root DIR --seed 1."


def _finetune(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("config", metavar="CONFIG", help="a YAML file, e.g. configs/finetune_pbc_mobilenet_v2.yaml")
    verb.add_argument("--out", metavar="DIR", help="default: runs/<config>")
    verb.add_argument("--against", metavar="DIR", help="a store or a study with frozen features to compare with")
    verb.add_argument(
        "--find-rate",
        action="store_true",
        help="train nothing: test which learning rates suit each phase, 100 batches each, and write rate_finder.json "
        "and rate_finder.png with suggestions; default --out: runs/<config>-rates",
    )
    verb.epilog = (
        "Any field of the config can be given as --section.field VALUE, e.g. --images.root DIR --phases.1.epochs 3 "
        "--compare true. What was stopped goes on by the same command."
    )


def _layers(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("backbone", metavar="BACKBONE", help="e.g. mobilenet_v2, vgg16")


def _extract(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("images", metavar="DIR", help="folder, .npz, .csv manifest, tfds:<name> or s3://...")
    verb.add_argument("--backbone", metavar="B", help="e.g. mobilenet_v2; not needed for hand-made features")
    verb.add_argument("--features", default="", metavar="A,B", help="hand-made: raw, colour, stain, hog, lbp")
    verb.add_argument(
        "--layers", default="", metavar="A,B", help="e.g. out_relu or a:mean,b:flatten; default: the catalog's"
    )
    verb.add_argument("--pooling", default="mean", metavar="P", help="mean, max, gem, flatten or none (default: mean)")
    verb.add_argument("--weights", default="imagenet", metavar="W", help=_WEIGHTS)
    verb.add_argument("--groups", metavar="CSV", help="columns id and group")
    verb.add_argument("--size", type=int, metavar="PIXELS", help="side of the network's input; default: the catalog's")
    verb.add_argument("--batch-size", type=int, default=32, metavar="N")
    verb.add_argument("--dtype", default="float32", help="of the stored features: float32 or float16")
    verb.add_argument("--seed", type=int, default=0, help="of random weights")
    verb.add_argument("--engine", default="auto", metavar="E", help="auto, tensorflow, openvino or onnxruntime")
    verb.add_argument("--precision", default="auto", metavar="P", help="auto, float32, bfloat16 or float16")
    verb.add_argument("--budget", metavar="BYTES", help="refuse a store larger than this, e.g. 20GB")
    verb.add_argument("--out", metavar="STORE", help="the store to make or to go on with")
    _add_cluster(verb)
    verb.add_argument("--workers", type=int, metavar="N", help="of --cluster; default: one per machine or GPU")
    verb.add_argument("--plan", action="store_true", help="print bytes, time and memory, and stop")


def _add_cluster(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="Ray workers: `local`, or where a cluster runs, e.g. auto (extra: cluster)",
    )


def _bench(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("images", metavar="DIR", help="folder, .npz, .csv manifest or s3://...")
    verb.add_argument("--backbone", required=True, metavar="B")
    verb.add_argument("--layers", default="", metavar="A,B", help="default: the catalog's")
    verb.add_argument("--pooling", default="mean", metavar="P")
    verb.add_argument("--weights", default="imagenet", metavar="W", help=_WEIGHTS)
    verb.add_argument("--size", type=int, metavar="PIXELS")
    verb.add_argument("--batch-size", type=int, default=32, metavar="N")
    verb.add_argument("--seed", type=int, default=0, help="of random weights")
    verb.add_argument("--count", type=int, default=256, metavar="N", help="images to measure with (default: 256)")
    verb.add_argument("--repeats", type=int, default=3, metavar="N", help="turns, of which the median counts")


def _audit(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("images", metavar="DIR")
    verb.add_argument("--out", required=True, metavar="DIR2")
    source = verb.add_mutually_exclusive_group()
    source.add_argument("--store", metavar="STORE", help="features whose nearest neighbours are compared too")
    source.add_argument("--backbone", metavar="B", help="extract such features first, into DIR2/features")
    verb.add_argument("--weights", default="imagenet", metavar="W", help=f"of --backbone: {_WEIGHTS}")
    verb.add_argument("--seed", type=int, default=0)


def _split(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("images", metavar="DIR")
    verb.add_argument("--out", required=True, metavar="DIR2")
    verb.add_argument("--groups", metavar="CSV", help="columns id and group; an audit writes such a file")
    verb.add_argument("--folds", type=int, default=5)
    verb.add_argument("--holdout", type=float, default=0.0, metavar="SHARE", help="kept aside until the end")
    verb.add_argument("--validation", type=float, default=0.0, metavar="SHARE", help="kept for choices in training")
    verb.add_argument("--seed", type=int, default=0)


def _verify(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="STORE")
    verb.add_argument("--images", metavar="DIR", help="default: where they were when the store was made")
    verb.add_argument("--weights", metavar="W", help="default: the name in the recipe")
    verb.add_argument("--rows", type=int, default=32, metavar="K", help="extracted anew (default: 32)")
    verb.add_argument("--seed", type=int, default=0, help="of their choice")
    verb.epilog = (
        "Exit codes: 0 sound; 1 no fault found, but pictures or rows could not be compared (it says why); 2 no store, "
        "or no such images; 3 damaged (each fault is named)."
    )


def _probe(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="STORE")
    verb.add_argument("--out", required=True, metavar="DIR")
    source = verb.add_mutually_exclusive_group()
    source.add_argument("--split", metavar="CSV", help="columns id, split, fold, group")
    source.add_argument("--groups", metavar="CSV", help="columns id and group")
    verb.add_argument("--probes", default="logistic,knn,svm,tree", metavar="A,B")
    verb.add_argument("--scalers", default="standard", metavar="A,B", help="none, minmax, standard")
    verb.add_argument("--reductions", default="none", metavar="A,B", help="none, pca:SHARE, pca:NUMBER")
    verb.add_argument("--folds", type=int, help="outer folds, of a split that is made (default: 5); not with --split")
    verb.add_argument("--inner-folds", type=int, default=3, help="folds that choose parameters; 0 chooses nothing")
    verb.add_argument(
        "--repeats",
        type=int,
        default=1,
        help="dealings of the outer folds; their mean has an interval that holds the luck of the dealing; other "
        "dealings ignore what the folds of --split mean",
    )
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--workers", type=int, default=-1, help="processes; default: one per core")
    _add_cluster(verb)
    verb.add_argument(
        "--memory",
        type=float,
        default=1.5,
        metavar="GIB",
        help="for features or matrices in each process (default: 1.5); no number depends on it",
    )


def _map(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="STORE")
    verb.add_argument("--method", default="tsne", help="pca, tsne or umap (default: tsne)")
    verb.add_argument(
        "--layers", "--taps", dest="taps", metavar="A,B", help="or hand-made features; default: the last tap"
    )
    verb.add_argument("--perplexity", type=float, default=30.0)
    verb.add_argument("--max-rows", type=int, default=5000, metavar="N", help="beyond: a stratified sample")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--out", required=True, metavar="DIR")


def _projector(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="STORE")
    verb.add_argument(
        "--layers", "--taps", dest="taps", metavar="A,B", help="or hand-made features; default: the last tap"
    )
    verb.add_argument("--thumbnail", type=int, default=64, metavar="PIXELS")
    verb.add_argument("--out", required=True, metavar="LOGDIR")


def _export(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run", metavar="RUN", help="output folder of `tfcells run`")
    verb.add_argument("--out", metavar="DIR", help="default: saved_models/<study>")


def _predict(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("export", metavar="EXPORT", help="folder of an export, its 1/, or a run")
    verb.add_argument("images", metavar="DIR")
    verb.add_argument("--out", required=True, metavar="FILE.csv")


def _explain(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run", metavar="RUN", help="output folder of `tfcells run`")
    verb.add_argument("image", nargs="?", metavar="IMAGE", help="an id of the study, or a file")
    verb.add_argument("--errors", type=int, default=0, metavar="N", help="the most confident wrong answers")
    verb.add_argument(
        "--methods",
        default="exact,gradcam,ig,occlusion",
        metavar="A,B",
        help="exact, gradcam, ig, occlusion, shap (extra: explain); default: all but shap",
    )
    verb.add_argument("--masks", metavar="DIR", help="DIR/<id>: where the cell is, what is not black")
    verb.add_argument(
        "--checks",
        type=int,
        default=16,
        metavar="N",
        help="least images that methods are checked on; few show nothing (default: %(default)s)",
    )
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--out", required=True, metavar="DIR")


_VERBS: Final[dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]]] = {
    "demo": ("the whole study on generated sample images, offline, in a few minutes", _demo),
    "run": ("one study from a config; every field can be overridden", _run),
    "finetune": ("train a network from a config; goes on where it was stopped", _finetune),
    "audit": ("copies, contradicting classes and odd images in a folder; writes groups", _audit),
    "split": ("a stratified split that parts no group, as a file", _split),
    "layers": ("what a backbone can be tapped at: names, shapes, parameters, bytes per image", _layers),
    "extract": ("features of a folder of images into a store; prints the plan first", _extract),
    "verify": ("check every digest of a store, and extract some rows anew", _verify),
    "bench": ("how fast each installed engine is here, and whether the table of engines is right", _bench),
    "probe": ("how well the features of a store tell classes apart, with intervals", _probe),
    "map": ("coordinates of a store with quality numbers, mosaic and CSV", _map),
    "projector": ("a folder for TensorBoard's Projector", _projector),
    "explain": ("what a study's best candidate looked at, with checks of every map", _explain),
    "export": ("a run's best candidate as one SavedModel that takes image bytes", _export),
    "predict": ("use an export on a folder of images", _predict),
}


def _call(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    from tfcells.cli import verbs

    return verbs.VERBS[options.verb](options, overrides)


def _overrides(words: Sequence[str]) -> dict[str, str]:
    """`--images.root DIR` and `--images.root=DIR` to a dict."""
    found, words = {}, list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or word == "--":
            raise SystemExit(_usage(f"{word!r} is not an option. Give config fields as --section.field VALUE."))
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            if not words or words[0].startswith("--"):
                raise SystemExit(_usage(f"--{key} has no value. Give config fields as --section.field VALUE."))
            value = words.pop(0)
        found[key] = value
    return found


def _usage(message: str) -> int:
    print(f"tfcells: {message}", file=sys.stderr)
    return RequestError.exit_code


def _escape_what_is_no_text() -> None:
    r"""Print names that are not valid UTF-8 as `\udcff`, their form in JSON too, rather than fail when all is done."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _log_to_stderr(*, quiet: bool) -> None:
    log = logging.getLogger("tfcells")
    log.handlers = [logging.StreamHandler(sys.stderr)]
    log.handlers[0].setFormatter(logging.Formatter("%(message)s"))
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False


def _version() -> str:
    from importlib.metadata import version

    return f"tfcells {version('tfcells')}"
