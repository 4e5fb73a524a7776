"""Put the tables of results/*.json into README.md, between its <!-- results:NAME --> and <!-- /results --> marks.

python tools/render_results.py            rewrite the README
python tools/render_results.py --check    fail if it would change
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError
from lfiw.tables import number

ROOT = Path(__file__).parent.parent
MARKED = re.compile(r"(<!-- results:(\w+) -->\n).*?(<!-- /results -->)", re.S)

Study = dict[str, Any]


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the README is out of date")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(arguments)
    readme = ROOT / "README.md"
    old = readme.read_text()
    new = MARKED.sub(lambda mark: f"{mark[1]}{render(mark[2])}\n{mark[3]}", old)
    if options.check and new != old:
        raise InputError("README.md does not show what results/ holds: run python tools/render_results.py")
    if new != old:
        readme.write_text(new)


def render(name: str) -> str:
    """A study's table, and under it how it was made."""
    file = ROOT / "results" / f"{FILES.get(name, name)}.json"
    if name not in TABLES or not file.is_file():
        raise InputError(f"README.md asks for results:{name}, but there is no {file.name} or no table for it")
    study: Study = json.loads(file.read_text())
    minutes = f"{study['seconds'] / 60:.1f} minutes" if study["seconds"] > 90 else f"{study['seconds']:.0f} seconds"
    note = f"`{study['command']}`, {minutes} on {study['hardware']}, lfiw {study['version']}."
    return f"{TABLES[name](study)}\n\n{note}"


def markdown(titles: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def cells(study: Study) -> Callable[[str, str], str]:
    """(name, metric) → mean ± standard error, two digits of the error."""
    found = {(r["name"], r["metric"]): r for r in study["rows"]}

    def cell(name: str, metric: str) -> str:
        row = found.get((name, metric))
        return "–" if row is None else plus_minus(row["mean"], row["se"])

    return cell


def plus_minus(mean: float, error: float | None) -> str:
    """A mean with as many digits as two digits of its error allow."""
    if error is None:
        return f"{mean:.4g}"
    if error == 0:
        return f"{mean:g}"
    digits = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def digits(study: Study) -> str:
    cell = cells(study)
    titles = ["weighting", "ESS", "FID ↓", "FID − uniform", "KID ↓", "FID ↓ @classifier", "IS ↑", "class distance ↓"]
    metrics = ["ess", "fid", "difference_fid", "kid", "fid@classifier", "is@classifier", "class_distance"]
    shown = ["reference", "uniform", "self-normalised", "smoothed", "flatten 0.5", "clip 1"]
    return markdown(titles, [[name, *(cell(name, m) for m in metrics)] for name in shown])


def toy(study: Study) -> str:
    cell = cells(study)
    cases = [r["name"] for r in study["rows"] if r["metric"] == "log_ratio_rmse"]
    kinds = ["uniform", "learned", "exact"]
    titles = [
        "data",
        "log-ratio RMSE",
        *(f"bias of {quantity}, {kind}" for quantity in ("P(valley)", "E\\|x − μ\\|") for kind in kinds),
    ]
    quantities = ("bias_valley", "bias_distance")
    rows = [
        [c, cell(c, "log_ratio_rmse"), *(cell(f"{c} {kind}", q) for q in quantities for kind in kinds)] for c in cases
    ]
    return markdown(titles, rows)


def benchmarks(study: Study) -> str:
    titles = ["benchmark", "ours", "peer", "peer's", "times as fast (range)", "goal"]
    rows = []
    for r in study["rows"]:
        ours, theirs = (f"{number(r[side], 3)} {r['unit']}" for side in ("ours", "theirs"))
        ratio = f"{number(r['ratio'], 3)} ({number(r['min'], 3)}–{number(r['max'], 3)})"
        rows.append([r["name"], ours, r["peer"], theirs, ratio, "–" if r["goal"] is None else f"{r['goal']:g}"])
    return markdown(titles, rows)


def cifar10_gan(study: Study) -> str:
    cell = cells(study)
    titles = ["weighting", "ESS", "k̂", "FID ↓", "FID − uniform", "its 95 % interval in one run", "FID − equal ESS"]
    titles += ["FID, infinite n", "KID ↓", "IS ↑ @resnet56", "FID ↓ @resnet56"]
    metrics = ["correction_fid", "infinite_fid", "kid", "is@resnet56", "fid@resnet56"]
    names = list(dict.fromkeys(r["name"] for r in study["rows"] if r["metric"] in ("fid", "ess")))
    widths = {r["name"]: r["mean"] for r in study["rows"] if r["metric"] == "difference_half_width_fid"}
    rows = []
    for name in names:
        first = [cell(name, m) for m in ("ess", "pareto_k", "fid", "difference_fid")]
        width = f"± {widths[name]:.2g}" if widths.get(name) else "–"
        rows.append([name, *first, width, *(cell(name, m) for m in metrics)])
    return markdown(titles, rows)


def cifar10_skewed(study: Study) -> str:
    cell = cells(study)
    titles = ["weighting", "ESS", "FID ↓", "way to exact", "KID ↓", "way to exact", "class distance ↓", "way to exact"]
    titles += ["by labels ↓", "way to exact", "FID ↓ @resnet56", "way to exact"]
    metrics = ["ess", "fid", "way_fid", "kid", "way_kid", "class_distance", "way_class_distance"]
    metrics += ["label_distance", "way_label_distance", "fid@resnet56", "way_fid@resnet56"]
    names = ["reference", "uniform", "self-normalised", "auto", "exact"]
    return markdown(titles, [[name, *(cell(name, m) for m in metrics)] for name in names])


def statistics(study: Study) -> str:
    names = {
        ("num_cases", "count"): "pairs of densities",
        ("num_seeds", "count"): "seeds each",
        ("auto_significantly_worse_share", "share"): "pairs where `auto` is significantly worse than uniform (goal: 0)",
        ("auto_mse_within_105_share", "share"): "pairs where its squared error is at most 1.05 × plain (goal: 0.95)",
        (
            "auto_lower_mse_where_k_high_share",
            "share",
        ): "of the pairs with plain k̂ > 0.7: where it is lower (goal: 0.8)",
        ("nothing_is_right_share", "share"): "“nothing to correct” said: where plain weights were no better",
        ("interval_coverage", "share"): "95 % intervals of means under `auto` that hold their limit",
        ("interval_coverage_few_rows", "share"): "… of those marked “few rows”",
        (
            "auto_for_scores_significantly_worse_share",
            "share",
        ): "gate for scores (FID, …): pairs where it is significantly worse than uniform",
        ("auto_for_scores_mse_within_105_share", "share"): "… pairs with a squared error of at most 1.05 × plain",
        ("cannot_is_right_share", "share"): "… “cannot be corrected” said: where plain weights were no better",
        ("median_bias_reduction", "plain"): "median reduction of the error, plain weights (the paper's)",
        ("median_bias_reduction", "calibrated"): "… with temperature scaling",
        ("median_bias_reduction", "auto"): "… `auto`",
        ("median_bias_reduction", "exact"): "… exact weights",
        (
            "median_mse_over_uniform_low_dimensions",
            "plain",
        ): "median squared error over uniform's, up to 4 dimensions: plain",
        ("median_mse_over_uniform_low_dimensions", "auto"): "… `auto`",
        ("median_mse_over_uniform_low_dimensions", "RuLSIF"): "… densratio's RuLSIF (500 rows a side)",
    }
    found = {(r["name"], r["metric"]): r for r in study["rows"]}
    rows = []
    for key, title in names.items():
        r = found[key]
        of = f" of {r['of']:,}" if "of" in r else ""
        rows.append([title, f"{r['mean']:.3g}{of}"])
    return markdown(["known truths", ""], rows)


def estimators(study: Study) -> str:
    cell = cells(study)
    titles = ["loss, data", "log-ratio RMSE"]
    titles += [f"{kind} of {q}" for q in ("P(valley)", "E\\|x − μ\\|") for kind in ("bias", "sd")]
    metrics = ["log_ratio_rmse", "bias_valley", "sd_valley", "bias_distance", "sd_distance"]
    names = list(dict.fromkeys(r["name"] for r in study["rows"]))
    return markdown(titles, [[name, *(cell(name, m) for m in metrics)] for name in names])


def resampling(study: Study, data: str, classifier: str) -> str:
    """Sets of as many samples; T and the percentile of rejection stand in their names."""
    cell = cells(study)
    found = {(r["name"], r["metric"]): r for r in study["rows"]}
    prefix = f"{data}/"
    names = [r["name"] for r in study["rows"] if r["name"].startswith(prefix) and r["metric"] == "candidates"]
    titles = ["set", "candidates a sample", "distinct", "FID ↓", "FID − uniform, 95 %", f"FID ↓ @{classifier}", "KID ↓"]
    titles += ["IS ↑", "precision ↑", "recall ↑", "density ↑", "coverage ↑"]
    rows = []
    for name in names:
        difference = found.get((name, "difference_fid"))
        shown = "0" if difference is None else f"{difference['low']:.3g} … {difference['high']:.3g}"
        metrics = [f"fid@{classifier}", "kid", "is", "precision", "recall", "density", "coverage"]
        own = [f"{found[name, 'candidates']['mean']:.3g}", f"{found[name, 'distinct']['mean']:.0%}", cell(name, "fid")]
        rows.append([set_name(name.removeprefix(prefix)), *own, shown, *(cell(name, m) for m in metrics)])
    return markdown(titles, rows)


def set_name(name: str) -> str:
    """`sir/auto/16` → `sir, T = 16`."""
    if name == "uniform":
        return name
    method, weighting, size = name.split("/")
    setting = f"percentile {size}" if method == "rejection" else f"T = {size}"
    return f"{method}, {setting}" + (", plain ratio" if weighting == "plain" else "")


def ope(study: Study) -> str:
    """A table a problem under its name, the estimates in the order of the study."""
    found = {(r["name"], r["metric"]): r for r in study["rows"]}
    cell = cells(study)
    problems = list(dict.fromkeys(r["name"].rpartition("/")[0] for r in study["rows"]))
    estimates = list(dict.fromkeys(r["name"].rpartition("/")[2] for r in study["rows"] if r["metric"] == "abs_error"))
    titles = ["estimate"] + [f"{problem}: {what}" for problem in problems for what in ("\\|error\\|", "/ uncorrected")]
    rows = [["the evaluation policy's return"], ["the behaviour policy's"]]
    for problem in problems:
        rows[0] += [cell(f"{problem}/truth", "return"), ""]
        rows[1] += [cell(f"{problem}/behaviour policy", "return"), ""]
    for name in estimates:
        row = [name]
        for problem in problems:
            ratio = found.get((f"{problem}/{name}", "abs_error_ratio"))
            row += [cell(f"{problem}/{name}", "abs_error"), "–" if ratio is None else with_interval(ratio)]
        rows.append(row)
    recalled = [f"{RECALLED_RATIOS[p]:g}" if p in RECALLED_RATIOS else "–" for p in problems]
    rows.append(["as recalled from the paper, full horizon", *(c for r in recalled for c in ("–", r))])
    return markdown(titles, rows)


def with_interval(row: dict[str, Any]) -> str:
    """A ratio with its 95 % interval."""
    ends = f" ({row['low']:.2f}–{row['high']:.2f})" if "low" in row else ""
    return f"{row['mean']:.2f}{ends}"


def precision(study: Study) -> str:
    cell = cells(study)
    rows = [[name, *(cell(name, m) for m in ("fid", "kid"))] for name in ("fp32", "bf16")]
    drift = [f"{100 * r['mean']:.2f} %" for r in study["rows"] if r["name"].startswith("bf16 −")]
    return markdown(["precision", "FID", "KID"], [*rows, ["difference", *drift]])


def cifar10_paper(study: Study) -> str:
    cell = cells(study)
    shown = {"reference": "reference", "uniform": "default", "self-normalised": "LFIW"}
    rows = [[f"ours, {title}", *(cell(n, f"{m}_paper") for m in ("fid", "kid"))] for n, title in shown.items()]
    for row, name in zip(rows, shown, strict=True):
        row.insert(1, cell(name, "is_paper@resnet56") + " (resnet56)")
    return markdown(["model", "IS ↑", "FID ↓", "KID ↓"], rows + [list(row) for row in RECALLED])


def cifar10_networks(study: Study) -> str:
    cell = cells(study)
    titles = ["ratio network", "validation log-loss ↓", "ESS", "k̂", "FID − uniform"]
    titles += [f"{title}, ŵ^0.25" for title in ("KL gain", "ESS", "FID − uniform")]
    names = [r["name"] for r in study["rows"] if r["metric"] == "log_loss"]
    return markdown(
        titles,
        [
            [
                name,
                cell(name, "log_loss"),
                *(cell(f"{name}: self-normalised", m) for m in ("ess", "pareto_k", "difference_fid")),
                *(cell(f"{name}: flatten 0.25", m) for m in ("kl_gain", "ess", "difference_fid")),
            ]
            for name in names
        ],
    )


def trained_generators(study: Study) -> str:
    """What the training of each came to."""
    cell = cells(study)
    titles = ["generator", "epochs", "minutes of training", "bits a dimension, validation ↓"]
    rows = [
        [
            GENERATORS[name],
            cell(name, "epochs"),
            f"{mean_of(study, name, 'seconds') / 60:.0f}",
            cell(name, "val/bits_per_dim"),
        ]
        for name in scored_generators(study)
    ]
    return markdown(titles, rows)


def generators(study: Study) -> str:
    """The paper's Table 1 in shape: the default and corrected scores of each family."""
    cell = cells(study)
    widths = {r["name"]: r["mean"] for r in study["rows"] if r["metric"] == "difference_half_width_fid"}
    titles = [
        "generator",
        "weights",
        "ESS",
        "k̂",
        "FID ↓",
        "FID − uniform",
        "its 95 % interval in one run",
        "FID − equal ESS",
    ]
    titles += ["KID ↓", "IS ↑ @resnet56", "FID ↓ @resnet56"]
    metrics = ["correction_fid", "kid", "is@resnet56", "fid@resnet56"]
    rows = []
    for name in scored_generators(study):
        for weighting, shown in WEIGHTINGS.items():
            key = f"{name}: {weighting}"
            width = f"± {widths[key]:.2g}" if widths.get(key) else "–"
            first = [cell(key, m) for m in ("ess", "pareto_k", "fid", "difference_fid")]
            rows.append([GENERATORS[name], shown, *first, width, *(cell(key, m) for m in metrics)])
    return markdown(titles, rows)


def scored_generators(study: Study) -> list[str]:
    """Those that the study has."""
    names = {r["name"] for r in study["rows"]}
    return [name for name in GENERATORS if name in names]


def mean_of(study: Study, name: str, metric: str) -> float:
    return float(next(r["mean"] for r in study["rows"] if (r["name"], r["metric"]) == (name, metric)))


GENERATORS = {"sngan": "SNGAN, compact", "pixelcnn": "PixelCNN++, compact", "vae": "VAE"}
WEIGHTINGS = {"uniform": "none", "self-normalised": "ŵ, as published", "flatten 0.25": "ŵ^0.25", "auto": "`auto`"}
REGIMES = {
    "real": "real",
    "generated": "generated",
    "generated_weighted": "generated, weighted",
    "both": "real + generated",
    "both_weighted": "real + generated, weighted",
    "both_resampled": "real + generated, resampled by weight",
    "both_filtered": "real + heavier half of the generated",
}
# Table 2 of Grover et al. 2019 from memory, as above
RECALLED_AUGMENTATION = {
    "real": "66.03 ± 0.12",
    "generated": "44.31 ± 0.54",
    "generated_weighted": "44.81 ± 0.56",
    "both": "66.00 ± 0.40",
    "both_weighted": "68.18 ± 0.22",
}


def omniglot(study: Study) -> str:
    found = {(r["name"], r["metric"]): r for r in study["rows"]}

    def percent(name: str) -> str:
        row = found.get((name, "accuracy"))
        if row is None:
            return "–"
        shown = plus_minus(100 * row["mean"], None if row["se"] is None else 100 * row["se"])
        return (
            shown
            if "low" not in row
            else f"{100 * row['mean']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"
        )

    titles = ["trained on", "test accuracy, %", "− real", "weighted − unweighted", "as recalled from the paper"]
    rows = []
    for name, title in REGIMES.items():
        against = "generated" if name == "generated_weighted" else "both"
        cells = [percent(name), percent(f"{name}-real"), percent(f"{name}-{against}")]
        rows.append([title, *cells, RECALLED_AUGMENTATION.get(name, "–")])
    return markdown(titles, rows)


# Table 1 of Grover et al. 2019 from memory, to compare direction and relative gain with; not read, not measured here
RECALLED = (
    ("as recalled from the paper: real against real", "11.09 ± 0.13", "5.20 ± 0.05", "0.008 ± 0.0004"),
    ("as recalled from the paper: PixelCNN++, default", "5.16 ± 0.01", "58.70 ± 0.05", "0.196 ± 0.0001"),
    ("as recalled from the paper: PixelCNN++, LFIW", "6.68 ± 0.08", "55.83 ± 0.97", "0.126 ± 0.0009"),
    ("as recalled from the paper: SNGAN, default", "8.33 ± 0.03", "20.40 ± 0.07", "0.094 ± 0.0002"),
    ("as recalled from the paper: SNGAN, LFIW", "8.57 ± 0.03", "17.29 ± 0.07", "0.073 ± 0.0004"),
)
# tables of a study under another name
FILES = {
    "cifar10_paper": "cifar10_gan",
    "trained_generators": "generators",
    "resampling_digits": "resampling",
    "resampling_cifar10": "resampling",
}
# |error| with the full-horizon correction over that without, from memory; not read, not measured here
RECALLED_RATIOS = {"Swimmer-v5": 0.17, "HalfCheetah-v5": 0.63, "HumanoidStandup-v5": 0.83}
TABLES: dict[str, Callable[[Study], str]] = {
    "digits": digits,
    "toy": toy,
    "cifar10_gan": cifar10_gan,
    "cifar10_paper": cifar10_paper,
    "cifar10_networks": cifar10_networks,
    "cifar10_skewed": cifar10_skewed,
    "estimators": estimators,
    "trained_generators": trained_generators,
    "generators": generators,
    "ope": ope,
    "precision": precision,
    "resampling_digits": lambda study: resampling(study, "digits", "classifier"),
    "resampling_cifar10": lambda study: resampling(study, "cifar10", "resnet56"),
    "omniglot": omniglot,
    "statistics": statistics,
    "benchmarks": benchmarks,
}


if __name__ == "__main__":
    sys.exit(run_script(main))
