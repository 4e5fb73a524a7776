"""Known truths: pairs of densities whose ratio is known, and what estimated ratios make of them."""
