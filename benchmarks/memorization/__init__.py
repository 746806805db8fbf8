"""Memorization against ground truth by retraining, and what costs less."""
