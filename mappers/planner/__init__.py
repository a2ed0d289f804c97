"""Memory planning: what lies where and when.

``placement`` puts a model's tensors into tiers by a stated rule; ``tiers`` plans their travels; ``allocation`` gives
buffers offsets; ``order`` orders operations; ``swap`` divides activations into kept, swapped and computed again.
"""
