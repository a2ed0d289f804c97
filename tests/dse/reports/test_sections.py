"""Parts of a report that are made apart and kept."""

from __future__ import annotations

from dse.reports.sections import with_part

ONE, TWO, THREE = "# One\n\na\n\n## b\n", "# Two\n\nc\n", "# Three\n\nd\n"


def test_parts_are_appended_in_the_order_they_come() -> None:
    assert with_part("", ONE) == ONE
    assert with_part(ONE, TWO) == "# One\n\na\n\n## b\n\n# Two\n\nc\n"


def test_a_part_takes_the_place_of_its_old_self_and_the_others_stay() -> None:
    text = with_part(with_part(ONE, TWO), THREE)
    for part in (ONE, TWO, THREE):
        assert with_part(text, part) == text
    assert with_part(text, "# Two\n\nnew\n") == "# One\n\na\n\n## b\n\n# Two\n\nnew\n\n# Three\n\nd\n"


def test_headings_that_only_begin_alike_are_other_parts() -> None:
    assert with_part("# Two parts\n\nx\n", TWO) == "# Two parts\n\nx\n\n# Two\n\nc\n"
