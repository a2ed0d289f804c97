"""Policies by name: each changes a policy in one respect, so that several can be put together."""

from simulator.policies.catalogue import POLICIES, NamedPolicy, named_policy

__all__ = ["POLICIES", "NamedPolicy", "named_policy"]
