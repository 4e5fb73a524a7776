"""Tables of what weights are used for: classifiers trained on weighted samples, and off-policy evaluation."""

from .cells import Row, Study, by_name, cells, markdown, names_of, plus_minus, with_interval

# |error| with the full-horizon correction over that without, from memory; not read, not measured here
RECALLED_RATIOS = {"Swimmer-v5": 0.17, "HalfCheetah-v5": 0.63, "HumanoidStandup-v5": 0.83}
CHOSEN = ("auto", "averaged", "resampled", "uncorrected, anchored", "trajectory", "importance sampling", "fitted Q")
REGIMES = {
    "real": "real",
    "generated": "generated",
    "generated_weighted": "generated, weighted",
    "both": "real + generated",
    "both_weighted": "real + generated, weighted",
    "both_resampled": "real + generated, resampled by weight",
    "both_filtered": "real + heavier half of the generated",
}
# Table 2 of Grover et al. 2019 from memory
RECALLED_AUGMENTATION = {
    "real": "66.03 ± 0.12",
    "generated": "44.31 ± 0.54",
    "generated_weighted": "44.81 ± 0.56",
    "both": "66.00 ± 0.40",
    "both_weighted": "68.18 ± 0.22",
}


def omniglot(study: Study) -> str:
    results = by_name(study)

    def cell(name: str) -> str:
        return percent(results.get((name, "accuracy")))

    titles = ["trained on", "test accuracy, %", "− real", "weighted − unweighted", "as recalled from the paper"]
    rows = []
    for name, title in REGIMES.items():
        against = "generated" if name == "generated_weighted" else "both"
        cells = [cell(name), cell(f"{name}-real"), cell(f"{name}-{against}")]
        rows.append([title, *cells, RECALLED_AUGMENTATION.get(name, "–")])
    return markdown(titles, rows)


def quality(study: Study) -> str:
    """Lists generators: settings chosen on separate splits, and the regimes' accuracies on the reporting ones."""
    results = by_name(study)
    titles = ["generator", "λ, α, β", *(f"{REGIMES[r]}, %" for r in ("real", "both", "both_weighted"))]
    titles += ["weighted − unweighted", "ESS of the weights"]
    rows = []
    for prefix in dict.fromkeys(name.partition(": ")[0] for name, _ in results):
        chosen = [f"{results[f'{prefix}: chosen', m]['mean']:g}" for m in ("coefficient", "flatten", "clip")]
        accuracies = [percent(results.get((f"{prefix}: {r}", "accuracy"))) for r in ("real", "both", "both_weighted")]
        gap = percent(results.get((f"{prefix}: both_weighted-both", "accuracy")))
        ess = results.get((f"{prefix}: weights", "ess"))
        rows.append([prefix, ", ".join(chosen), *accuracies, gap, "–" if ess is None else f"{ess['mean']:.0f}"])
    return markdown(titles, rows)


def percent(row: Row | None) -> str:
    """Formats a share in per cent with its standard error, or a difference with its interval."""
    if row is None:
        return "–"
    if "low" in row:
        return f"{100 * row['mean']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"
    return plus_minus(100 * row["mean"], None if row["se"] is None else 100 * row["se"])


def problems(study: Study) -> str:
    """Lists problems: the uncorrected error, and the ratio of some estimates' errors to it."""
    cell = cells(study)
    results = by_name(study)
    titles = ["environment", "return of π_e", "of π_b", "\\|error\\|, uncorrected"]
    titles += [*(f"{c} / uncorrected" for c in CHOSEN), "trajectory, as recalled"]
    rows = []
    for problem in problems_of(study):
        row = [problem, cell(f"{problem}/truth", "return"), cell(f"{problem}/behaviour policy", "return")]
        row.append(cell(f"{problem}/uncorrected", "abs_error"))
        row += [ratio(results.get((f"{problem}/{name}", "abs_error_ratio"))) for name in CHOSEN]
        rows.append([*row, recalled(problem)])
    return markdown(titles, rows)


def curve(study: Study) -> str:
    """Lists variations and what explains their effects."""
    cell = cells(study)
    results = by_name(study)
    varied = [c for c in CHOSEN if c != "fitted Q"]
    titles = ["environment, what is varied", "\\|error\\|, uncorrected", *(f"{c} / uncorrected" for c in varied)]
    rows = []
    for problem in problems_of(study):
        row = [problem, cell(f"{problem}/uncorrected", "abs_error")]
        row += [ratio(results.get((f"{problem}/{name}", "abs_error_ratio"))) for name in varied]
        rows.append([*row, cell(f"{problem}/ratio", "kl_gain"), cell(f"{problem}/shift", "accuracy")])
    return markdown([*titles, "KL gain of ŵ, nats", "accuracy, π_e from π_b"], rows)


def estimates(study: Study) -> str:
    """Lists estimates: the ratio of their |error| to the uncorrected one's in every problem."""
    results = by_name(study)
    names = dict.fromkeys(name.rpartition("/")[2] for name in names_of(study, "abs_error"))
    rows = [[n, *(ratio(results.get((f"{p}/{n}", "abs_error_ratio"))) for p in problems_of(study))] for n in names]
    return markdown(["estimate", *problems_of(study)], rows)


def problems_of(study: Study) -> list[str]:
    return list(dict.fromkeys(name.rpartition("/")[0] for name in names_of(study)))


def ratio(row: Row | None) -> str:
    return "–" if row is None else with_interval(row)


def recalled(problem: str) -> str:
    return f"{RECALLED_RATIOS[problem]:g}" if problem in RECALLED_RATIOS else "–"
