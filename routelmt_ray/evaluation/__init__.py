"""Evaluation: which router spends a budget best, measured with its scores and the true gains."""
