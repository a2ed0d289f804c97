"""The text form: what it means, that printing reverses parsing, and where errors point."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workloads.cascades.catalogue as catalogue
from workloads.cascades import cascade_names, load_cascade
from workloads.einsum import CascadeError, parse_cascade, print_cascade
from workloads.errors import InputError

HEAD = "cascade c\nrank m, n, k\nconst w = 3\ninput A[m, k], B[k, n]\noutput Z\n"


def error(text: str) -> CascadeError:
    with pytest.raises(CascadeError) as caught:
        parse_cascade(text, file="c.edge")
    return caught.value


def test_a_fold_left_out_sums_what_the_output_lacks() -> None:
    implied = parse_cascade(HEAD + "Z[m, n] = A[m, k] * B[k, n]\n")
    stated = parse_cascade(HEAD + "Z[m, n] = A[m, k] * B[k, n] :: add(k)\n")
    assert implied == stated
    assert implied.einsums[0].is_contraction
    assert implied.einsums[0].ranks == ("m", "n", "k")


def test_statements_run_on_inside_brackets_and_after_operators() -> None:
    text = HEAD + "Z[m,\n  n] =  # the product\n  A[m, k]\n  * B[k, n]\n  :: add(k)\n  where m <= n\n  else -inf\n"
    assert print_cascade(parse_cascade(text)).splitlines()[-1] == (
        "Z[m, n] = A[m, k] * B[k, n] :: add(k) where m <= n else -inf"
    )


def test_bits_are_the_width_of_elements() -> None:
    text = HEAD + "Z[m, n] = A[m, k] * B[k, n]\n"
    plain, sized = parse_cascade(text), parse_cascade(text + "bits 4\n")
    assert (plain.bits, sized.bits) == (None, 4)
    assert plain != sized
    assert "bits" not in print_cascade(plain)
    assert "\nbits 4\n" in print_cascade(sized)
    assert parse_cascade(print_cascade(sized)) == sized
    assert (parse_cascade(text + "bits 1").bits, parse_cascade(text + "bits 4096").bits) == (1, 4096)


def test_names_of_inputs_outputs_and_intermediates() -> None:
    cascade = load_cascade("attention-3pass")
    assert cascade.inputs == ("Q", "K", "V")
    assert cascade.outputs == ("AV",)
    assert cascade.intermediates == ("QS", "QK", "GM", "SN", "SD", "A")
    assert [e.label for e in cascade.einsums if e.is_contraction] == ["QK", "AV"]


def test_a_sum_of_squares_is_no_contraction() -> None:
    assert not any(einsum.is_contraction for einsum in load_cascade("rms-norm").einsums)


@pytest.mark.parametrize(
    ("statement", "line", "column", "message"),
    [
        ("Z[m, n] = A[m, j] * B[k, n]", 6, 16, "unknown rank 'j'; expected one of k, m, n"),
        ("Z[m, n] = A[m, k] * C[k, n]", 6, 21, "unknown tensor 'C'; expected one of A, B, Z"),
        ("Z[m, n] = A[m] * B[k, n]", 6, 11, "A has 1 indices; expected 2, one for each of its ranks"),
        (
            "Z[m, n] = A[m, k] * B[k, n] :: add(k, m)",
            6,
            1,
            "rank 'm' is folded and written; expected a rank that the output lacks",
        ),
        ("Z[m, n] = A[m, k] * B[k, n] :: sum(k)", 6, 1, "unknown reduce operator 'sum'"),
        ("Z[m, n] = A[m, m*k] * B[k, n]", 6, 18, "a product of two coordinates; expected an affine index"),
        ("Z[m, n] = expo(A[m, k]) * B[k, n]", 6, 11, "unknown operator 'expo'"),
        ("Z[m, n] = max(A[m, k]) * B[k, n]", 6, 11, "max is given 1 value; expected 2"),
        ("Z[m, n] = A[m, k] * B[k, n", 6, 27, "found the end of the line; expected ']' after the indices"),
        ("Z[m, n] = A[m, k] * ", 6, 21, "found the end of the line; expected a value"),
        ("Z[m, n] = A[m, k] $ B[k, n]", 6, 19, "unexpected character '$'"),
        ("Z[m, n] = A[m, k] < B[k, n] < 3", 6, 29, "two comparisons in a row"),
        ("Z[m, n] = A[m, k] * B[k, n] where v < 3", 6, 35, "unknown name 'v'"),
        ("Z[m, n] = Z[m, n] + A[m, k] * B[k, n]", 6, 1, "Z needs its own result; expected a running rank"),
        ("Z[m, n] = A[m, 1.5] * B[k, n]", 6, 16, "1.5 in an index; expected an integer"),
        ("A[m, k] = B[k, m]", 6, 1, "input 'A' is written"),
        ('doc "open', 6, 5, "a text in quotes does not end on its line"),
        ("rank m", 6, 6, "'m' is declared twice"),
        ("split k -> k1, k0, k2", 6, 18, "found ','; expected the end of the statement"),
        ("Z[m, n] = A[m, k] * B[k, n] :: topk(k)", 6, 1, "topk does not fit its ranks; expected topk(x -> k)"),
        ("5", 6, 1, "found '5'; expected a statement"),
        ("bits 0", 6, 6, "found '0'; expected the bits of an element: a whole number from 1 to 4096"),
        ("bits 2.5", 6, 6, "found '2.5'; expected the bits of an element"),
        ("bits 1e2", 6, 6, "found '1e2'; expected the bits of an element"),
        ("bits 4097", 6, 6, "found '4097'; expected the bits of an element"),
        ("bits -8", 6, 6, "found '-'; expected the bits of an element"),
        ("bits x", 6, 6, "found 'x'; expected the bits of an element"),
        ("bits", 6, 5, "found the end of the line; expected the bits of an element"),
        ("bits 8 8", 6, 8, "found '8'; expected the end of the statement"),
        ("bits 8\nbits 8", 7, 6, "the width of an element is stated twice; expected one bits statement"),
        ("bits 8\nbits 16", 7, 6, "the width of an element is stated twice; expected one bits statement"),
    ],
)
def test_errors_point_at_the_place(statement: str, line: int, column: int, message: str) -> None:
    found = error(HEAD + statement + "\n")
    assert (found.line, found.column) == (line, column)
    assert str(found).startswith(f"c.edge:{line}:{column}: {message}")


def test_errors_suggest_the_nearest_name() -> None:
    assert error(HEAD + "Z[m, n] = A[m, k] * B[k, n] :: maxx(k)\n").nearest == "max"
    assert error("cascade c\ninput Keys[m]\noutput Z\nZ[m] = Kees[m]\n").nearest == "Keys"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found the end of the text; expected 'cascade' and a name on the first line"),
        ("cascade\n", "found the end of the line; expected the cascade's name"),
        ("cascade c\n", "the cascade has no Einsum"),
        ("cascade c\ninput A[m]\nZ[m] = A[m]\n", "the cascade names no result"),
        ("cascade c\ninput A[m], B[m]\noutput Z\nZ[m] = A[m]\n", "input 'B' is never read"),
        ("cascade c\ninput A[m]\noutput Y\nZ[m] = A[m]\n", "unknown result 'Y'"),
        ("cascade c\ninput A[m]\noutput Z\nZ[m] = A[m]\nZ[m] = A[m]\n", "Z is written by 2 Einsums"),
        (
            "cascade c\ninput A[m]\noutput Z\nop f(x) = g(x)\nop g(x) = f(x)\nZ[m] = f(A[m])\n",
            "operator 'f' calls itself",
        ),
    ],
)
def test_errors_of_whole_cascades(text: str, message: str) -> None:
    found = error(text)
    assert message in str(found)
    assert found.line is not None
    assert found.column is not None


def test_deep_nesting_is_refused() -> None:
    assert "nested too deeply" in str(error(HEAD + "Z[m, n] = " + "(" * 500 + "A[m, k]" + ")" * 500 + "\n"))
    assert "too long" in str(error(HEAD + "Z[m, n] = " + " + ".join(["A[m, k]"] * 500) + "\n"))


# --- random cascades


def round_trips(text: str) -> None:
    cascade = parse_cascade(text)
    printed = print_cascade(cascade)
    assert parse_cascade(printed) == cascade
    assert print_cascade(parse_cascade(printed)) == printed


def test_random_cascades_round_trip(random_cascade: Callable[[int], str]) -> None:
    for seed in range(300):
        round_trips(random_cascade(seed))


@pytest.mark.slow
def test_ten_thousand_random_cascades_round_trip(random_cascade: Callable[[int], str]) -> None:
    for seed in range(10_000):
        round_trips(random_cascade(seed))


# --- mutated texts

_LIBRARY = Path(catalogue.__file__).parent / "library"
_PIECES = ["[", "]", "(", ")", ",", "::", "=", "->", "m", "Q", "|", "|m|", " ", "\n", '"', "-", "+", "*", "inf",
           "where", "else", "rank", "9", "1e400", "0.5", "cascade", "split", "op", "é", "\0", "$", "lowest", "not",
           "#", "T[0]", "density", "bits", "bits 8\n"]  # fmt: skip


def mutate(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(text) + 1)
        length = rng.choice([0, 1, 1, 2, 5, 20])
        action = rng.random()
        if action < 0.4:
            text = text[:place] + text[place + length :]
        elif action < 0.8:
            text = text[:place] + rng.choice(_PIECES) + text[place + length :]
        else:
            other = rng.randrange(len(text) + 1)
            text = text[:place] + text[other : other + length] + text[place:]
    return text


def refuses_or_reads(seed: int, texts: list[str]) -> bool:
    """True when the mutated text was refused; it never fails otherwise, and the place is in the text."""
    rng = random.Random(seed)
    text = mutate(rng.choice(texts), rng)
    try:
        cascade = parse_cascade(text, file="m.edge")
    except InputError as error:
        problem: InputError | None = error
    else:
        problem = None
        assert parse_cascade(print_cascade(cascade)) == cascade
    if problem is not None:
        assert isinstance(problem, CascadeError)
        assert problem.line is not None
        assert problem.column is not None
        assert 1 <= problem.line <= text.count("\n") + 2
        assert problem.column >= 1
        assert str(problem).startswith(f"m.edge:{problem.line}:{problem.column}: ")
    return problem is not None


def library_texts() -> list[str]:
    return [(_LIBRARY / f"{name}.edge").read_text(encoding="utf-8") for name in cascade_names()]


def test_mutated_texts_never_fail_otherwise() -> None:
    texts = library_texts()
    refused = sum(refuses_or_reads(seed, texts) for seed in range(600))
    assert refused > 300


@pytest.mark.slow
def test_ten_thousand_mutated_texts() -> None:
    texts = library_texts()
    for seed in range(10_000):
        refuses_or_reads(seed, texts)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_at_all(text: str) -> None:
    with pytest.raises(CascadeError):
        parse_cascade("cascade c\n" + text)
