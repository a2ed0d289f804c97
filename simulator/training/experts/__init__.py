"""Loads of experts over devices: who holds them, and what it takes."""
