"""Search, prune and register pix2pix generators for virtual dual-energy X-ray imaging.

Research software, not a medical device.
"""

__version__ = "0.1.0"

DISCLAIMER = "research software, not for diagnosis"
"""Stands on every picture and beside every prediction."""
