"""Bit-exact encoders and decoders of number formats in numpy: what hardware and kernels are checked against.

Elements: `floats`. Blocks: `microscaling`, `nvfp4`, `integers`, `shared_exponent`, `normal_float`, `gguf`, `bitmod`.
Layouts and codes: `packing`, `ternary`, `bipolar`, `huffman`, `dfloat11`. Unbiased rounding: `rotation`. Errors and
bounds: `metrics`; any format by name: `round_trip`. Each is imported from its own module. Formats without NaN or
infinity refuse them with an `InputError`, unless the module says what they become.
"""
