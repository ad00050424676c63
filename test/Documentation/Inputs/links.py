#!/usr/bin/env python3
"""Checks that what the Markdown pages below a folder link to is there.

usage: links.py FOLDER
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1]).resolve()
pages = [p for p in root.rglob("*.md") if not any(part.startswith("build") or part.startswith(".") for part in p.relative_to(root).parts)]
links = 0


def anchors(text):
    """as GitHub makes them from headings"""
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}


for page in pages:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", text, flags=re.S))):
        if re.match(r"[a-z]+:", target):
            continue
        links += 1
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        if not to.exists() or root not in to.parents:
            sys.exit(f"{page.relative_to(root)}: no such file: {target}")
        if anchor and anchor not in anchors(to.read_text()):
            sys.exit(f"{page.relative_to(root)}: no such heading: {target}")
print(f"{len(pages)} pages, {links} links")
