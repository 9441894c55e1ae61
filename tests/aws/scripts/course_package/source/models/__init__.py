# ruff: noqa
from .small import SmallNet
