"""Out-of-fold answers as a CSV file, and as columns beside a store's rows."""

import csv
from pathlib import Path

from tfcells.arrays import Ids
from tfcells.probes.sweep import Sweep


def write_predictions(sweep: Sweep, path: Path) -> None:
    """Write the best candidate's out-of-fold answers: `id,label,fold,prediction,confidence,p_<class>...`."""
    answers, names = sweep.best.predictions, sweep.class_names
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)  # "\r\n", or a name that holds a lone "\r" would not be quoted
        writer.writerow(["id", "label", "fold", "prediction", "confidence", *(f"p_{name}" for name in names)])
        for row, id in enumerate(sweep.ids):
            chances = answers.probabilities[row]
            label, fold = names[sweep.rows.labels[row]], sweep.rows.folds[row]
            guess = names[answers.predicted[row]]
            writer.writerow([id, label, fold, guess, f"{chances.max():.8f}", *(f"{chance:.8f}" for chance in chances)])


def prediction_columns(sweep: Sweep, ids: Ids) -> dict[str, list[str]]:
    """What the best probe said of each row, as metadata columns; `-` where it was not asked.

    Args:
        sweep: Whose best candidate speaks.
        ids: The rows, in the order of the columns.

    Returns:
        `prediction`, `outcome` (`hit` or `miss`) and `confidence`.
    """
    answers = sweep.best.predictions
    said = {
        id: (
            sweep.class_names[answers.predicted[row]],
            "hit" if answers.hits[row] else "miss",
            f"{answers.probabilities[row].max():.3f}",
        )
        for row, id in enumerate(sweep.ids)
    }
    rows = [said.get(id, ("-", "-", "-")) for id in ids]
    return {name: [row[place] for row in rows] for place, name in enumerate(("prediction", "outcome", "confidence"))}
