"""Our docstrings on the site: each of ``Shapes:``, ``Raises:``, ... begins a paragraph."""

import re

import griffe

HEADS = r"^(Shapes|Dtypes|State|Params|Keys|Units|Raises|Source)((?:, \w+)*:) +"


class Paragraphs(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            text = re.sub(HEADS, r"\n**\1\2** ", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = text
