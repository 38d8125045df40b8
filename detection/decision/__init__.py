"""Decides: from the scores of windows to calibrated, fused evidence, alerts and verdicts."""
