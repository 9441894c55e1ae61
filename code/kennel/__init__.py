"""Kennel trains and serves image classifiers in its own SageMaker containers."""

__version__ = "0.1.0"
