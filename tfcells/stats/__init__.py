"""Honest numbers: metrics, intervals, paired tests and corrections, with NumPy and SciPy only."""
