"""Words, windows and rankings: what retrieval is made of."""

from dragoman.core.knowledge import WINDOW, fuse, terms, windows, words


def test_what_two_rankings_agree_on_stands_before_what_one_puts_first() -> None:
    assert fuse([[1, 2, 3], [4, 2, 5]])[0] == 2
    assert fuse([[7]]) == [7]
    assert fuse([]) == []


def test_words_are_plain_whatever_their_case_marks_and_apostrophes() -> None:
    assert words("Café's ÜBER-price: 12.50\u2019") == ["cafe", "s", "uber", "price", "12", "50"]


def test_terms_leave_out_what_a_question_is_asked_with() -> None:
    assert terms("Hello! What are your opening hours, and the hours on Sunday, please?") == [
        "opening",
        "hours",
        "sunday",
    ]
    assert terms("Hi, thank you!") == []
    assert terms("") == []


def test_terms_keep_what_is_written_in_other_scripts() -> None:
    assert terms("営業時間は何時ですか") == ["営業時間は何時ですか"]
    assert terms("Во сколько открытие?") == ["во", "сколько", "открытие"]


def test_windows_hold_every_word_of_a_text_and_break_it_at_its_sentences() -> None:
    text = (
        "It costs 2.50 euro a day. Is that much? "
        + "One more sentence follows here! " * 12
        + "\nAnd a line without an end"
    )
    found = windows(text)
    assert " ".join(found).split() == text.split()
    assert all(len(window) <= WINDOW for window in found)
    assert found[0].startswith("It costs 2.50 euro a day. Is that much?")


def test_a_sentence_longer_than_a_window_stays_whole_and_nothing_gives_none() -> None:
    long = "word " * 100
    assert windows(long) == [long.strip()]
    assert windows(" \n ") == []


def test_windows_are_found_in_a_time_that_grows_with_the_text() -> None:
    """A text of signs that end nothing would cost a backtracking expression its square."""
    assert "".join(windows("." * 200_000 + "a")).endswith("a")
    assert len("".join(windows("a!b" * 100_000))) == 300_000
    assert windows(". " * 100_000 + " " * 100_000)[0].startswith(". .")
