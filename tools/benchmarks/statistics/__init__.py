"""Estimated ratios and corrected means on pairs of densities whose ratio is known."""
