"""Tables of what weights are used for: classifiers trained on weighted samples, and off-policy evaluation."""

from collections.abc import Mapping, Sequence

from .cells import Row, Study, by_name, cells, markdown, names_of, plus_minus, with_interval

# |error| with the full-horizon correction over that without it, quoted from memory; not measured here
RECALLED_RATIOS = {"Swimmer-v5": 0.17, "HalfCheetah-v5": 0.63, "HumanoidStandup-v5": 0.83}
CHOSEN = ("auto", "averaged", "resampled", "uncorrected, anchored", "trajectory", "importance sampling", "fitted Q")
BESIDE = (  # along the path
    "auto",
    "simulation",
    "importance sampling, per-decision",
    "importance sampling",
    "do nothing",
)
REGIMES = {
    "real": "real",
    "generated": "generated",
    "both": "real + generated",
    "both_weighted": "…, weights in the loss",
    "both_drawn": "…, drawn by weight",
    "auto": "…, `auto`",
    "permuted": "…, drawn by weights permuted within each class",
    "oracle": "…, drawn by an oracle's weights",
    "prototypes": "embedding alone: nearest means",
    "head": "linear head on the embedding, real",
    "head_both": "…, real + generated",
    "head_weighted": "…, weighted",
    "head_auto": "…, `auto`",
}
GAPS = {
    "both-real": "real + generated − real",
    "both_drawn-both": "drawn − unweighted",
    "auto-both": "`auto` − unweighted",
    "permuted-both": "permuted − unweighted",
    "both_weighted-both": "weights in the loss − unweighted",
    "oracle-both": "oracle − unweighted",
    "head_auto-head": "on the embedding: `auto` − real",
    "head_auto-prototypes": "on the embedding: `auto` − nearest means",
}
GENERATORS = {
    "noise3": "noise ×3",
    "epochs1": "1 epoch",
    "epochs2": "2 epochs",
    "noise2": "noise ×2",
    "committed": "committed",
    "paper": "paper's recipe",
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
    """Makes two tables with one generator per column: accuracies, and paired differences."""
    found = by_name(study)
    generators = list(dict.fromkeys(name.partition(": ")[0] for name, _ in found))

    def table(first: str, rows: Mapping[str, str], recalled: Mapping[str, str]) -> str:
        lines = []
        for name, title in rows.items():
            line = [percent(found.get((f"{g}: {name}", "accuracy"))) for g in generators]
            if any(cell != "–" for cell in line):
                lines.append([title, *line, *([recalled.get(name, "–")] if recalled else [])])
        more = ["as recalled from the paper"] if recalled else []
        return markdown([first, *(GENERATORS[g] for g in generators), *more], lines)

    weighted = [found.get((f"{g}: auto", "weighted")) for g in generators]
    splits = [found.get((f"{g}: both_drawn", "accuracy")) for g in generators]
    counts = [["`auto` weights, share of splits", *("–" if r is None else f"{r['mean']:.0%}" for r in weighted)]]
    counts.append(["splits", *("–" if r is None else str(r["n"]) for r in splits)])
    gaps = table("paired difference, points", GAPS, {})
    return "\n\n".join(
        [table("trained on; accuracy, %", REGIMES, RECALLED_AUGMENTATION), "\n".join([gaps, *map(line_of, counts)])]
    )


def line_of(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def skewed_training(study: Study) -> str:
    """Lists each set and regime: accuracy, balanced and on rare classes, and differences to the unweighted regime."""
    found = by_name(study)
    titles = ["set", "trained on", "balanced accuracy, %", "− unweighted", "rare classes, %", "− unweighted"]
    titles.append("share of the exact weights' gain")
    rows = []
    for name in dict.fromkeys(name.partition(": ")[0] for name, _ in found):
        for regime in dict.fromkeys(n.partition(": ")[2] for n, _ in found if n.startswith(f"{name}: ")):
            if "-" in regime or regime.endswith(": share"):
                continue
            line = [name, regime]
            for metric in ("balanced_accuracy", "rare_accuracy"):
                line.append(percent(found.get((f"{name}: {regime}", metric))))
                line.append(percent(found.get((f"{name}: {regime}-unweighted", metric))))
            share = found.get((f"{name}: {regime}: share", "balanced_accuracy"))
            rows.append(
                [*line, "–" if share is None else f"{share['mean']:.2f} [{share['low']:.2f}, {share['high']:.2f}]"]
            )
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


def distances(study: Study, policy: str = "λ") -> str:
    """Lists policies of each problem: errors relative to the uncorrected one's, and the interval of `auto`.

    Args:
        policy: title of the column that names them.
    """
    cell = cells(study)
    found = by_name(study)
    titles = ["environment", policy, "in lengths that keep a tenth", "return", "\\|error\\|, uncorrected"]
    titles += [f"{name} / uncorrected" for name in BESIDE]
    titles += ["95 % intervals of auto that hold it", "their half width, median", "“cannot tell”"]
    rows = []
    for name in problems_of(study):
        problem, _, way = name.rpartition(", ")
        auto = f"{name}/auto"
        row = [
            problem,
            way.removeprefix("λ="),
            f"{found[f'{name}/reach', 'distance']['mean']:.2g}",
            cell(f"{name}/truth", "return"),
        ]
        row.append(cell(f"{name}/uncorrected", "abs_error"))
        row += [ratio(found.get((f"{name}/{other}", "abs_error_ratio"))) for other in BESIDE]
        held, width = found[auto, "interval_coverage"], found[auto, "interval_width"]
        row += [f"{held['mean'] * held['n']:.0f} of {held['n']}", f"{width['median'] / 2:.3g}"]
        rows.append([*row, f"{found[auto, 'cannot_tell']['mean']:.0%}"])
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
