"""Units that read number formats: dequantisation and dot products in the format itself."""
