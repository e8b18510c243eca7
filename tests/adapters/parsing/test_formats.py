"""Each format, as people write it: what is text, under which headings, and what is left out."""

import pytest

from dragoman.adapters.parsing.csvtable import csv_table
from dragoman.adapters.parsing.markdown import markdown
from dragoman.adapters.parsing.pdf import pdf
from dragoman.adapters.parsing.sections import Section
from dragoman.adapters.parsing.text import plain_text
from dragoman.adapters.parsing.webpage import webpage
from dragoman.adapters.parsing.word import word_document
from dragoman.ports.parsers import Unreadable, kind_of
from tests.adapters.parsing.documents import archive, pdf_of, text_lines, word_body, word_of


def said(sections: list[Section]) -> list[tuple[str, str]]:
    return [(section.title, section.text) for section in sections]


MANUAL = """---
title: Manual
---
Read this *first*.

# Cleaning

Wipe it **dry** with a
[soft cloth](https://example.com).

## Descaling

1. Fill in `descaler`.
2. Press start.
   - Wait.

| Model | Every | Note |
|-------|-------|------|
| X1    | week  |      |
| X2    | month | or <b>later</b> |

Care
====
```sh
reset --all
```
![A filter](filter.png) Change it.
"""


def test_markdown_is_text_under_its_headings_and_rows_with_their_columns() -> None:
    assert said(markdown(MANUAL.encode())) == [
        ("", "Read this first."),
        ("Cleaning", "Wipe it dry with a soft cloth."),
        ("Cleaning > Descaling", "1. Fill in descaler.\n2. Press start.\n- Wait."),
        ("Cleaning > Descaling", "Model: X1; Every: week"),
        ("Cleaning > Descaling", "Model: X2; Every: month; Note: or later"),
        ("Care", "reset --all\n\nA filter Change it."),
    ]


def test_html_in_markdown_is_its_words_alone() -> None:
    [section] = markdown(b"<div onclick='x()'>Open <b>daily</b></div>\n\n<script>evil()</script>\n\n1 < 2 and 3 > 2")
    assert section.text == "Open daily\n\nevil()\n\n1 < 2 and 3 > 2"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_what_it_was_written_in(encoding: str) -> None:
    assert said(plain_text("Größe: 5 €\r\nFarbe: blau\r\r\nEnde\0".encode(encoding))) == [
        ("", "Größe: 5 €\nFarbe: blau\n\nEnde")
    ]


def test_csv_rows_name_their_columns() -> None:
    table = '\ufeffProduct,Price,Note\r\n"Filter, large",12.90,"fits ""X1""\nand X2"\r\n,,\r\nPump,,out of stock\r\n'
    assert said(csv_table(table.encode())) == [
        ("", 'Product: Filter, large; Price: 12.90; Note: fits "X1" and X2'),
        ("", "Product: Pump; Note: out of stock"),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(separator: str) -> None:
    rows = [["Item", "Price"], ["Cup, small", "1,50"], ["Cup; large", "2,50"]]
    table = "\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)
    assert said(csv_table(table.encode())) == [
        ("", "Item: Cup, small; Price: 1,50"),
        ("", "Item: Cup; large; Price: 2,50"),
    ]


def test_unquoted_decimal_commas_do_not_mislead_where_semicolons_separate() -> None:
    assert said(csv_table(b"Item;Price;Fee\nCup;1,50;0,10\nPot;12,50;1,10\n"))[1] == (
        "",
        "Item: Pot; Price: 12,50; Fee: 1,10",
    )


def test_what_a_spreadsheet_puts_around_a_table_is_understood() -> None:
    exported = b"sep=;\nPrice list 2024;;\n;;\nItem;Price;\nCup;2;extra\nJug\n"
    assert said(csv_table(exported)) == [
        ("Price list 2024", "Item: Cup; Price: 2; Column 3: extra"),
        ("Price list 2024", "Item: Jug"),
    ]


def test_columns_without_names_are_numbered() -> None:
    assert said(csv_table(b"1,2.5,3\n4,-5,6%\n")) == [
        ("", "Column 1: 1; Column 2: 2.5; Column 3: 3"),
        ("", "Column 1: 4; Column 2: -5; Column 3: 6%"),
    ]


def test_a_single_column_is_text() -> None:
    assert said(csv_table(b"Open daily\n\nClosed on Sundays\n")) == [("", "Open daily\n\nClosed on Sundays")]


PAGE = b"""<!DOCTYPE html><html><head><title>Returns | Shop</title><meta charset="utf-8"><style>p{}</style></head><body>
<header><nav><a href="/">Home</a><a href="/cart">Cart</a></nav></header>
<main><h1>Returns</h1><p>Send back <b>unused</b> goods within
30 days.<br>See <a href="/x">shipping</a>.</p>
<h2>What does it cost?</h2><ul><li>Nothing.</li><li>Keep the receipt.</li></ul>
<h2>Fees</h2><table><tr><th>Country</th><th>Fee</th></tr><tr><td>Germany</td><td>free</td></tr>
<tr><td>France</td><td>4.90&nbsp;EUR</td></tr></table></main>
<footer>All rights reserved.</footer><script>track("visitor")</script></body></html>"""


def test_a_page_is_its_main_text_under_its_headings() -> None:
    assert said(webpage(PAGE)) == [
        ("Returns", "Send back unused goods within 30 days.\nSee shipping."),
        ("Returns > What does it cost?", "- Nothing.\n- Keep the receipt."),
        ("Returns > Fees", "Country: Germany; Fee: free"),
        ("Returns > Fees", "Country: France; Fee: 4.90 EUR"),
    ]


def test_a_page_that_does_not_mark_its_main_text_is_searched_for_it() -> None:
    story = "".join(
        f"<h2>Part {n}</h2><p>{'In this part we say at length how the machine is kept in order, and why. ' * 4}</p>"
        for n in range(5)
    )
    links = "".join(f"<li><a href='/{n}'>Buy machine {n} now</a></li>" for n in range(40))
    page = f"<html><title>Care</title><body><div class='sidebar'><ul>{links}</ul></div><div>{story}</div></body></html>"
    sections = said(webpage(page.encode()))
    assert [title for title, _ in sections] == [f"Care > Part {n}" for n in range(5)]
    assert not any("Buy machine" in text for _, text in sections)


def test_a_page_of_a_kind_without_main_text_is_all_that_it_shows() -> None:
    questions = "".join(f"<details><summary>Question {n}?</summary>Answer {n}.</details>" for n in range(30))
    page = f"<html><title>Help</title><body><div>{questions}</div><script>x()</script><!-- no --></body></html>"
    sections = said(webpage(page.encode()))
    assert ("Help > Question 7?", "Answer 7.") in sections
    assert len(sections) == 30


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (b"<p>only a fragment</p>", "only a fragment"),
        ('<?xml version="1.0" encoding="utf-8"?><html><body><p>Grüße</p></body></html>'.encode(), "Grüße"),
        ('<meta charset="iso-8859-2"><p>Zażółć gęślą</p>'.encode("iso-8859-2"), "Zażółć gęślą"),
        (b"<p>first<p>second <i>one</b>", "first\n\nsecond one"),
    ],
)
def test_pages_that_are_not_as_they_should_be_are_read(page: bytes, text: str) -> None:
    assert said(webpage(page)) == [("", text)]


def test_a_word_document_is_read_by_its_styles() -> None:
    def fill(document) -> None:
        document.add_heading("Handbook", 0)
        document.add_heading("Leave", 1)
        document.add_paragraph("Thirty days ").add_run("a year.").bold = True
        document.add_heading("Illness", 2)
        document.add_paragraph("Call", style="List Bullet")
        table = document.add_table(rows=0, cols=2)
        for row in (("Site", "Phone"), ("Berlin", "030 1234"), ("Bonn", "")):
            for cell, text in zip(table.add_row().cells, row, strict=True):
                cell.text = text
        document.add_heading("Travel", 1)
        document.add_paragraph("Book\tearly.\nAlways.")

    sections = said(word_document(word_of(fill)))
    assert sections == [
        ("Handbook > Leave", "Thirty days a year."),
        ("Handbook > Leave > Illness", "Call"),
        ("Handbook > Leave > Illness", "Site: Berlin; Phone: 030 1234"),
        ("Handbook > Leave > Illness", "Site: Bonn"),
        ("Handbook > Travel", "Book early.\nAlways."),
    ]


def test_what_a_word_document_does_not_show_is_left_out() -> None:
    namespace = b' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    body = (
        b"<w:p%s><w:r><w:t>Kept</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        b"<w:ins><w:r><w:t> and added</w:t></w:r></w:ins><w:r><w:instrText>PAGE</w:instrText></w:r>"
        b"<mc:AlternateContent><mc:Choice><w:r><w:t> once</w:t></w:r></mc:Choice>"
        b"<mc:Fallback><w:r><w:t> twice</w:t></w:r></mc:Fallback></mc:AlternateContent></w:p>"
        b"<w:sdt><w:sdtContent><w:p><w:r><w:t>In a field</w:t></w:r></w:p></w:sdtContent></w:sdt>" % namespace
    )
    assert said(word_document(word_body(body))) == [("", "Kept and added once\n\nIn a field")]


def test_a_pdf_is_paragraphs_under_its_headings() -> None:
    pages = []
    for number, (heading, broken) in enumerate((("Safety", "mainte-"), ("Cleaning", "self-"), ("Storage", "de-")), 1):
        rest = {"mainte-": "nance", "self-": "cleaning", "de-": "scaling"}[broken]
        pages.append(
            [
                *text_lines(f"Machine X1 manual {number}", size=8),
                ("", 0, False),
                (f"{number} {heading}", 16, True),
                *text_lines(
                    f"Before any work on the machine, unplug it, and leave all {broken}",
                    f"{rest} to people who have read this. It is a self-cleaning",
                    "machine.",
                    "Never open it.",
                ),
                ("", 0, False),
                *text_lines("Do this:", "- Empty the tank.", "- Wipe it.", *["- Do it again."] * (number - 1)),
                ("", 0, False),
                *text_lines(f"Page {number} of 3", size=8),
            ]
        )
    sections = said(pdf(pdf_of(pages)))
    assert [title for title, _ in sections] == ["1 Safety", "2 Cleaning", "3 Storage"]
    assert sections[0][1] == (
        "Before any work on the machine, unplug it, and leave all maintenance to people who have read this. "
        "It is a self-cleaning machine.\n\nNever open it.\n\nDo this:\n- Empty the tank.\n- Wipe it."
    )
    assert "leave all self-cleaning to people" in sections[1][1]
    assert "leave all descaling to people" in sections[2][1]


def test_a_pdf_without_headings_is_cut_at_its_pages() -> None:
    pages = [text_lines("All of this is set in one size,", f"and so is page {word}.") for word in ("one", "two")]
    assert said(pdf(pdf_of(pages))) == [
        ("Page 1", "All of this is set in one size, and so is page one."),
        ("Page 2", "All of this is set in one size, and so is page two."),
    ]


def test_rows_of_a_table_in_a_pdf_stay_lines_and_its_contents_are_left_out() -> None:
    page = [
        *text_lines("1 Prices .............. 3", "2 Fees . . . . . . . . 12"),
        *text_lines("These prices hold from the first of January until they are changed by letter."),
        *text_lines("Filter   12.90", "Pump   30.00", "Jug   4.50"),
    ]
    [(_, text)] = said(pdf(pdf_of([page])))
    assert text.split("\n\n")[1:] == ["Filter 12.90", "Pump 30.00", "Jug 4.50"]
    assert "...." not in text
    assert ". . ." not in text


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("any.bin", b"%PDF-1.7\n", "pdf"),
        ("any.txt", b"\n\n%PDF-1.7\n", "pdf"),
        ("letter", archive({"word/document.xml": b"<x/>"}), "docx"),
        ("READ.ME.MD", b"# Hello", "md"),
        ("page.htm", b"Hello", "html"),
        ("help", b" <!DOCTYPE HTML><html>", "html"),
        ("help.txt", b"<html><body>", "html"),
        ("notes.txt", "Grüße".encode("cp1252"), "txt"),
        ("notes.txt", "Grüße".encode("utf-16"), "txt"),
        ("deep.txt", b"[" * 100_000, "txt"),
        ("prices.tsv", b"a\tb", "csv"),
    ],
)
def test_what_a_document_is_shows_in_it_and_then_in_its_name(name: str, data: bytes, kind: str) -> None:
    assert kind_of(name, data) == kind


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.txt", b"", "empty"),
        ("a.md", b" \n ", "empty"),
        ("a.txt", b"MZ\x90\0\x03\0\0\0" * 9, "none that can be read"),
        ("a.html", bytes(range(1, 9)) * 9, "none that can be read"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "none that can be read"),
        ("a.txt", b"{\\rtf1 Hello}", "none that can be read"),
        ("a.xlsx", archive({"xl/workbook.xml": b"<x/>"}), "office document"),
        ("a.docx", b"no such thing", "called .docx but is none"),
        ("a.pdf", b"no such thing", "called .pdf but is none"),
        ("a.json", b"{}", "not known"),
        ("noending", b"text", "not known"),
    ],
)
def test_what_is_not_taken_is_refused_with_what_to_do(name: str, data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why) as refused:
        kind_of(name, data)
    assert "upload" in str(refused.value)
