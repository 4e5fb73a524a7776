"""Turn weighted samples into unweighted ones: pure functions of log-ratios and a torch.Generator, row indices out.

| function | a kept sample is | repeats |
| --- | --- | --- |
| `sir` | one of a pool of its own, by weight | yes |
| `systematic`, `residual` | one of all candidates, by weight; less variance than independent draws | yes |
| `without_replacement` | drawn by weight from the candidates that are left | no |
| `rejection` | a candidate that passed by its own weight | no |
| `metropolis_hastings` | a state of a Markov chain whose proposals are the candidates | yes |

`sir` (in the pool's size), `systematic`, `residual` (in the number of candidates) and `metropolis_hastings` (in the
burn-in) converge to the weighted distribution; `rejection` has it without a shift; `without_replacement` only where few
of many are asked for. `lfiw.resampling.streaming` does the same with candidates that are still being generated.
"""

from lfiw.resampling.gumbel import without_replacement
from lfiw.resampling.metropolis_hastings import Chain, metropolis_hastings
from lfiw.resampling.pools import sir
from lfiw.resampling.rejection import accept_probability, percentile_shift, rejection
from lfiw.resampling.strata import residual, systematic

__all__ = [
    "Chain",
    "accept_probability",
    "metropolis_hastings",
    "percentile_shift",
    "rejection",
    "residual",
    "sir",
    "systematic",
    "without_replacement",
]
