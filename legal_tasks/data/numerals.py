"""Chinese numerals as articles are counted, both ways."""

from __future__ import annotations

from functools import lru_cache

NUMBER = r"[零〇一二两三四五六七八九十百千0-9０-９]+"
LONGEST = 20  # characters
DIGITS = "零一二三四五六七八九"


@lru_cache(maxsize=20000)
def to_number(text: str) -> int:
    """A number in Chinese or Arabic digits; 0 where it is none (一千零六四) or longer than any that counts something."""
    import cn2an

    plain = text.translate(str.maketrans("０１２３４５６７８９〇两", "0123456789零二"))
    if len(plain) > LONGEST:
        return 0
    if plain.isdecimal():
        return int(plain)
    try:
        return int(cn2an.cn2an(plain, "smart"))
    except (ValueError, KeyError):
        return 0


def numeral(number: int) -> str:
    """1..9999 as articles are counted: 一千零四十七; a larger number in digits."""
    if number > 9999:
        return str(number)
    text, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += (
                ("零" if gap and text else "") + (DIGITS[digit] if not (unit == 10 and digit == 1 and not text) else "") + name
            )
            gap = False
        else:
            gap = True
    return text


def article_name(number: str) -> str:
    """The key of an article as it is cited: "133-1" -> 第一百三十三条之一; "0" has a number that cannot be read."""
    main, _, extra = number.partition("-")
    if main == "0":
        return "（无法识别的条号）"
    return f"第{numeral(int(main))}条" + (f"之{numeral(int(extra))}" if extra else "")
