"""Margin exporter: revenue − cost = margin, live, to the cent, on ``/metrics``."""

__version__ = "0.1.0"
