"""Measurements: what orchestration costs, and how good a search is for what it spends."""
