"""The pages: nothing from elsewhere, nothing that runs, and every word is only a word."""

import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from dragoman.server.errors import Dialect
from dragoman.web.curl import curl
from dragoman.web.html import Html, prose, tag
from dragoman.web.openapi import openapi
from dragoman.web.pages import Entry, document_page, index_page, kind_of
from dragoman.web.routes import ASSETS
from tests.web.scene import DOCUMENTED, HOSTILE, SAMPLE

HARMLESS = {
    *("html", "head", "meta", "title", "link", "body", "nav", "main", "section", "div", "p", "h1", "h2", "h3", "h4"),
    *("ul", "li", "table", "tr", "td", "a", "b", "span", "small", "code", "pre", "figure", "figcaption"),
    *("details", "summary"),
}
EMPTY = {"meta", "link"}


class Seen(HTMLParser):
    """Every element and attribute of a page, its text, and whether its elements close in order."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(name)
        self.attributes += [(key, value or "") for key, value in attributes]
        if name not in EMPTY:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def entries() -> list[Entry]:
    return [Entry(each.name, openapi(each), asyncapi_of(each)).at("https://chat.example") for each in DOCUMENTED]


def asyncapi_of(dialect: Dialect) -> dict | None:
    made = dialect.description.asyncapi if dialect.description else None
    return made() if made else None


def pages() -> dict[str, bytes]:
    every = entries()
    return {"": index_page(every), **{entry.name: document_page(every, entry) for entry in every}}


@pytest.mark.parametrize("name", ["", *(each.name for each in DOCUMENTED)])
def test_a_page_loads_nothing_from_elsewhere_and_runs_nothing(name: str) -> None:
    seen = Seen(pages()[name])
    assert seen.elements <= HARMLESS
    assert {key for key, _ in seen.attributes} <= {
        "class",
        "href",
        "id",
        "title",
        "lang",
        "charset",
        "name",
        "content",
        "rel",
    }
    links = seen.values("href")
    assert links
    assert all(link.startswith(("/docs", "#")) for link in links)
    assert {link[1:] for link in links if link.startswith("#")} <= set(seen.values("id"))
    assert len(seen.values("id")) == len(set(seen.values("id")))


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_refers_to_nothing(name: str) -> None:
    text = files("dragoman.web").joinpath("assets", name).read_text()
    assert "@import" not in text
    assert "url(" not in text
    assert "href" not in text
    assert "<script" not in text


def test_words_that_look_like_markup_stay_words() -> None:
    page = pages()["sample"]
    assert b"<script" not in page
    assert b"<img" not in page
    seen = Seen(page)
    # In the title, where nothing is made code of.
    assert f"Sample {HOSTILE}" in seen.text
    assert "Ask <b>anything</b>" in seen.text


def test_an_attribute_cannot_be_left() -> None:
    assert (
        tag("a", "x", href='"><script>', class_="'\"")
        == '<a href="&quot;&gt;&lt;script&gt;" class="&#x27;&quot;">x</a>'
    )
    assert tag("p", tag("b", "<"), "<") == "<p><b>&lt;</b>&lt;</p>"
    assert prose("say `<b>` & go") == "say <code>&lt;b&gt;</code> &amp; go"
    assert isinstance(prose(""), Html)


def test_a_page_shows_what_its_document_says() -> None:
    text = Seen(pages()["alonchat"]).text
    for word in (
        "/v1/agents/",
        "{agent_id}",
        "Idempotency-Key",
        "credits_used",
        "text/event-stream",
        "rate_limit_exceeded",
    ):
        assert word in text
    assert "https://chat.example/v1/conversations/" in text


def test_a_page_shows_the_socket_too() -> None:
    text = Seen(pages()["sample"]).text
    assert "/ws/sample" in text
    assert "message_stream_token" in text
    assert text.index("The client sends") < text.index("A message of the user.") < text.index("The server sends")


def words_of(path: str, method: str) -> list[str]:
    """What a shell makes of the command that an operation shows."""
    document = entries()[-1].openapi
    command = curl(document, path, method, document["paths"][path][method])
    script = "curl() { printf '%s\\n' \"$@\"; }; KEY='a key'; " + command
    return subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout.splitlines()


def test_the_shell_reads_an_example_as_it_was_meant() -> None:
    assert words_of("/sample/v1/agents/{agent_id}/ask", "post") == [
        *("-X", "POST", "https://chat.example/sample/v1/agents/it%27s%20me%2Fyou/ask"),
        *("-F", "agent_key=agent:1:voice:us", "-F", "query=What's open?"),
    ]
    assert words_of("/sample/v1/things/", "delete") == [
        *("-X", "DELETE", "https://chat.example/sample/v1/things/?limit=20", "-H", "x-api-token: a key"),
    ]


def test_a_type_is_told_in_words() -> None:
    assert (
        kind_of({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 9}})
        == "list of integer, 1 to 9"
    )
    assert kind_of({"anyOf": [{"type": "string"}, {"type": "null"}]}) == "string or null"
    assert kind_of({"enum": ["a", "b"]}) == '"a" or "b"'
    assert kind_of({}) == "anything"


def test_a_document_stands_where_its_server_is() -> None:
    entry = Entry(SAMPLE.name, openapi(SAMPLE), asyncapi_of(SAMPLE)).at("https://chat.example")
    assert entry.openapi["servers"] == [{"url": "https://chat.example"}]
    assert entry.asyncapi is not None
    assert entry.asyncapi["servers"] == {"here": {"host": "chat.example", "protocol": "wss"}}
