"""Tables of timings, and of differences to independent implementations."""

from lfiw.evaluation.tables import number

from .cells import Study, markdown


def benchmarks(study: Study) -> str:
    titles = ["benchmark", "ours", "peer", "peer's", "times as fast (range)", "goal"]
    rows = []
    for r in study["rows"]:
        ours, theirs = (f"{number(r[side], 3)} {r['unit']}" for side in ("ours", "theirs"))
        ratio = f"{number(r['ratio'], 3)} ({number(r['min'], 3)}–{number(r['max'], 3)})"
        rows.append([r["name"], ours, r["peer"], theirs, ratio, "–" if r["goal"] is None else f"{r['goal']:g}"])
    return markdown(titles, rows)


def journeys(study: Study) -> str:
    """Lists the commands, then growth with the rows, then peers, then what fewer pairs cost."""
    rows = study["rows"]
    timed = [r for r in rows if r["metric"] == "speed_ratio"]
    commands = [
        [r["note"], f"{number(r['ours'], 3)} s", f"{number(r['cpu_seconds'], 3)} s", f"{r['peak_mib']:,.0f} MiB",
         f"{number(1 / r['ratio'], 3)}", f"{number(r['cpu_ratio'], 3)}", str(r["n"])]
        for r in timed if "cpu_seconds" in r
    ]  # fmt: skip
    titles = ["what", "seconds", "of CPU", "peak memory", "times the imports'", "in CPU", "runs"]
    growth = [
        [r["note"].partition(";")[0], f"{r['mean']:.2f}", f"{r['sizes'][0]:,} to {r['sizes'][-1]:,}",
         ", ".join(f"{number(seconds, 2)}" for seconds in r["cpu_seconds"])]
        for r in rows if r["metric"] == "exponent"
    ]  # fmt: skip
    beside = [
        [r["note"], f"{number(r['ours'], 3)} s", f"{number(r['theirs'], 3)} s", number(r["ratio"], 3)]
        for r in timed if "cpu_seconds" not in r
    ]  # fmt: skip
    fewer = [
        [r["name"].split("_")[2], f"{r['rows']:,}", number(r["value"], 3), f"{r['mean']:+.2g}", f"{r['spread']:.2g}",
         f"{r['own_error']:.2g}" if "own_error" in r else "–"]
        for r in rows if r["metric"] == "deviation"
    ]  # fmt: skip
    load = sorted({r["load_before"] for r in rows})
    return "\n\n".join(
        [
            markdown(titles, commands),
            "How CPU seconds grow with the rows of each side (exponent: slope of log seconds against log rows):",
            markdown(["what", "exponent", "rows", "CPU seconds"], growth),
            "Beside torch-fidelity, once each:",
            markdown(["what", "ours", "torch-fidelity", "times as fast"], beside),
            "What `evaluation.pair_rows` costs: scores of so many random rows of 10,000 against those of all pairs:",
            markdown(
                ["score", "rows", "all pairs", "mean difference", "standard deviation", "standard error of the score"],
                fewer,
            ),
            f"Load of the machine before (processes that want a core): {', '.join(map(str, load))}.",
        ]
    )


def precision(study: Study) -> str:
    """Lists each stage against each of its oracles."""
    titles = ["stage", "oracle", "difference", "bound in CI", "why the bound"]
    rows = []
    for r in study["rows"]:
        unit = {"relative": "", "absolute": ", absolute"}.get(r["metric"], f" {r['metric']}")
        difference = f"{r['mean']:.1e}" if r["mean"] else "0"
        rows.append([r["stage"], r["oracle"], difference + unit, f"{r['bound']:g}{unit}", r["why"]])
    return markdown(titles, rows)


def scale(study: Study) -> str:
    """Lists the stages of the large run: time, and memory of its process."""
    values = {(r["name"], r["metric"]): r["mean"] for r in study["rows"]}
    titles = ["stage", "seconds", "of CPU", "peak memory, MiB", "with mapped files, MiB"]
    metrics = ("seconds", "cpu_seconds", "anonymous_mib", "resident_mib")
    rows = [
        [name, *("–" if not values[name, m] else number(values[name, m], 3) for m in metrics)]
        for name in dict.fromkeys(name for name, _ in values)
    ]
    return markdown(titles, rows)
