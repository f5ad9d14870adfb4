"""Markdown, read back."""


def rows(table: str) -> list[list[str]]:
    """The cells of a table in markdown, without its head."""
    return [[text.strip() for text in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"][2:]
