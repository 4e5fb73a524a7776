"""Compute log-ratios and importance weights of new samples by a run's classifier.

python tools/score.py run=runs/digits/ID samples.npz --out weights.npz
python tools/score.py samples.npz --out weights.npz --flatten 0.5          by the latest run of task=ratio
python tools/score.py samples.npz --out weights.npz --weighting auto       as its gate chose, class shares included

The samples are in an .npz or .npy file, and have the shape on which the classifier was trained. The output has
`log_ratio` and `weights`, both float64 with one number per sample in the order of the file; the weights sum to 1.
"""

import argparse
from functools import partial
from pathlib import Path

from lfiw.cli import Parser, run_script
from lfiw.data.importers import add_pixel_arguments
from lfiw.errors import InputError
from lfiw.files import user_run


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    import numpy as np
    import torch

    from lfiw.data.importers.arrays import import_arrays
    from lfiw.files import replacing
    from lfiw.tasks.inputs import Scorer
    from lfiw.tasks.run_weights import weighting_of_run
    from lfiw.training.progress import reporting
    from lfiw.training.run_folder import latest_run
    from lfiw.weighting.diagnostics import effective_sample_size
    from lfiw.weighting.strata import Strata
    from lfiw.weighting.weights import Weighting, pareto_k

    if options.weighting and (options.flatten != 1 or options.clip or options.smooth):
        raise InputError("--weighting takes weights as the run has them: leave out --flatten, --clip and --smooth")
    if options.out.suffix != ".npz":
        raise InputError(f"--out {options.out}: expected a name that ends in .npz")
    samples = import_arrays(options.file, options.key, options.layout, options.value_range)
    run = user_run(options.run) if options.run else latest_run("ratio")
    weighting, classes = Weighting(options.flatten, options.clip, options.smooth), None
    if options.weighting:
        _, weighting, classes = weighting_of_run(run, options.weighting)
    scorer = Scorer(run)
    blocks, of_rows = [], []
    with reporting("scoring", samples.num_rows, "samples") as advance:
        for block in samples.blocks():
            blocks.append(scorer(block))
            if classes is not None:
                of_rows.append(scorer.classes(classes.name, classes.column, block))
            advance(len(blocks[-1]))
    log_ratio = torch.cat(blocks)
    strata = None if classes is None else Strata(torch.cat(of_rows), classes.counts)
    weights = weighting(log_ratio, strata)
    with replacing(options.out) as temporary:
        np.savez(temporary, log_ratio=log_ratio.numpy(), weights=weights.numpy())
    for note in samples.notes:
        print(note)
    ess, k = effective_sample_size(weights).item(), pareto_k(weighting.log_weights(log_ratio, strata))
    print(f"{options.out}: {len(weights):,} weights by {run}, ESS {ess:,.1f}, Pareto k̂ {k:.2f}")


def parse(arguments: list[str]) -> argparse.Namespace:
    run = next((a.partition("=")[2] for a in arguments if a.startswith("run=")), None)
    parser = Parser(description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="samples, .npz or .npy")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .npz file to write")
    parser.add_argument("--key", metavar="NAME", help="which array of the .npz holds the samples")
    add_pixel_arguments(parser)
    named = "weights as the run's evaluation has them: auto, or another name there (default: by the options below)"
    parser.add_argument("--weighting", metavar="NAME", help=named)
    parser.add_argument("--flatten", type=float, default=1.0, metavar="α", help="exponent of the weights (default: 1)")
    parser.add_argument("--clip", type=float, default=0.0, metavar="β", help="lower bound of the ratio (default: 0)")
    parser.add_argument("--smooth", action="store_true", help="Pareto-smooth the upper tail")
    options = parser.parse_args([a for a in arguments if not a.startswith("run=")])
    options.run = run
    return options


command = partial(run_script, main)
