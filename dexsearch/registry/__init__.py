"""Registered generators: the record of them, their files, and MLflow as the window on both."""
