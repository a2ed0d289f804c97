"""Other weights: stored narrower and multiplied out by an operation, or only those read that a token needs."""

from __future__ import annotations

from dataclasses import replace

from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.transforms.edit import edit_layers, kept_of, make_op, require_share, substitute, with_stored
from workloads.workload import Layer, Op, Operand, StoredTensor, Workload

__all__ = ["active_rows", "quantised_weights", "sparse_feed_forward"]

_PRODUCTS = ("attention", "feed_forward")


def quantised_weights(workload: Workload, form: str) -> Workload:
    """Weights of attention and feed-forward in ``form``, multiplied out by an operation before each product.

    That operation writes the weights in the format computed in, and the product reads them from there (bitsandbytes'
    4-bit products of many rows; Dettmers et al., QLoRA, NeurIPS 2023, arXiv 2305.14314, section 3). A product whose
    kernel multiplies them out as it reads is the format alone, without this edit.
    """
    storage_format(form)

    def edit(layer: Layer) -> Layer:
        weights = {tensor.name: tensor for tensor in layer.stored if tensor.role in _PRODUCTS}
        made = layer
        for op in layer.ops:
            if op.kind != "gemm":
                continue
            for operand in op.operands:
                if operand.stored in weights and operand.symbol == "W":
                    made = substitute(made, op.name, _multiplied_out(op, operand, form))
                    made = with_stored(made, replace(weights[operand.stored], format=form))
        return made

    return edit_layers(workload, edit)


def _multiplied_out(op: Op, operand: Operand, form: str) -> tuple[Op, Op]:
    sizes = dict(op.sizes)
    rows, columns = sizes["n0"], sizes.get("h", 1) * sizes["n1"]
    whole = replace(operand, symbol="W", stored=None, activation=f"{op.name}_weights", format=op.compute_format)
    name = f"{op.name}_dequantise"
    making = make_op(
        op, name, "elementwise", "dequantise", {"n0": rows, "n1": columns},
        (replace(operand, symbol="WI", format=form), replace(whole, access="write")), (),
    )  # fmt: skip
    operands = tuple(whole if o is operand else o for o in op.operands)
    return making, replace(op, operands=operands, after=(name,))


def active_rows(share: float, tokens: int, rows: int) -> int:
    """Of ``rows`` those that any of ``tokens`` tokens needs, each needing ``share`` of them on its own, rounded up.

    Tokens of one text need more rows in common than that; so this is the most that is read.

    >>> active_rows(0.1, 1, 1000), active_rows(0.1, 2, 1000)
    (100, 190)
    """
    return kept_of(round(1 - (1 - share) ** tokens, 12), rows)


def sparse_feed_forward(workload: Workload, share: float, rank: int) -> Workload:
    """Each token needs ``share`` of a dense feed-forward's rows, which a predictor of ``rank`` tells beforehand.

    Liu et al., Deja Vu, ICML 2023 (arXiv 2310.17157), section 4; Alizadeh et al., LLM in a flash, ACL 2024 (arXiv
    2312.11514), section 3.1: two products, hidden by rank and rank by rows, in the model's format. The products then
    take the rows that any token of the batch needs. Raises `InputError` when no feed-forward is dense.
    """
    require_share(share, "a share of rows")
    if rank < 1:
        raise InputError(f"a predictor of rank {rank}", expected="at least 1", field="policy")
    edited = False

    def edit(layer: Layer) -> Layer:
        nonlocal edited
        ops = {op.name: op for op in layer.ops}
        if "ffn_up" not in ops:
            return layer
        edited = True
        up, act, down = ops["ffn_up"], ops["ffn_activated"], ops["ffn_down"]
        tokens, hidden, inner = dict(up.sizes)["m"], dict(up.sizes)["n0"], dict(down.sizes)["n0"]
        active = active_rows(share, tokens, inner)
        part = active / inner
        source = next(operand for operand in up.operands if operand.symbol == "A")
        first = _product(up, "ffn_predict_down", source, "ffn_predict_rank", (tokens, hidden, rank), ())
        narrow = replace(source, activation="ffn_predict_rank", elements=tokens * rank)
        second = _product(up, "ffn_predict", narrow, "ffn_rows", (tokens, rank, inner), (first[0].name,))
        wide = round(part * dict(up.sizes)["n1"])
        steps = {
            "ffn_up": _fewer(up, {"n1": wide}, part, ("W", "B", "Z")),
            "ffn_activated": _fewer(act, {"s": active}, part, ("U", "G", "H")),
            "ffn_down": _fewer(down, {"n0": active}, part, ("A", "W")),
        }
        made = with_stored(layer, first[1], second[1])
        for name, op in steps.items():
            ahead = (first[0], second[0], replace(op, after=(second[0].name,))) if name == "ffn_up" else (op,)
            made = substitute(made, name, ahead)
        return made

    found = edit_layers(workload, edit)
    if not edited:
        raise InputError(f"{workload.model} has no dense feed-forward", expected="a dense model", field="policy")
    return found


def _product(
    like: Op, name: str, source: Operand, makes: str, sizes: tuple[int, int, int], after: tuple[str, ...]
) -> tuple[Op, StoredTensor]:
    rows, deep, wide = sizes
    form = next(operand.format for operand in like.operands if operand.symbol == "W")
    weights = StoredTensor(f"{name}_weight", "feed_forward", deep * wide, form)
    operands = (
        source,
        Operand("W", "read", deep * wide, form, stored=weights.name),
        Operand("Z", "write", rows * wide, source.format, activation=makes),
    )
    return make_op(like, name, "gemm", "gemm", {"m": rows, "n0": deep, "n1": wide}, operands, after), weights


def _fewer(op: Op, sizes: dict[str, int], part: float, symbols: tuple[str, ...]) -> Op:
    operands = tuple(replace(o, elements=o.elements * part) if o.symbol in symbols else o for o in op.operands)
    return replace(op, sizes=tuple(sorted((dict(op.sizes) | sizes).items())), operands=operands)
