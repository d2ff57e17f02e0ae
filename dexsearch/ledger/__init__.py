"""Append-only event logs, and what the log of a study says; standard library only."""
