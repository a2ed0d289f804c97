"""Explorations: engines that propose designs, workers that evaluate them, a store that keeps them."""
