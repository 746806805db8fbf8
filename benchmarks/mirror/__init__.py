"""The Mirrored Influence Hypothesis put to the test, convex and noisy."""
