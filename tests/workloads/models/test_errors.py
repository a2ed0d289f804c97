"""Wrong configurations: the exact sentence for each kind, and never anything but an `InputError`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.models import Model, model, parameters, parse_model, read_model
from workloads.models.catalogue import model_names
from workloads.models.readers import ARCHITECTURES

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
}
MIXTRAL = LLAMA | {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
GPT_OSS = MIXTRAL | {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "head_dim": 16,
    "sliding_window": 8,
}


def message(config: object) -> str:
    with pytest.raises(InputError) as caught:
        read_model(config)  # type: ignore[arg-type]
    return str(caught.value)


def without(config: dict[str, object], *keys: str) -> dict[str, object]:
    return {key: value for key, value in config.items() if key not in keys}


def test_missing_keys_are_all_named() -> None:
    assert message(without(LLAMA, "hidden_size", "vocab_size")) == (
        "hidden_size: missing keys hidden_size, vocab_size; expected all of hidden_size, intermediate_size, "
        "num_hidden_layers, num_attention_heads, vocab_size"
    )


def test_misspelt_key_is_recognised() -> None:
    config = without(LLAMA, "intermediate_size") | {"intermediate_sise": 128}
    assert message(config).endswith("did you mean 'intermediate_size'?")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_size": "64"}, "hidden_size: found '64'; expected a whole number from 1 to 1,000,000,000"),
        ({"hidden_size": 0}, "hidden_size: found 0; expected a whole number from 1 to 1,000,000,000"),
        ({"hidden_size": -64}, "hidden_size: found -64; expected a whole number from 1 to 1,000,000,000"),
        ({"hidden_size": 64.0}, "hidden_size: found 64.0; expected a whole number from 1 to 1,000,000,000"),
        ({"hidden_size": True}, "hidden_size: found true; expected a whole number from 1 to 1,000,000,000"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: found 1000000000; expected a whole number from 1 to 10,000"),
        ({"hidden_size": 66}, "num_attention_heads: 4 does not divide the hidden size 66; expected a divisor of 66"),
        (
            {"num_key_value_heads": 3},
            "num_key_value_heads: 3 does not divide num_attention_heads 4; expected a divisor of 4",
        ),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings: found 'yes'; expected true or false"),
        ({"hidden_act": 3}, "hidden_act: found 3; expected a name in quotes"),
        ({"torch_dtype": 16}, "torch_dtype: found 16; expected a name in quotes"),
        ({"quantization_config": 4}, "quantization_config: found 4; expected an object with keys"),
        (
            {"architectures": "LlamaForCausalLM"},
            "architectures: found 'LlamaForCausalLM'; expected a list of names in quotes",
        ),
        (
            {"model_type": "qwen2"},
            "model_type: 'qwen2' does not go with architecture 'LlamaForCausalLM'; expected matching names",
        ),
    ],
)
def test_wrong_value(change: dict[str, object], expected: str) -> None:
    assert message(LLAMA | change) == expected


def test_wrong_names_suggest_the_nearest() -> None:
    assert message(LLAMA | {"hidden_act": "sylu"}).endswith("did you mean 'silu'?")
    assert message(LLAMA | {"torch_dtype": "bfloat61"}).endswith("did you mean 'bfloat16'?")
    nameless = LLAMA | {"quantization_config": {"bits": 3, "group_size": 64}}
    assert message(nameless) == "quantization_config.quant_method: missing key quant_method"
    wrong = LLAMA | {"quantization_config": {"quant_method": "gptqq"}}
    assert message(wrong).startswith("quantization_config.quant_method: unknown quantisation method 'gptqq'")


def test_more_experts_chosen_than_there_are() -> None:
    assert message(MIXTRAL | {"num_experts_per_tok": 5}) == (
        "num_experts_per_tok: 5 experts chosen of 4; expected at most 4"
    )


def test_layer_types_must_cover_every_layer_with_known_kinds() -> None:
    assert message(GPT_OSS | {"layer_types": ["full_attention"]}) == (
        "layer_types: found 1 entries; expected one for each of the 2 layers"
    )
    assert message(GPT_OSS | {"layer_types": ["full_attention", "linear_attention"]}).startswith(
        "layer_types: unknown layer type 'linear_attention'; expected one of full_attention, sliding_attention"
    )


def test_unknown_architecture_lists_all_and_the_nearest() -> None:
    text = message({"architectures": ["Llama4ForCausalLM"]})
    assert text == (
        f"architectures: unknown architecture 'Llama4ForCausalLM'; expected one of {', '.join(sorted(ARCHITECTURES))}; "
        "did you mean 'LlamaForCausalLM'?"
    )
    assert message({"model_type": "mamba"}).startswith("model_type: unknown architecture 'mamba'; expected one of")


def test_no_architecture_at_all() -> None:
    assert message({"hidden_size": 64}).startswith("architectures: neither architectures nor model_type is given")


def test_unsupported_group_size() -> None:
    wrong = LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 7}}
    assert message(wrong).startswith("quantization_config: unknown number format 'int4_g7'")


def test_error_in_a_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA | {"num_key_value_heads": 3}, indent=2), encoding="utf-8")
    assert message(path) == (
        f"{path}:10: num_key_value_heads: 3 does not divide num_attention_heads 4; expected a divisor of 4"
    )


def test_line_is_that_of_the_top_level_key(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(
        '{"rope": {"hidden_size": 1},\n"note": "hidden_size",\n"hidden_size": 0,\n"model_type": "llama",\n'
        '"intermediate_size": 1, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 1}'
    )
    assert message(path).startswith(f"{path}:3: hidden_size: found 0")


def test_syntax_error_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n  "hidden_size": 64,\n  "vocab_size" 3\n}\n', encoding="utf-8")
    assert message(path) == f"{path}:3: not JSON: Expecting ':' delimiter at column 16; expected a JSON object"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[1, 2]", "found a JSON list; expected a JSON object with keys"),
        (b'"llama"', "found a JSON str; expected a JSON object with keys"),
        (b'{"hidden_size": NaN}', "not JSON: NaN is not a JSON number; expected a JSON object"),
        (b"\xff\xfe{}", "byte 0 is not UTF-8 text; expected a model's config.json"),
    ],
)
def test_file_that_is_no_configuration(tmp_path: Path, text: bytes, expected: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    assert message(path) == f"{path}: {expected}"


def test_endless_nesting_and_endless_numbers(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": ' + "[" * 100_000, encoding="utf-8")
    assert "not JSON" in message(path)
    path.write_text('{"a": ' + "9" * 5000 + "}", encoding="utf-8")
    assert "not JSON" in message(path)
    assert message(LLAMA | {"hidden_size": 10**5000}).startswith("hidden_size: found a number too long to show")


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    wrong = tmp_path / "confg.json"
    assert message(wrong) == (
        f"{wrong}: unknown file 'confg.json'; expected one of config.json; did you mean 'config.json'?"
    )
    nowhere = tmp_path / "none" / "config.json"
    assert message(nowhere) == f"{nowhere}: no such file; expected a model's config.json"
    assert "no such file" in message("a\0b") or "cannot be read" in message("a\0b")


def test_unknown_bundled_model_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown model 'Llama-3\.1-9B'.*did you mean 'Llama-3\.1-8B'\?"):
        model("Llama-3.1-9B")


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from((10**12, -(10**12), 10**30)),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.lists(st.integers(-2, 5) | st.text(max_size=3) | st.none(), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(0, 3) | st.text(max_size=3), max_size=3),
)
FILES = Path(__file__).parents[3] / "workloads" / "models" / "catalogue"
FAMILIES = ("Llama-2-7B", "Gemma-2-2B", "gpt-oss-20b", "DeepSeek-V3", "Qwen2-57B-A14B", "OPT-350M", "Falcon-7B",
            "BERT-base", "T5-base", "Switch-Base-8", "SmallThinker-21B-A3B", "Transformer-XL", "XLM", "GLaM-64B-64E",
            "BLOOM-7B1", "GPT-J-6B", "Phi-3.5-MoE")  # fmt: skip


def _outcome(reader: Callable[..., Model], *arguments: object) -> Model | InputError:
    """What the reader returns or refuses with; anything else it raises fails the test."""
    try:
        return reader(*arguments)
    except InputError as error:
        return error


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FAMILIES), st.data())
def test_mutated_configurations_give_a_model_or_an_input_error(name: str, data: st.DataObject) -> None:
    """Keys dropped, values replaced by junk: refused with a sentence, or read into a model that can be counted."""
    config = json.loads((FILES / f"{name}.json").read_text(encoding="utf-8"))
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), min_size=1, max_size=3, unique=True)):
        if data.draw(st.booleans()):
            del config[key]
        else:
            config[key] = data.draw(junk)
    outcome = _outcome(read_model, config)
    if isinstance(outcome, InputError):
        assert outcome.field
    else:
        assert parameters(outcome).total > 0


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FAMILIES), st.data())
def test_mutated_text_gives_a_model_or_an_input_error(name: str, data: st.DataObject) -> None:
    text = (FILES / f"{name}.json").read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(text) - 1))
    cut = data.draw(st.integers(0, 30))
    text = text[:start] + data.draw(st.text(max_size=5)) + text[start + cut :]
    outcome = _outcome(lambda: parse_model(text, name=name, file="config.json"))
    if isinstance(outcome, InputError):
        assert str(outcome).startswith("config.json")


def test_every_bundled_file_is_readable() -> None:
    assert {path.stem for path in FILES.glob("*.json")} - {"published"} == set(model_names())
