"""How rules write numbers."""


def number(value: float) -> str:
    """Four digits are enough to see what is wrong."""
    return f"{value:.4g}"


def counted(count: int, noun: str) -> str:
    """1 step, 2 steps."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
