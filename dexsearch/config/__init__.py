"""Frozen configuration classes, and the only code that reads YAML."""
