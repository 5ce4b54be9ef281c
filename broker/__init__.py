"""Floe, the process: a Kafka broker whose topics are Iceberg tables."""

from typing import Final

__version__: Final = "0.1.0"
"""As in pyproject.toml. Looking it up in the installed distribution took a fifth of a command's start."""
