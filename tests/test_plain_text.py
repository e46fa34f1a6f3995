"""What a terminal would obey is found in every spelling, and nothing else is."""

from __future__ import annotations

import json

import pytest

from evo.plain_text import is_plain, made_plain, read_json

PLAIN = ("", "Zoë", "a\tb\nc\r", "漢字 😀 ½", "\u2014 \u2028", "back\\slash \\b \\u0007")
CONTROL = [chr(code) for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"]
CONTROL += ["\u202a", "\u202e", "\u2066", "\u2069", "\ufffe", "\uffff", "\ud800", "\udfff"]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_texts_stay(text: str) -> None:
    assert is_plain(text)
    assert made_plain(text) == text
    for spelling in (json.dumps([text]), json.dumps([text], ensure_ascii=False)):
        assert read_json(spelling.encode()) == [text]


@pytest.mark.parametrize("character", CONTROL, ids=lambda character: f"{ord(character):04x}")
def test_control_characters_are_refused_in_every_spelling(character: str) -> None:
    text = f"a{character}b"
    assert not is_plain(text)
    assert made_plain(text) == "a?b"
    code = f"\\u{ord(character):04x}"
    spellings = {f'"a{code}b"', f'"a{code.upper().replace("U", "u", 1)}b"', json.dumps(text)}
    if ord(character) >= 32 and not 0xD800 <= ord(character) < 0xE000:
        spellings.add(json.dumps(text, ensure_ascii=False))
    for spelling in spellings:
        for place in (spelling, f"[{spelling}]", f'{{"a": [{{"b": {spelling}}}]}}', f"{{{spelling}: 1}}"):
            with pytest.raises(ValueError, match="control characters"):
                read_json(place.encode())


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "[" * 100_000 + "]" * 100_000, "{", ""])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # in the words of the parser
        read_json(text.encode())
