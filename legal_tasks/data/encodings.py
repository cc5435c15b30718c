"""Bytes as text: which encoding they are in is told by the bytes."""

from __future__ import annotations

from legal_tasks.data.documents import Unreadable

SAMPLE = 100_000  # characters by which an encoding is judged
MOST_ZEROS = 0.02  # share of zero bytes that a damaged text may hold
BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode(data: bytes) -> tuple[str, str]:
    """(text, encoding) of UTF-8, GB18030 or UTF-16 with or without a mark; broken bytes become U+FFFD."""
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace"), encoding
    if b"\0" in data[:4000]:
        found = _utf16(data)
        if found is not None:
            return found
        if data.count(0) > MOST_ZEROS * len(data) + 1:
            raise Unreadable("holds zero bytes: it is no text")
    for encoding in ("utf-8", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if (encoding == "utf-8" and b"\0" not in data[:4000]) or not _odd(text):
            return text, encoding
    found = _utf16(data)
    if found:
        return found
    text = data.decode("utf-8", "replace")
    if text.count("\ufffd") > 0.3 * len(text):
        raise Unreadable("is neither UTF-8, GB18030 nor UTF-16")
    return text, "utf-8 with broken bytes"


def _utf16(data: bytes) -> tuple[str, str] | None:
    """UTF-16 without a mark, if one of its two forms reads as Chinese or ASCII text."""
    for encoding in ("utf-16-le", "utf-16-be") if len(data) % 2 == 0 else ():
        text = data.decode(encoding, "replace")
        sample = text[:SAMPLE]
        usual = sum(
            "\u4e00" <= char <= "\u9fff" or char in "，。、；：（）《》“”\u3000\r\n" or " " <= char <= "~" for char in sample
        )
        if usual > 0.9 * len(sample):
            return text, encoding
    return None


def _odd(text: str) -> bool:
    """Whether most of what lies beyond ASCII is rarer than legal Chinese can be: the encoding was guessed wrongly."""
    far = [char for char in text[:SAMPLE] if ord(char) > 127]
    usual = sum(
        "\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" or c in "“”‘’—…·×" for c in far
    )
    return bool(far) and usual < 0.8 * len(far)
