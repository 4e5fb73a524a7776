"""Tables of small problems with known truths, and of resampled sets."""

from .cells import Study, by_name, cells, grid, markdown, names_of

UNIFORM, SIGNS = "uniform", ("better", "worse")
QUANTITIES = ("P(valley)", "E\\|x − μ\\|")
# (name, metric) → what is shown of the statistics
KNOWN_TRUTHS = {
    ("num_cases", "count"): "pairs of densities",
    ("num_seeds", "count"): "seeds each",
    ("auto_significantly_worse_share", "share"): "pairs where `auto` is significantly worse than uniform (goal: 0)",
    ("auto_mse_within_105_share", "share"): "pairs where its squared error is at most 1.05 × the better of uniform and "
    "plain (goal: 0.9)",
    ("plain_mse_within_105_share", "share"): "… plain weights",
    ("combined_mse_within_105_share", "share"): "pairs where the combination with real rows has at most 1.05 × the "
    "squared error of the better of real rows alone and plain",
    ("median_mse_over_real_rows", "combined"): "its squared error over that of real rows alone, median",
    ("with the ratio's error", "coverage"): "95 % intervals with the ratio's error that hold the truth, where the gate "
    "says “corrects” (goal: 0.92 to 0.98)",
    ("with the ratio's error", "least_coverage"): "… in the pair with the fewest (goal: 0.88)",
    ("real rows", "coverage"): "… intervals of real rows alone",
    ("ratio fixed", "coverage"): "… ratio-fixed intervals, which promise their limit and not the truth",
    ("auto_lower_mse_where_k_high_share", "share"): "of the pairs with plain k̂ > 0.7: where it is lower (goal: 0.8)",
    ("nothing_is_right_share", "share"): "“nothing to correct” said: where plain weights were no better",
    ("interval_coverage", "share"): "95 % intervals of weighted means, ratio fixed, that hold their limit",
    ("interval_coverage_few_rows", "share"): "… of those marked “few rows”",
    ("auto_for_scores_significantly_worse_share", "share"): "gate for scores (FID, …): pairs where it is significantly "
    "worse than uniform",
    ("auto_for_scores_mse_within_105_share", "share"): "… pairs with a squared error of at most 1.05 × the better of "
    "uniform and plain",
    ("cannot_is_right_share", "share"): "… “cannot be corrected” said: where plain weights were no better",
    ("median_bias_reduction", "plain"): "median reduction of the error, plain weights (the paper's)",
    ("median_bias_reduction", "calibrated"): "… with temperature scaling",
    ("median_bias_reduction", "auto"): "… `auto`",
    ("median_bias_reduction", "exact"): "… exact weights",
    ("median_mse_over_uniform_low_dimensions", "plain"): "median squared error over uniform's, up to 4 dimensions: "
    "plain",
    ("median_mse_over_uniform_low_dimensions", "auto"): "… `auto`",
    ("median_mse_over_uniform_low_dimensions", "RuLSIF"): "… densratio's RuLSIF (500 rows per side)",
}


def digits(study: Study) -> str:
    titles = ["weighting", "ESS", "FID ↓", "FID − uniform", "KID ↓", "FID ↓ @classifier", "IS ↑", "class distance ↓"]
    metrics = ["ess", "fid", "difference_fid", "kid", "fid@classifier", "is@classifier", "class_distance"]
    return grid(
        study, titles, metrics, ["reference", "uniform", "self-normalised", "smoothed", "flatten 0.5", "clip 1"]
    )


def digits_short(study: Study) -> str:
    """Makes the short table for the README."""
    titles = ["4,000 generated digits", "FID ↓", "KID ↓", "IS ↑", "effective samples"]
    names = {"uniform": "as generated", "self-normalised": "weighted", "reference": "real digits instead"}
    return grid(study, titles, ["fid", "kid", "is@classifier", "ess"], names)


def toy(study: Study) -> str:
    cell, kinds = cells(study), ("uniform", "learned", "exact")
    titles = ["data", "log-ratio RMSE", *(f"bias of {quantity}, {kind}" for quantity in QUANTITIES for kind in kinds)]
    rows = []
    for case in names_of(study, "log_ratio_rmse"):
        biases = [cell(f"{case} {kind}", f"bias_{q}") for q in ("valley", "distance") for kind in kinds]
        rows.append([case, cell(case, "log_ratio_rmse"), *biases])
    return markdown(titles, rows)


def statistics(study: Study) -> str:
    results = by_name(study)
    rows = []
    for key, title in KNOWN_TRUTHS.items():
        of = f" of {results[key]['of']:,}" if "of" in results[key] else ""
        rows.append([title, f"{results[key]['mean']:.3g}{of}"])
    return markdown(["known truths", ""], rows)


def estimators(study: Study) -> str:
    titles = ["loss, data", "log-ratio RMSE", *(f"{kind} of {q}" for q in QUANTITIES for kind in ("bias", "sd"))]
    metrics = ["log_ratio_rmse", "bias_valley", "sd_valley", "bias_distance", "sd_distance"]
    return grid(study, titles, metrics, names_of(study))


def contest(study: Study) -> str:
    """Lists estimators of density ratios, fitted to the same rows of known truths."""
    found = by_name(study)
    titles = ["weights", "median squared error over uniform's", "pairs with the lowest error of all packages"]
    titles += ["pairs significantly worse than uniform", "seconds"]

    def cell(name: str, metric: str, form: str) -> str:
        return format(found[name, metric]["mean"], form) if (name, metric) in found else "–"

    return markdown(
        titles,
        [
            [
                name,
                cell(name, "median_mse_over_uniform", ".3f"),
                cell(name, "lowest_of_peers_share", ".0%"),
                cell(name, "significantly_worse_share", ".0%"),
                cell(name, "seconds", ".2f"),
            ]
            for name in names_of(study, "median_mse_over_uniform")
        ],
    )


def strangers(study: Study) -> str:
    """Compares before and after, by a judge that no ratio has seen."""
    cell, results = cells(study), by_name(study)
    metrics = ("class_distance@lenet", "fid@lenet", "kid@lenet")
    titles = ["generator, setting: weighting", "CPU minutes", "ESS", "class distance ↓", "FID ↓", "KID ↓"]
    titles += ["runs in which one of them is significantly better", "… worse", "FID ↓ in pixels"]
    rows = []
    for name in names_of(study, "fid@lenet"):
        signs = ["–", "–"]
        if not name.endswith(f": {UNIFORM}"):
            of = results[name, "any_worse@lenet"]
            signs = [f"{results[name, f'any_{sign}@lenet']['mean'] * of['n']:.0f} of {of['n']}" for sign in SIGNS]
        rows.append(
            [name, *(cell(name, m) for m in ("cpu_minutes", "ess", *metrics)), *signs, cell(name, "fid@pixels")]
        )
    return markdown(titles, rows)


def resampling(study: Study, data: str, classifier: str) -> str:
    """Lists sets of the same size; their names contain T or, for rejection, the percentile."""
    cell = cells(study)
    results = by_name(study)
    prefix = f"{data}/"
    names = [r["name"] for r in study["rows"] if r["name"].startswith(prefix) and r["metric"] == "candidates"]
    titles = [
        "set",
        "candidates per sample",
        "distinct",
        "FID ↓",
        "FID − uniform, 95 %, ratio fixed",
        f"FID ↓ @{classifier}",
        "KID ↓",
    ]
    titles += ["IS ↑", "precision ↑", "recall ↑", "density ↑", "coverage ↑"]
    rows = []
    for name in names:
        difference = results.get((name, "difference_fid"))
        shown = "0" if difference is None else f"{difference['low']:.3g} … {difference['high']:.3g}"
        metrics = [f"fid@{classifier}", "kid", "is", "precision", "recall", "density", "coverage"]
        own = [
            f"{results[name, 'candidates']['mean']:.3g}",
            f"{results[name, 'distinct']['mean']:.0%}",
            cell(name, "fid"),
        ]
        rows.append([set_name(name.removeprefix(prefix)), *own, shown, *(cell(name, m) for m in metrics)])
    return markdown(titles, rows)


def set_name(name: str) -> str:
    """Turns `sir/auto/16` into `sir, T = 16`."""
    if name == "uniform":
        return name
    method, weighting, size = name.split("/")
    setting = f"percentile {size}" if method == "rejection" else f"T = {size}"
    return f"{method}, {setting}" + (", plain ratio" if weighting == "plain" else "")
