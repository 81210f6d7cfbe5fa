"""Monitoring: what a model's predictions, features and labels look like now, beside its evaluation.

Here is what reads a window of the prediction log and measures it (windows, labels, quality, drift, skew), the
immutable record of that (measures), and the policy that answers it with a retraining. Statistics over arrays
and frames, without any reading, are in windtunnel.stats; pages for people in windtunnel.report.
"""
