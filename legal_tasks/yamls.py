"""YAML that people write, read within bounds: its size, its depth, and what its aliases make of it.

An alias (`*name`) stands for all of its anchor (`&name`). A few lines of aliases of aliases stand for more than a machine holds:
reading them costs nothing, but whatever walks, copies or shows the value afterwards never ends. So they are counted with what
they stand for while the text is read. What comes with the package is no user's text, and is read by PyYAML itself.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

LARGEST = 1 << 20  # bytes of a file, characters of a text
DEEPEST = 50  # lists and mappings within each other
MOST = 100_000  # keys and values, an alias counted with all that it stands for
LONGEST, LONGEST_NUMBER = 100_000, 100  # characters of one key or value


class YamlError(Exception):
    """A text that is no YAML or passes a bound; the message says which, and where."""


def read_file(path: Path) -> Any:
    """The value of a file in UTF-8; YamlError, or OSError where it cannot be opened."""
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise YamlError(f"it is larger than {LARGEST:,} bytes")
    try:
        return read(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise YamlError(f"it is no UTF-8: {error}") from error


def read(text: str, aliases: bool = True) -> Any:
    """The value of a text: mappings, lists, texts, numbers, dates. `aliases`: whether it may hold any."""
    import yaml

    if len(text) > LARGEST:
        raise YamlError(f"it is longer than {LARGEST:,} characters")
    try:
        loader = _loader()(text)
        loader.may_alias = aliases
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise YamlError(str(error)) from error


@lru_cache
def _loader() -> Any:
    """PyYAML's SafeLoader with our bounds; PyYAML is imported by whoever needs it."""
    import yaml

    class Bounded(yaml.SafeLoader):
        def __init__(self, stream: Any) -> None:
            super().__init__(stream)
            self.may_alias = True
            self.inside = self.nodes = 0
            self.known: dict[int, tuple[int, int]] = {}  # of a whole node: (nodes, depth), its aliases expanded

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            if isinstance(event, yaml.AliasEvent):
                if not self.may_alias:
                    raise _wrong("it may not hold the alias of an anchor (*name)", event)
                node = super().compose_node(parent, index)
                if id(node) not in self.known:
                    raise _wrong(f"the alias *{event.anchor} stands for what it is in", event)
                return node
            self.inside, self.nodes = self.inside + 1, self.nodes + 1
            if self.inside > DEEPEST:
                raise _wrong(f"it is nested more than {DEEPEST} deep", event)
            if self.nodes > MOST:
                raise _wrong(f"it holds more than {MOST:,} keys and values", event)
            node = super().compose_node(parent, index)
            self.inside -= 1
            self.known[id(node)] = self.measured(node, event)
            return node

        def measured(self, node: Any, event: Any) -> tuple[int, int]:
            if isinstance(node, yaml.ScalarNode):
                most = LONGEST_NUMBER if node.tag.endswith((":int", ":float")) else LONGEST
                if len(node.value) > most:
                    raise _wrong(f"a {'number' if most < LONGEST else 'text'} is longer than {most:,} characters", event)
                return 1, 1
            pairs = isinstance(node, yaml.MappingNode)
            parts = [self.known[id(part)] for one in node.value for part in (one if pairs else (one,))]
            size, depth = 1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)
            if size > MOST:
                raise _wrong(
                    f"with its aliases (*name) expanded it holds {size:,} keys and values, at most {MOST:,} are taken", event
                )
            if depth > DEEPEST:
                raise _wrong(f"with its aliases (*name) expanded it is nested {depth:,} deep, at most {DEEPEST} are taken", event)
            return size, depth

    return Bounded


def _wrong(why: str, event: Any) -> YamlError:
    return YamlError(f"{why} (line {event.start_mark.line + 1}, column {event.start_mark.column + 1})")
