"""Off-policy evaluation: policies, environments, rollouts, simulation with a learned model, and estimators."""
