"""Tables of off-policy evaluation."""

from .cells import Row, Study, by_name, cells, markdown, with_interval

# |error| with the full-horizon correction over that without, from memory; not read, not measured here
RECALLED_RATIOS = {"Swimmer-v5": 0.17, "HalfCheetah-v5": 0.63, "HumanoidStandup-v5": 0.83}


CHOSEN = ("auto", "averaged", "resampled", "uncorrected, anchored", "trajectory", "importance sampling", "fitted Q")


def problems(study: Study) -> str:
    """A problem a row: the uncorrected error, and that of some estimates over it."""
    cell = cells(study)
    found = by_name(study)
    titles = [
        "environment",
        "return of π_e",
        "of π_b",
        "\\|error\\|, uncorrected",
        *(f"{c} / uncorrected" for c in CHOSEN),
    ]
    rows = []
    for problem in problems_of(study):
        row = [problem, cell(f"{problem}/truth", "return"), cell(f"{problem}/behaviour policy", "return")]
        row.append(cell(f"{problem}/uncorrected", "abs_error"))
        rows.append(row + [ratio(found.get((f"{problem}/{name}", "abs_error_ratio"))) for name in CHOSEN])
    return markdown([*titles, "trajectory, as recalled"], [[*r, recalled(r[0])] for r in rows])


def curve(study: Study) -> str:
    """A variation a row, and beside it what explains it."""
    cell = cells(study)
    found = by_name(study)
    varied = [c for c in CHOSEN if c != "fitted Q"]
    titles = ["environment, what is varied", "\\|error\\|, uncorrected", *(f"{c} / uncorrected" for c in varied)]
    rows = []
    for problem in problems_of(study):
        row = [problem, cell(f"{problem}/uncorrected", "abs_error")]
        row += [ratio(found.get((f"{problem}/{name}", "abs_error_ratio"))) for name in varied]
        rows.append([*row, cell(f"{problem}/ratio", "kl_gain"), cell(f"{problem}/shift", "accuracy")])
    return markdown([*titles, "KL gain of ŵ, nats", "accuracy, π_e from π_b"], rows)


def estimates(study: Study) -> str:
    """An estimate a row: its |error| over that of the uncorrected one in every problem."""
    found = by_name(study)
    names = list(dict.fromkeys(r["name"].rpartition("/")[2] for r in study["rows"] if r["metric"] == "abs_error"))
    rows = [[n, *(ratio(found.get((f"{p}/{n}", "abs_error_ratio"))) for p in problems_of(study))] for n in names]
    return markdown(["estimate", *problems_of(study)], rows)


def problems_of(study: Study) -> list[str]:
    return list(dict.fromkeys(r["name"].rpartition("/")[0] for r in study["rows"]))


def ratio(row: Row | None) -> str:
    return "–" if row is None else with_interval(row)


def recalled(problem: str) -> str:
    return f"{RECALLED_RATIOS[problem]:g}" if problem in RECALLED_RATIOS else "–"
