"""PostgreSQL's names of encodings, as Python knows them."""

from __future__ import annotations

import re

_NAMES = {
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
    "SJIS": "shift_jis",
    "BIG5": "big5",
    "GBK": "gbk",
    "GB18030": "gb18030",
    "EUC_CN": "gb2312",
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
}
_LATIN = {1: 1, 2: 2, 3: 3, 4: 4, 5: 9, 6: 10, 7: 13, 8: 14, 9: 15, 10: 16}


def codec_of(name: str) -> str | None:
    """Return the codec of an encoding that cannot hold everything; ``""`` for UTF-8, ``None`` for one not known."""
    if name == "UTF8":
        return ""
    if match := re.fullmatch(r"LATIN(\d+)", name):
        number = _LATIN.get(int(match[1]))
        return None if number is None else f"iso8859_{number}"
    if match := re.fullmatch(r"WIN(\d+)", name):
        return f"cp{match[1]}"
    return _NAMES.get(name)
