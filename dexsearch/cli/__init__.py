"""Commands: parse, call one job, print. No heavy library is imported at module level."""
