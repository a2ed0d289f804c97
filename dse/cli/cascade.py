"""``tiercade cascade show | analyse | list | run``: cascades of the library, or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workloads.einsum import Cascade

__all__ = ["app", "find_cascade"]

app = typer.Typer(
    name="cascade",
    help="Cascades of Einsums: their text, analyses, drawing and results.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A name from 'tiercade cascade list', or a file.")]
Sizes = Annotated[
    list[str] | None, typer.Option("--size", metavar="RANK=NUMBER", help="Size of a rank or value of a constant.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Drawing = Annotated[Path | None, typer.Option("--svg", help="Write a drawing of the cascade to this file.")]

_FILE_ENDINGS = (".edge", ".txt", ".yaml", ".yml")


@app.command("list")
def list_cascades(json: Json = False) -> None:
    """List the cascades of the library, then the families of cascades (a parameter is given like a size)."""
    from dse.cli.output import print_document
    from workloads.cascades import cascade_families, cascade_names, family, family_cascade, load_cascade

    rows = [
        {"name": name, "einsums": len(load_cascade(name).einsums), "about": load_cascade(name).doc.split("\n")[0]}
        for name in cascade_names()
    ]
    rows += [
        {"name": name, "einsums": len(family_cascade(name).einsums), "about": family(name).about}
        for name in cascade_families()
    ]
    if json:
        print_document(rows)
        return
    for row in rows:
        typer.echo(f"{row['name']:30} {row['einsums']:>3}  {row['about']}")


@app.command()
def show(cascade: Name, svg: Drawing = None, json: Json = False) -> None:
    """Print a cascade's text."""
    from dse.cli.output import print_document
    from workloads.einsum import print_cascade

    found, _ = find_cascade(cascade, {})
    _draw(found, svg)
    if not json:
        typer.echo(print_cascade(found), nl=False)
        return
    document = {
        "name": found.name,
        "doc": found.doc,
        "source": found.source,
        "inputs": {name: list(found.tensors[name].ranks) for name in found.inputs},
        "outputs": {name: list(found.tensors[name].ranks) for name in found.outputs},
        "einsums": [
            {"output": e.label, "ranks": list(e.ranks), "contraction": e.is_contraction} for e in found.einsums
        ],
        "text": print_cascade(found),
    }
    print_document(document)


@app.command()
def analyse(cascade: Name, size: Sizes = None, svg: Drawing = None, json: Json = False) -> None:
    """Passes, live footprint, operations, traffic and fusible Einsums; as formulas, or as numbers with --size."""
    from dse.cli.output import print_document
    from workloads.einsum import analyse as analyse_cascade

    found, sizes = find_cascade(cascade, _sizes(size))
    document = analyse_cascade(found, sizes or None)
    _draw(found, svg)
    if json:
        print_document(document)
        return
    typer.echo(f"{found.name}: {document['passes']} pass{'' if document['passes'] == 1 else 'es'}")
    for reason in document["why"]:
        typer.echo(f"  {reason}")
    typer.echo("operations")
    for label, counts in document["operations"].items():
        listed = ", ".join(f"{operator} {_number(count)}" for operator, count in counts.items())
        typer.echo(f"  {label:8} {listed or 'none'}")
    typer.echo("compulsory traffic, elements")
    for tensor, elements in document["compulsory_traffic"].items():
        typer.echo(f"  {tensor:8} {_number(elements)}")
    typer.echo("Einsums that can share a loop")
    for rank, groups in document["fusible"].items():
        typer.echo(f"  {rank:4} {' | '.join(', '.join(group) for group in groups)}")


@app.command()
def run(
    cascade: Name,
    size: Sizes = None,
    inputs: Annotated[Path | None, typer.Option(help="An .npz file with one array for each input.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs that are used without --inputs.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the results to this .npz file.")] = None,
    json: Json = False,
) -> None:
    """Execute a cascade on numpy arrays."""
    import numpy as np

    from dse.cli.output import print_document
    from workloads.einsum import run_cascade

    found, sizes = find_cascade(cascade, _sizes(size))
    arrays = _read_arrays(inputs) if inputs is not None else _random_inputs(found, sizes, seed)
    results = run_cascade(found, arrays, sizes)
    if out is not None:
        _write_arrays(out, results)
    rows = {
        name: {
            "shape": list(array.shape),
            "mean": _finite(array.mean() if array.size else np.nan),
            "smallest": _finite(array.min() if array.size else np.nan),
            "largest": _finite(array.max() if array.size else np.nan),
        }
        for name, array in results.items()
    }
    document: dict[str, Any] = {"name": found.name, "seed": None if inputs else seed, "results": rows}
    if json:
        print_document(document)
        return
    for name, row in rows.items():
        typer.echo(f"{name} {row['shape']}: mean {row['mean']}, from {row['smallest']} to {row['largest']}")


def find_cascade(name: str, sizes: dict[str, float]) -> tuple[Cascade, dict[str, float]]:
    """The library's cascade, or family, of that name, or the one in that file (YAML by its ending), with its sizes."""
    from workloads.cascades import cascade_and_sizes, cascade_families, cascade_names
    from workloads.einsum import parse_cascade
    from workloads.einsum.yaml_reader import read_einsum_yaml
    from workloads.errors import InputError

    path = Path(name)
    known = name in cascade_names() or name in cascade_families()
    if known or not (path.suffix in _FILE_ENDINGS or len(path.parts) > 1 or path.is_file()):
        return cascade_and_sizes(name, sizes)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", expected="a cascade's text", file=name) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=name) from None
    if path.suffix in (".yaml", ".yml"):
        return read_einsum_yaml(text, file=name), sizes
    return parse_cascade(text, file=name), sizes


def _sizes(words: list[str] | None) -> dict[str, float]:
    from workloads.errors import InputError

    sizes: dict[str, float] = {}
    for word in words or []:
        name, equals, number = word.partition("=")
        try:
            sizes[name.strip()] = float(number) if "." in number or "e" in number.lower() else int(number)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise InputError(f"{word!r} is no size", expected="RANK=NUMBER, such as m=1024", field="--size")
    return sizes


def _draw(cascade: Cascade, path: Path | None) -> None:
    if path is not None:
        from dse.cli.output import write_text
        from workloads.einsum.drawing import draw_cascade

        write_text(path, draw_cascade(cascade))


def _number(value: object) -> str:
    return f"{value:,.6g}" if isinstance(value, float | int) else str(value)


def _finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    import math

    return float(value) if math.isfinite(value) else None


def _read_arrays(path: Path) -> Mapping[str, NDArray[np.float64]]:
    import zipfile

    import numpy as np

    from workloads.errors import InputError

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], dtype=np.float64) for name in file.files}
    except (OSError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        detail = getattr(error, "strerror", None) or error
        raise InputError(f"cannot be read: {detail}", expected="an .npz file of numbers", file=str(path)) from None


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[np.float64]]) -> None:
    import os

    import numpy as np

    from workloads.errors import InputError

    if not path.parent.is_dir():
        raise InputError("its folder does not exist", expected="a file in an existing folder", file=str(path))
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            np.savez(file, **dict(arrays))  # type: ignore[arg-type]
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _random_inputs(cascade: Cascade, sizes: Mapping[str, float], seed: int) -> dict[str, NDArray[np.float64]]:
    """Normal numbers; whole ones within range for tensors whose values are used as coordinates."""
    import numpy as np

    from workloads.einsum import resolve_sizes
    from workloads.einsum.sizes import tensor_shape

    rng = np.random.default_rng(seed)
    values = resolve_sizes(cascade, sizes)
    limits: dict[str, int] = {}
    for einsum in cascade.einsums:
        for operand in einsum.operands:
            for axis, index in enumerate(operand.indices):
                for gather in index.gathers:
                    limit = int(tensor_shape(cascade.tensors[operand.tensor], values)[axis])
                    limits[gather.tensor] = min(limit, limits.get(gather.tensor, limit))
    arrays: dict[str, NDArray[np.float64]] = {}
    for name in cascade.inputs:
        shape = tuple(int(size) for size in tensor_shape(cascade.tensors[name], values))
        if name in limits:
            arrays[name] = rng.integers(0, max(limits[name], 1), size=shape).astype(np.float64)
        else:
            arrays[name] = rng.normal(size=shape)
    return arrays
