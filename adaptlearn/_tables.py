"""Small tables as text for a terminal and as HTML for a notebook."""

from __future__ import annotations

from html import escape


def text_table(titles, cells, *, n_left=1, gaps=False):
    """Aligned columns.

    Parameters
    ----------
    titles : list of str
    cells : list of lists of str
    n_left : int, default=1
        Columns aligned on the left; the others are aligned on the right.
    gaps : bool, default=False
        Whether an empty line stands before each row that has a first cell.
    """
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    lines = []
    for k, row in enumerate([titles, *cells]):
        if gaps and k and row[0]:
            lines.append("")
        left = [text.ljust(w) for text, w in zip(row[:n_left], widths[:n_left], strict=True)]
        right = [text.rjust(w) for text, w in zip(row[n_left:], widths[n_left:], strict=True)]
        lines.append("  ".join(left + right))
    return "\n".join(lines)


def html_table(titles, cells, *, caption=""):
    """The same as HTML."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells
    )
    note = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{note}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
