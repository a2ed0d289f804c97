"""Arithmetic in number formats, bit exact in numpy on integer codes: what hardware arithmetic is checked against."""
