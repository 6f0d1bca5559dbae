"""A page of headings, texts, lists, tables and figures, written as markdown or as HTML.

Knows nothing of models: what a model card says is in `model_card`. Texts may mark **strong** and `code`; HTML shows
everything else in them letter by letter.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the page's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)
    """Columns of words; the others are numbers, which are set to the right."""


@dataclass(frozen=True)
class Figure:
    """A picture (PNG), which only the HTML page shows."""

    title: str
    png: bytes


Block = Heading | Text | Bullets | Table | Figure


def page_html(title: str, blocks: Sequence[Block]) -> str:
    """One HTML page that needs nothing else: styles and figures are inside, no script, no link out."""
    body = "\n".join(_as_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


def markdown(blocks: Sequence[Block]) -> str:
    """The page as markdown (GitHub's tables), without its figures; ends with a line break."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Text):
            parts.append(block.text)
        elif isinstance(block, Bullets):
            parts.append("\n".join(f"- {line}" for line in block.lines))
        elif isinstance(block, Table):
            rule = ["---" if i in block.left else "---:" for i in range(len(block.header))]
            rows = [[cell.replace("|", "\\|") for cell in row] for row in (block.header, rule, *block.rows)]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"


def _as_html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Bullets):
        return f"<ul>{''.join(f'<li>{_inline(line)}</li>' for line in block.lines)}</ul>"
    if isinstance(block, Figure):
        data = base64.b64encode(block.png).decode()
        title = html.escape(block.title)
        return (
            f'<figure><figcaption>{title}</figcaption><img src="data:image/png;base64,{data}" alt="{title}"></figure>'
        )
    head = "".join(f"<th{_right(i, block)}>{_inline(cell)}</th>" for i, cell in enumerate(block.header))
    body = "".join(
        f"<tr>{''.join(f'<td{_right(i, block)}>{_inline(cell)}</td>' for i, cell in enumerate(row))}</tr>"
        for row in block.rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _right(column: int, block: Table) -> str:
    return "" if column in block.left else ' class="n"'


def _inline(text: str) -> str:
    """Escaped, with the two marks that the texts use: **strong** and `code`."""
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped)


_STYLE = """
:root{color-scheme:light dark;--ink:#1c2530;--soft:#5c6875;--line:#d9dfe5;--page:#fff;--band:#f5f7f9;--mark:#1f4e8c}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--soft:#9aa6b2;--line:#38424d;--page:#14191f;--band:#1c232b;--mark:#7fb0ee}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.2rem;margin:2.2rem 0 .5rem;padding-top:.9rem;border-top:1px solid var(--line);color:var(--mark)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
p,ul{margin:.5rem 0;max-width:48rem}ul{padding-left:1.2rem}li{margin:.2rem 0}
.table{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .8rem .35rem .5rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);vertical-align:bottom}th.n,td.n{text-align:right}td.n,td:first-child{white-space:nowrap}
tbody tr:nth-child(even){background:var(--band)}
code{font:.85em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
figure{margin:1.2rem 0}figcaption{font-weight:600;margin-bottom:.3rem}
img{max-width:100%;height:auto;background:#fff;border:1px solid var(--line);border-radius:4px}
"""
