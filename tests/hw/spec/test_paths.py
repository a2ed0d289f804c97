"""Routes between tiers."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from hw.spec.paths import reachable_tiers, route
from tests.hw.spec.machines import small
from workloads.errors import InputError


def test_routes_alternate_tiers_and_links() -> None:
    system = load_system("h100-sxm")
    assert route(system, "nvme", "hbm") == ("nvme", "drive-pcie", "ddr", "host-pcie", "hbm")
    assert route(system, "hbm", "nvme") == ("hbm", "host-pcie", "ddr", "drive-pcie", "nvme")
    assert route(system, "hbm", "hbm") == ("hbm",)


def test_the_shortest_route_wins() -> None:
    assert route(load_system("csd-instinfer"), "flash", "gddr") == ("flash", "peer-pcie", "gddr")


def test_among_equals_the_first_declared_link_wins() -> None:
    twice = ("links:\n  bus:", "links:\n  old-bus: {between: [ddr, disk], bandwidth: 1 GB/s}\n  bus:")
    assert route(small(twice), "disk", "ddr") == ("disk", "old-bus", "ddr")


def test_unreachable_and_unknown_tiers_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        route(small(), "cache", "disk")
    assert str(caught.value) == (
        "no links lead from tier 'cache' to tier 'disk'; expected one of cache, or a link that joins them"
    )
    with pytest.raises(InputError, match="unknown tier 'disc'; expected one of cache, ddr, disk; did you mean 'disk'"):
        route(small(), "disc", "ddr")


def test_reachable_tiers() -> None:
    assert reachable_tiers(small(), ("ddr",)) == {"ddr", "disk"}
    assert reachable_tiers(small(), ("ddr", "cache")) == {"ddr", "disk", "cache"}
