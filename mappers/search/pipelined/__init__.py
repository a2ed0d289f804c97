"""Mapping fused cascades of extended Einsums onto machines whose unlike arrays work on them together."""

from mappers.search.pipelined.search import search_pipelined

__all__ = ["search_pipelined"]
