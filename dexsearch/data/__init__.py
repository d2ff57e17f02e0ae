"""Image pairs: making, importing, storing, splitting and loading them."""
