"""What is published of the SN40L (MICRO 2024, arXiv 2405.07518, and the vendor's page of September 2024)."""

from __future__ import annotations

from studies.frame.study import Config, Published

__all__ = ["PUBLISHED"]

_TABLE = "table V"


def _over(platform: str, batch: int, value: float) -> Published:
    config: Config = {"platform": platform, "batch": batch}
    return Published("speed_up", config, value, _TABLE)


def _rate(name: str, value: float, how: str = "") -> Published:
    config: Config = {"model": name, "sockets": 16, "prompt": 1024}
    return Published("token_rate", config, value, f"SambaNova, September 2024, after artificialanalysis.ai{how}")


PUBLISHED = (
    Published("switch_speed_up", {"platform": "dgx-a100"}, 31.0, "abstract: 15 to 31 times"),
    Published("switch_speed_up", {"platform": "dgx-h100"}, 15.0, _TABLE),
    Published("most_experts", {"platform": "dgx-h100"}, 150.0, "section VI: a DGX is out of memory there"),
    Published("most_experts", {}, 979.0, "12 TiB over 13.48 GB"),
    Published("most_experts", {}, 850.0, "section VI: held by one node"),
    Published("hbm_experts", {"platform": "dgx-h100"}, 47.5, "640 GB over 13.48 GB: where a DGX spills"),
    Published("hbm_experts", {"platform": "dgx-h100"}, 50.0, "section VI: where a DGX spills, about"),
    Published("nodes", {"platform": "dgx-h100", "experts": 850}, 19.0, "section VI: DGX for what a node holds"),
    Published("nodes", {"experts": 850}, 1.0, "section VI"),
    _over("dgx-a100", 8, 6.6),
    _over("dgx-h100", 8, 3.7),
    _over("dgx-a100", 1, 4.8),
    _over("dgx-h100", 1, 2.8),
    Published("execution_speed_up", {"platform": "dgx-a100", "batch": 1}, 2.0, _TABLE),
    Published("execution_speed_up", {"platform": "dgx-h100", "batch": 1}, 1.5, _TABLE),
    _rate("Llama-3.1-8B", 1042.0),
    _rate("Llama-3.1-70B", 457.0, ", with speculation"),
    _rate("Llama-3.1-405B", 129.0, ", with speculation"),
    Published("launches_saved", {"prompt": 4096}, 11.0, "figure 11, Llama-2-7B, prefill of 4K"),
    Published("fused_prefill", {"prompt": 4096}, 1.5, "figure 10: 1.5 to 3 over all models"),
    Published("chip_decode", {"prompt": 4096}, 1.4, "figure 11: 1.4 to 8 over all models"),
    Published("chip_prefill", {"prompt": 4096}, 1.1, "figure 11: at most 1.1"),
)
