"""Attention units: online softmax, PE arrays, integer rows, and the filters before them."""
