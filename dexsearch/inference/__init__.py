"""Generators at work: the package that carries one, and image in, bone and tissue image out."""
