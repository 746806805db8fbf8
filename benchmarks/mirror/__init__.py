"""The Mirrored Influence Hypothesis put to the test: convex and noisy, and what stands in for it."""
