"""Staying with what runs: states, metrics, logs, cost so far, what failed and why."""
