"""Memorization against ground truth by retraining: Feldman and Zhang's estimate, and what is cheaper."""
