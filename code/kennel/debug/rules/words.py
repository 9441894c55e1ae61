"""How rules write numbers."""


def number(value: float) -> str:
    """Four digits are enough to see what is wrong."""
    return f"{value:.4g}"
