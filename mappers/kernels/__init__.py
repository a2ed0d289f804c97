"""Kernel fidelity: the time of library kernels on a processor, from its data sheet and a few fitted parameters."""
