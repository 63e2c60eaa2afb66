"""Stands in for SGLang where that is not installed."""
