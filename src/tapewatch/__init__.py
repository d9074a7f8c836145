"""tapewatch watches live markets and says when something is statistically wrong. Read-only."""

__version__ = "0.1.0"
