"""How pages look: one style sheet, light, dark and printed, readable on a phone. No file beside the page, no font."""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "fg": "#1b1b1f",
    "bg": "#ffffff",
    "card": "#f3f4f6",
    "soft": "#4b5563",
    "line": "#d1d5db",
    "edge": "#6b7280",
    "good": "#166534",
    "good-bg": "#e7f6ec",
    "bad": "#a3061f",
    "bad-bg": "#fdecee",
    "wait": "#7a4300",
    "wait-bg": "#fef4e0",
    "c1": "#0b57a4",
    "c2": "#a3410a",
}
"""Colours by role, light. ``edge`` outlines what must be seen; ``line`` only separates."""

DARK: Mapping[str, str] = {
    "fg": "#ececf1",
    "bg": "#16171b",
    "card": "#222429",
    "soft": "#b4b8c2",
    "line": "#3b3e47",
    "edge": "#8b90a0",
    "good": "#7bdc9b",
    "good-bg": "#12301d",
    "bad": "#ff9da6",
    "bad-bg": "#3d1519",
    "wait": "#f5c26b",
    "wait-bg": "#352708",
    "c1": "#7db8f5",
    "c2": "#f4a876",
}
"""Colours by role, dark."""


def style_sheet() -> str:
    """Return the style sheet."""
    return (
        f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}{_RULES}"
        f"@media print{{:root{{color-scheme:light;{_variables(LIGHT)}}}{_PRINTED}}}"
    )


def _variables(colours: Mapping[str, str]) -> str:
    return "".join(f"--{role}:{colour};" for role, colour in colours.items())


_RULES = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1rem 1rem 3rem;font:1rem/1.5 system-ui,sans-serif;color:var(--fg);
background:var(--bg);overflow-wrap:anywhere}
header{border-left:.4rem solid;padding:.9rem 1.1rem;border-radius:.3rem;margin:0 0 1.2rem}
header p{margin:0;color:var(--fg)}header .of{font-weight:600;color:var(--soft)}
h1{font-size:2.4rem;line-height:1.15;margin:.1rem 0 .3rem;letter-spacing:.01em}header .lead{font-size:1.15rem}
header .as{margin-top:.5rem;font-size:.9rem;color:var(--soft)}
header.good{background:var(--good-bg)}header.bad{background:var(--bad-bg)}header.wait{background:var(--wait-bg)}
.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}.soft{color:var(--soft)}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;padding-bottom:.2rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
dl.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.7rem;margin:1.2rem 0 0}
dl.facts div{background:var(--card);border-radius:.3rem;padding:.6rem .9rem}
dt{font-size:.85rem;color:var(--soft)}dd{margin:0;font-size:1.25rem;font-weight:600}
dd small{display:block;font-size:.85rem;font-weight:400;color:var(--soft)}
.bar{display:block;height:.5rem;margin:.3rem 0;border:1px solid var(--edge);border-radius:.25rem;overflow:hidden}
.bar i{display:block;height:100%;background:var(--c1)}
ul.missing{list-style:none;padding:0;margin:0}
ul.missing li{border-left:.25rem solid;padding:.15rem 0 .15rem .8rem;margin:.8rem 0}
ul.missing p{margin:0;color:var(--fg)}
code,pre{font:.88em/1.45 ui-monospace,monospace}
pre{background:var(--card);padding:.6rem .8rem;border-radius:.3rem;white-space:pre-wrap;margin:.4rem 0;color:var(--fg)}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600;font-size:.85rem}td.n,th.n{text-align:right}
table.count{max-width:40rem}table.count :is(th,td.n){overflow-wrap:normal}
table.count td:first-child{min-width:5.8rem}
figure{margin:0}figcaption{font-size:.93rem;margin-bottom:.5rem}
figcaption span{display:inline-block;margin-right:1.4rem}
.key{display:inline-block;width:1.8rem;border-top:3px solid;vertical-align:middle;margin-right:.4rem}
.key.c1{border-color:var(--c1)}.key.c2{border-color:var(--c2);border-top-style:dashed}
.plot{display:grid;grid-template-columns:auto 1fr;grid-template-rows:13rem auto;column-gap:.5rem;font-size:.8rem;
color:var(--soft)}
.plot .y{display:flex;flex-direction:column;justify-content:space-between;text-align:right;margin:-.6rem 0}
.plot .x{grid-column:2;display:flex;justify-content:space-between;margin-top:.3rem}
svg{display:block;width:100%;height:100%;background:var(--card);border-radius:.3rem}
svg *{vector-effect:non-scaling-stroke}svg .grid{stroke:var(--line)}svg .turn{stroke:var(--edge);stroke-dasharray:2 3}
svg path{fill:none;stroke-width:2.5;stroke-linejoin:round}svg path.dot{stroke-width:6;stroke-linecap:round}
svg .c1{stroke:var(--c1)}svg .c2{stroke:var(--c2);stroke-dasharray:7 4}svg .c2.dot{stroke-dasharray:none}
details summary{cursor:pointer;padding:.4rem 0;color:var(--c1)}
footer{margin-top:2.5rem;padding-top:.6rem;border-top:1px solid var(--line);font-size:.9rem;color:var(--soft)}
@media (min-width:44rem){table.time td:nth-child(-n+3){white-space:nowrap}
table.found{table-layout:fixed}table.found th:nth-child(1){width:16%}
table.found th:nth-child(2){width:21%}table.found th:nth-child(3){width:21%}}
@media (max-width:44rem){
h1{font-size:2rem}dl.facts{grid-template-columns:1fr 1fr}dl.facts div{padding:.5rem .6rem}
table:not(.count) thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table:not(.count),table:not(.count) :is(tbody,tr,td,th){display:block;width:100%}
table:not(.count) tr{border-bottom:1px solid var(--line);padding:.5rem 0}
table:not(.count) :is(td,th){border:0;padding:.05rem 0}
table:not(.count) td[data-of]{padding-left:5.4rem;position:relative;min-height:1.5em}
table:not(.count) td[data-of]::before{content:attr(data-of);position:absolute;left:0;width:5.2rem;
color:var(--soft);font-size:.85rem;font-weight:400}
table:not(.count) td:empty{display:none}table.count{font-size:.85rem}table.count :is(td,th){padding-right:.4rem}
.plot{grid-template-rows:10rem auto}.plot .mid{display:none}
}
"""
_PRINTED = """
body{max-width:none;padding:0;font-size:10pt}header{-webkit-print-color-adjust:exact;print-color-adjust:exact}
h2{break-after:avoid}tr,li,figure,dl.facts div{break-inside:avoid}
details>summary{display:none}details::details-content{content-visibility:visible;block-size:auto;display:block}
dl.facts{grid-template-columns:repeat(auto-fit,minmax(9rem,1fr))}.plot{grid-template-rows:6cm auto}
"""
