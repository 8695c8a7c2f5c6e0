"""How things look in a terminal: progress on stderr, tables and JSON on stdout."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from tfcells.names import visible
from tfcells.progress import Progress, silent
from tfcells.report.words import UNDECIDED, difference_words, mean_words, read_by, title_of


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> None:
    """Columns as wide as they need to be; `numbers` are right-aligned."""
    widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def print_scores(results: Mapping[str, Any]) -> None:
    """Candidates and baselines of `results.json` with intervals; ties are said to be ties."""
    rows: list[tuple[str, ...]] = []
    for entry in [*results["probes"], *results["baselines"]]:
        against = entry["best_minus_this"]
        standing = "best" if against is None else ("not distinguishable" if entry["tied_with_best"] else "")
        rows.append(
            (
                " + ".join(entry["taps"]) or "-",
                read_by(entry),
                *_inner(entry),
                share(entry["balanced_accuracy"]),
                share(entry["accuracy"]),
                share(entry["macro_f1"]),
                standing,
            )
        )
    nested = results["selection"] or {"joined": None}
    joined = nested["joined"] or {"minus_baselines": ()}
    if results["selection"]:
        rows.append(_nested_row("(chosen anew in each fold)", nested))
    if nested["joined"]:
        rows.append(_nested_row(f"(the same, mean of {joined['dealings']} dealings)", joined))
    header = ("layers", "read by", "inner best", "optimism", "balanced accuracy", "accuracy", "macro-F1", "from best")
    print_table(header, rows, numbers=(2, 3, 4, 5, 6))
    for entry in joined["minus_baselines"]:
        value, low, high = (100 * entry["difference"][key] for key in ("value", "low", "high"))
        p_value = f"p {entry['p_adjusted']:.3f}" if entry["p_adjusted"] >= 0.001 else "p < 0.001"
        chance = UNDECIDED if entry["undecided"] else f"{p_value} with all baselines counted"
        print(
            f"nested minus {title_of(entry)}, mean of {joined['dealings']} dealings: {value:+.1f} points of balanced "
            f"accuracy ({low:+.1f} to {high:+.1f}), {chance}"
        )
    _print_trust(results)


def print_explanations(facts: Mapping[str, Any]) -> None:
    """Methods with their checks and verdicts, and why."""
    header = ["method", "deletion", "minus random", "insertion", "minus random", "random weights", "flat", "adds up"]
    masked = any(summary["mass_inside"] for summary in facts["methods"].values())
    header += [*(("inside", "disc") if masked else ()), "verdict"]
    rows = []
    for name, summary in facts["methods"].items():
        mass, whole = summary["mass_inside"], summary["completeness"]
        correlation = summary["randomisation"]["median_absolute_rank_correlation"]
        cells = [name]
        for kind in ("deletion", "insertion"):
            cells += [mean_words(summary[kind]["map"]), difference_words(summary[kind]["map_minus_random_order"])]
        cells.append("not known" if correlation is None else f"{correlation:.2f}")
        cells.append(f"{summary['flat']} of {summary['images']}")
        cells.append("" if whole is None else f"{whole['reached']} of {whole['images']}")
        if mass is not None:
            cells += [mean_words(mass["map"]), mean_words(mass["centred_disc"])]
        rows.append([*cells, summary["verdict"]])
    print_table(header, rows, numbers=tuple(range(1, len(header) - 1)))
    for name, summary in facts["methods"].items():
        for reason in summary["reasons"] or summary["evidence"]:
            print(f"{name} is {summary['verdict']} here: {reason}")


def _print_trust(results: Mapping[str, Any]) -> None:
    """The leak tax and what more labels would bring, or why neither is known."""
    leak, curve = results["leak_tax"], results["learning_curve"]
    if leak["tax"] is None:
        print(f"leak tax not measured: {leak['reason']}")
    else:
        value, low, high = (100 * leak["tax"][key] for key in ("value", "low", "high"))
        print(
            f"leak tax: {value:+.1f} points of accuracy ({low:+.1f} to {high:+.1f}) if folds parted groups, "
            f"{100 * leak['random_folds']:.1f} against {100 * leak['grouped_folds']:.1f} %"
        )
    if curve is None:
        print("no learning curve: too few images, or groups, to learn from a part of them")
    else:
        print(f"half as many errors: {curve['half_the_errors']['statement']}")


def _nested_row(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    scores = (share(entry[metric]) for metric in ("balanced_accuracy", "accuracy", "macro_f1"))
    return name, "nested", *_inner(entry), *scores, ""


def _inner(entry: Mapping[str, Any]) -> tuple[str, str]:
    if entry["inner_best"] is None:
        return "", ""
    return f"{100 * entry['inner_best']:.1f} %", f"{100 * entry['optimism']:+.1f}"


def share(number: Mapping[str, float]) -> str:
    """A share with its 95 % interval."""
    return f"{100 * number['value']:.1f} % ({100 * number['low']:.1f} to {100 * number['high']:.1f})"


def say(text: str) -> None:
    """A line on stderr."""
    print(visible(text), file=sys.stderr)


def name_quarantine(quarantined: Sequence[tuple[str, str]]) -> None:
    """Every file that was left out, with its reason, on stderr."""
    for id, reason in quarantined:
        say(f"quarantined {id}: {reason}")


def progress_bars(*, quiet: bool) -> Progress:
    """Bars on a terminal; on anything else one line at the end of each stage."""
    if quiet:
        return silent
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Bars:
    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._bar is None or stage != self._stage:
            self._stage = stage
            self._bar = tqdm(total=total, desc=stage, file=sys.stderr, unit_scale=True)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None


class _Lines:
    def __init__(self) -> None:
        self._stage, self._started = "", 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self._stage, self._started = stage, time.perf_counter()
        if done >= total:
            say(f"{stage}: {total:,} in {time.perf_counter() - self._started:.1f} s")
            self._stage = ""
