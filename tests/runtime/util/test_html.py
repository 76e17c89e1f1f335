"""A page needs nothing from elsewhere, escapes what it shows, and is well-formed."""

from __future__ import annotations

from xml.etree import ElementTree

from edgecap.util.html import Bar, BarChart, Block, Bullets, Code, Failure, Image, Markup, Section, Table, html_page

NASTY = '<script src="https://elsewhere/x.js">&"'
SVG = "{http://www.w3.org/2000/svg}"


def parsed(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!doctype html>"))


def test_every_kind_of_block_is_escaped_and_nothing_is_loaded() -> None:
    blocks: list[Block] = [
        NASTY,
        Bullets([NASTY]),
        Failure(NASTY),
        Code(NASTY, NASTY),
        Table([NASTY], [[NASTY]]),
        BarChart([Bar(NASTY, 1.0, NASTY, NASTY)]),
        Image(b"\x89PNG", NASTY),
        Section(NASTY, [NASTY]),
    ]
    root = parsed(html_page(NASTY, blocks, provenance=[NASTY], failed=True))
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert not tags & {"script", "link", "iframe", "object"}
    assert [element.get("src", "")[:22] for element in root.iter("img")] == ["data:image/png;base64,"]
    texts = [element.text for element in root.iter() if element.text and NASTY in element.text]
    assert len(texts) == 14


def test_sections_inside_sections_have_smaller_headings_and_an_untitled_one_has_none() -> None:
    root = parsed(html_page("page", [Section("outer", [Section("inner", ["text"]), Section("", ["bare"])])]))
    body = root.find("body")
    assert body is not None
    assert [(element.tag, element.text) for element in body] == [
        ("h1", "page"),
        ("h2", "outer"),
        ("h3", "inner"),
        ("p", "text"),
        ("p", "bare"),
    ]


def test_number_columns_and_failures_of_a_table_are_marked() -> None:
    table = Table(["name", "value"], [["a", "1"], ["b", "NO"]], numbers_from=1, failures={"NO"})
    cells = {element.text: element.get("class") for element in parsed(html_page("page", [table])).iter("td")}
    assert cells == {"a": None, "1": "number", "b": None, "NO": "number failed"}


def test_bars_are_as_long_as_their_values_relative_to_the_largest() -> None:
    root = parsed(html_page("page", [BarChart([Bar("a", 2.0, "2"), Bar("b", 1.0, "1"), Bar("c", 0.0, "0")])]))
    lengths = [float(element.get("width", "nan")) for element in root.iter(f"{SVG}rect")]
    assert lengths[0] == 2 * lengths[1] > 0 == lengths[2]
    assert parsed(html_page("page", [BarChart([])])).find(f".//{SVG}svg") is not None


def test_markup_goes_in_as_it_is_with_its_own_style() -> None:
    root = parsed(html_page("page", [Markup("<article><b>bold</b></article>")], style="article { color: red; }"))
    bold = root.find(".//article/b")
    assert bold is not None
    assert bold.text == "bold"
    style = root.find(".//style")
    assert style is not None
    assert style.text is not None
    assert style.text.endswith("article { color: red; }")
