"""What can be read from features: probes, fitted and tested inside folds, beside baselines that must be beaten."""
