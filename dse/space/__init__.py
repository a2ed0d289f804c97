"""Spaces of designs: parameters, what they set, what is derived from them, and how designs are numbered."""
