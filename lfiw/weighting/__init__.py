"""From log-ratios to weights: pure functions of tensors."""
