"""Two or more runs side by side: tables in the terminal, and one page."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfiw.errors import InputError
from lfiw.evaluation.figures import Picture
from lfiw.evaluation.plots import score_intervals, scores_by_exponent, training_curves
from lfiw.evaluation.record import EvaluationRecord, Metric, WeightingRecord
from lfiw.evaluation.report import render
from lfiw.evaluation.tables import Cells, as_number, number, print_table, verdict_line, with_error, with_interval
from lfiw.evaluation.verdict import Verdict, verdict_of
from lfiw.files import read_yaml, user_run, write_atomically
from lfiw.training.run_folder import RUNS, VALIDATION, Curve, logged_losses
from lfiw.version import __version__

LONGEST = 120  # characters of a file name


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluated run.

    Args:
        label: what it is called beside the others.
        record: its evaluation.json; config: content of its config.yaml, `a.b` → value.
        losses: validation log-loss of each of its classifiers.
    """

    label: str
    record: EvaluationRecord
    config: dict[str, Any]
    losses: dict[str, Curve]

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.record)

    def compared(self) -> list[WeightingRecord]:
        """As generated and, unless that is the same, under the recommended weighting."""
        uniform, chosen = self.record.uniform, self.record.chosen
        return [uniform] if chosen is uniform else [uniform, chosen]


def compare(paths: Sequence[str]) -> tuple[list[EvaluatedRun], Path]:
    """Prints the tables and writes the page.

    Args:
        paths: run folders.

    Returns:
        The runs, and the page: runs/comparisons/<run>+<run>.html.

    Raises:
        InputError: fewer than two runs, one named twice, one that does not exist or was not evaluated.
    """
    runs = read_runs(paths)
    print_table("scores, as generated and weighted", *score_rows(runs))
    for run in runs:
        print(f"{run.label}: {verdict_line(run.record)}")
    for warning in warnings_about(runs):
        print(warning)
    file = RUNS / "comparisons" / f"{'+'.join(run.label.replace('/', '-') for run in runs)[:LONGEST]}.html"
    write_atomically(file, render("comparison.html", page_values(runs)))
    print(f"page: {file}")
    return runs, file


def read_runs(paths: Sequence[str]) -> list[EvaluatedRun]:
    """The runs in these folders, in this order. Raises as `compare`."""
    folders = [user_run(path) for path in paths if path]
    if len(folders) < 2:
        raise InputError(f"compare={','.join(paths)}: expected two or more run folders, as compare=RUN_A,RUN_B")
    twice = [str(folder) for folder, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise InputError(f"compare={','.join(paths)}: {twice[0]} is named twice")
    names = Counter(folder.resolve().name for folder in folders)
    return [read_run(f, f.resolve().name if names[f.resolve().name] == 1 else str(f)) for f in folders]


def read_run(folder: Path, label: str) -> EvaluatedRun:
    """One run. Raises as `compare`."""
    if not (folder / "config.yaml").is_file():
        raise InputError(f"{folder} is not a run folder: it has no config.yaml")
    file = folder / "evaluation.json"
    if not file.is_file():
        raise InputError(f"{folder} was not evaluated: it has no evaluation.json; run python evaluate.py run={folder}")
    try:
        record, config = EvaluationRecord.read(file), read_yaml(folder / "config.yaml")
    except InputError as error:
        raise InputError(f"{folder}: cannot read its files ({error})") from None
    return EvaluatedRun(label, record, flat(config), logged_losses(folder / "metrics.jsonl", VALIDATION))


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as `a.b`."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def score_rows(runs: Sequence[EvaluatedRun]) -> Cells:
    """Titles and cells: each run as generated and under its recommended weighting, ± standard errors."""
    metrics = all_metrics(runs)
    rows = []
    for run in runs:
        for w in run.compared():
            found = [w.metrics.get(metric) for metric in metrics]
            scores = [with_error(score.value, score.se) if score else "–" for score in found]
            rows.append([f"{run.label}: {run.record.starred(w.name)}", number(w.ess), number(w.pareto_k, 2), *scores])
    return ["run: weighting", "ESS", "k̂", *(metric.title for metric in metrics)], rows


def all_metrics(runs: Sequence[EvaluatedRun]) -> list[Metric]:
    """The standard metrics that any of the runs has."""
    return list(dict.fromkeys(metric for run in runs for metric in run.record.metrics()))


def weighting_rows(runs: Sequence[EvaluatedRun], metric: Metric) -> Cells:
    """Titles and cells: one score, with its 95 % interval, under every weighting of every run."""
    names = dict.fromkeys(w.name for run in runs for w in run.record.weightings)
    rows = []
    for name in names:
        cells = []
        for run in runs:
            found = next((w.metrics.get(metric) for w in run.record.weightings if w.name == name), None)
            mark = " ★" if name == run.record.recommended else ""
            cells.append(with_interval(found.value, found.half_width, 4) + mark if found else "–")
        rows.append([name, *cells])
    return ["weighting", *(run.label for run in runs)], rows


def configuration_rows(runs: Sequence[EvaluatedRun]) -> Cells:
    """Titles and cells: the keys whose values differ."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    shown = [[key, *(str(run.config.get(key, "–")) for run in runs)] for key in keys]
    return ["key", *(run.label for run in runs)], [row for row in shown if len(set(row[1:])) > 1]


def warnings_about(runs: Sequence[EvaluatedRun]) -> list[str]:
    """Why scores of these runs are not comparable, a sentence each."""
    parts = []
    extractors = {tuple((e.name, e.sha256) for e in run.record.extractors) for run in runs}
    if len(extractors) > 1:
        parts.append("The runs were scored in different features: compare only scores of the same extractor.")
    sizes = {(run.record.num_real, run.record.num_generated) for run in runs}
    if len(sizes) > 1:
        parts.append("The runs were scored on different numbers of rows: FID is biased upward where there are fewer.")
    return parts


def page_values(runs: Sequence[EvaluatedRun]) -> dict[str, Any]:
    """What the page shows."""
    metrics = all_metrics(runs)
    return {
        "runs": list(runs),
        "warnings": warnings_about(runs),
        "scores": score_rows(runs),
        "tables": [(metric.title, weighting_rows(runs, metric)) for metric in metrics],
        "intervals": [intervals_picture(runs, metric) for metric in metrics],
        "curves": [picture for metric in metrics if (picture := curves_picture(runs, metric))],
        "training": training_picture(runs),
        "configuration": configuration_rows(runs),
        "version": __version__,
    }


def intervals_picture(runs: Sequence[EvaluatedRun], metric: Metric) -> Picture:
    """One score of every run, as generated and weighted."""
    shown = [(run, w) for run in runs for w in run.compared() if metric in w.metrics]
    names = [f"{run.label}\n{run.record.starred(w.name)}" for run, w in shown]
    scores = [w.metrics[metric] for _, w in shown]
    values, half_widths = [score.value for score in scores], [as_number(score.half_width) for score in scores]
    figure = score_intervals(names, values, half_widths, metric.title)
    parts = ", ".join(f"{' '.join(name.split())} {number(value)}" for name, value in zip(names, values, strict=True))
    return Picture(metric.title, f"Points with intervals, one under another: {parts}.", figure)


def curves_picture(runs: Sequence[EvaluatedRun], metric: Metric) -> Picture | None:
    """One score against the flattening exponent, a curve a run; none where no run has it."""
    curves = {}
    for run in runs:
        kept = run.record.flattening
        if kept and metric in kept.scores:
            curves[run.label] = kept.known(kept.scores[metric])
    curves = {label: curve for label, curve in curves.items() if curve[0]}
    if not curves:
        return None
    parts = "; ".join(
        f"{label}: from {number(scores[0])} at α = {alphas[0]:g} to {number(scores[-1])} at α = {alphas[-1]:g}"
        for label, (alphas, scores) in curves.items()
    )
    return Picture(f"{metric.title} against α", f"{parts}.", scores_by_exponent(curves, metric.title))


def training_picture(runs: Sequence[EvaluatedRun]) -> list[Picture]:
    """Validation losses, a line a classifier; no picture where no run has logged any."""
    curves = {run.label: list(run.losses.values()) for run in runs if run.losses}
    if not curves:
        return []
    parts = "; ".join(
        f"{label} {', '.join(number(min(losses)) for _, losses in found)}" for label, found in curves.items()
    )
    alt = f"Log-loss against the epoch; lowest of each classifier: {parts}."
    return [Picture("Validation log-loss", alt, training_curves(curves))]
