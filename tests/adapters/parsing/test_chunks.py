"""Pieces that stand alone: short enough, under their headings, and no cell without its column."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.adapters.parsing.chunks import FULL, MOST, pieces_of
from dragoman.adapters.parsing.sections import Draft, Section
from dragoman.ports.parsers import Piece

SENTENCE = "Before you begin, unplug the machine and let it cool down for an hour. "


def row(*cells: str, title: str = "Prices") -> Section:
    return Section(title, "; ".join(cells), cells)


def test_a_short_section_is_one_piece_under_its_path() -> None:
    assert pieces_of([Section("Care > Descaling", "Use vinegar."), Section("", "No heading.")]) == [
        Piece("Care > Descaling", "Care > Descaling\nUse vinegar."),
        Piece("", "No heading."),
    ]


def test_a_long_section_is_cut_between_sentences_and_each_piece_says_where_it_is_from() -> None:
    text = "\n\n".join(f"Paragraph {number}. {SENTENCE * 3}".strip() for number in range(40))
    pieces = pieces_of([Section("Care", text)])
    assert all(piece.text.startswith("Care\n") and piece.text.endswith(".") for piece in pieces)
    assert all(FULL <= len(piece.text) <= MOST for piece in pieces[:-1])
    said = " ".join(piece.text.removeprefix("Care\n") for piece in pieces)
    assert said.split() == text.split()


def test_neighbours_under_the_same_headings_are_one_piece_and_others_are_not() -> None:
    sections = [Section("A", "one"), Section("A", "two"), Section("B", "three"), Section("A", "four")]
    assert [piece.text for piece in pieces_of(sections)] == ["A\none\n\ntwo", "B\nthree", "A\nfour"]


def test_each_row_is_a_piece() -> None:
    sections = [Section("Prices", "Valid in May."), row("Item: Cup", "Price: 2"), row("Item: Pot", "Price: 9")]
    assert [piece.text for piece in pieces_of(sections)] == [
        "Prices\nValid in May.",
        "Prices\nItem: Cup; Price: 2",
        "Prices\nItem: Pot; Price: 9",
    ]


def test_a_row_too_long_for_one_piece_keeps_its_key_and_its_columns() -> None:
    cells = ("Item: Cup", *(f"Column {number}: {'x' * 150}" for number in range(12)), f"Story: {SENTENCE * 40}")
    pieces = pieces_of([row(*cells)])
    assert len(pieces) > 4
    for piece in pieces:
        head, body = piece.text.split("\n", 1)
        assert head == "Prices"
        assert body.startswith("Item: Cup; ")
        assert all(": " in cell for cell in body.split("; "))
        assert len(piece.text) <= MOST
    assert sum(piece.text.count("x" * 150) for piece in pieces) == 12
    assert sum(piece.text.count("unplug") for piece in pieces) == 40


def test_the_end_of_a_long_section_is_no_crumb() -> None:
    for length in range(400, 2400, 37):
        pieces = pieces_of([Section("", ("word " * 500)[:length])])
        assert all(len(piece.text) >= 120 for piece in pieces)


def test_a_path_leaves_room_for_text() -> None:
    [piece] = pieces_of([Section(" > ".join(f"Part {number} of the whole" for number in range(40)), "Text.")])
    assert piece.title.endswith("Part 39 of the whole")
    assert len(piece.title) <= 200
    assert piece.text == f"{piece.title}\nText."


WORDS = st.text(st.sampled_from("ab é漢\u0301👩\n.\u200d"), max_size=5000)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["", "A", "A > B", "x" * 500]), WORDS), max_size=4), st.lists(WORDS, max_size=5)
)
def test_nothing_is_lost_nothing_is_too_long_and_the_same_is_cut_alike(
    texts: list[tuple[str, str]], values: list[str]
) -> None:
    draft = Draft()
    for title, text in texts:
        draft.heading(1, title)
        draft.text(text)
    draft.row(["Name", "", "Note"], values)
    sections = draft.sections()
    pieces = pieces_of(sections)
    assert pieces == pieces_of(sections)
    assert all(len(piece.text) <= MOST for piece in pieces)
    letters = sum(text.count("漢") for _, text in texts) + sum(value.count("漢") for value in values)
    assert sum(piece.text.count("漢") for piece in pieces) >= letters
