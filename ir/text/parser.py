"""Reading the text form back, through the same builder that everything else goes through."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pathlift.ir.builder import Builder
from pathlift.ir.errors import GraphError, UnsupportedError
from pathlift.ir.graph import Graph, ModelInfo, Origin, Value
from pathlift.ir.ops import OPS
from pathlift.ir.quoting import PLAIN, SYMBOL
from pathlift.ir.text.cursor import Cursor
from pathlift.ir.text.values import Fill, Stored, Values, fits
from pathlift.ir.types import DTYPES, UNKNOWN, Array, Dim, OtherType, Param, TensorType, ValueType

T = TypeVar("T")
_EXTENT = re.compile(r"[0-9]{1,18}(?![A-Za-z0-9_])")
_OTHER = re.compile(r'[^<>"\n]+')
_LINE_END = re.compile(r"(?:#[^\n]*)?(?:\r?\n|\Z)")
_LOCATION = re.compile(r"#[ \t]*loc:")
_RETURN, _GRAPH = re.compile(r"return\b"), re.compile(r"graph\b")


def parse_graph(
    text: str,
    params: Mapping[str, Param | Array] | None = None,
    fill: Fill | None = None,
    stored: Stored | None = None,
) -> Graph:
    """Read the text form of a graph.

    Parameters
    ----------
    text
        As `print_graph` prints it, or written by hand: blank lines and comments are skipped, and types may be left out.
    params
        Values of the parameters that the text has no values for, by name, of the declared types and shapes. A `Param`
        is taken as it is. Names that the text does not have are ignored.
    fill
        ``fill(name, type)`` returns the values of those parameters that `params` has not either.
    stored
        ``stored(name, type, file, offset)`` returns a parameter whose values are in a file, from some byte on; its
        type has no symbols. Without it, a text that refers to files is refused.

    Returns
    -------
    Graph
        Verified.

    Raises
    ------
    TextError
        If the text is not well-formed, or what it says is not a valid graph; with line, column, and what was expected.
    """
    return _Parser(text, Values(params or {}, fill, stored)).graph()


class _Parser:
    def __init__(self, text: str, values: Values) -> None:
        self.cursor, self.values = Cursor(text), values
        self.builder = Builder()

    def graph(self) -> Graph:
        cursor = self.cursor
        self.skip_empty_lines()
        if cursor.match(_GRAPH) is not None:
            self.builder.info = self.header()
            self.skip_empty_lines()
        while cursor.match(_RETURN) is None:
            self.line()
            self.skip_empty_lines()
        start = cursor.at
        outputs: list[Value] = []
        while cursor.match(_LINE_END) is None:
            if outputs:
                cursor.expect(",")
            outputs.append(self.reference())
        self.skip_empty_lines()
        if cursor.at < len(cursor.text):
            raise cursor.expected("the end of the text")
        return self.checked(start, lambda: self.builder.finish(*outputs))

    def skip_empty_lines(self) -> None:
        while self.cursor.at < len(self.cursor.text) and self.cursor.match(_LINE_END) is not None:
            pass

    def checked(self, start: int, build: Callable[[], T]) -> T:
        """Build something; what is wrong with it is wrong with the text at `start`."""
        try:
            return build()
        except (GraphError, UnsupportedError) as error:
            raise self.cursor.error("0603", error.message, start, hint=error.hint) from None

    def header(self) -> ModelInfo:
        cursor = self.cursor
        name = cursor.string()
        known = {
            "ir_version": cursor.integer,
            "opset": cursor.integer,
            "opsets": lambda: dict(cursor.pairs(cursor.integer)),
            "doc": cursor.string,
            "properties": lambda: MappingProxyType(dict(cursor.pairs(cursor.string))),
            "metadata": lambda: MappingProxyType(dict(cursor.pairs(cursor.string))),
            "graph_metadata": lambda: MappingProxyType(dict(cursor.pairs(cursor.string))),
            "overridable": lambda: tuple(cursor.string() for _ in cursor.items("[]")),
            "functions": lambda: tuple(cursor.literal() for _ in cursor.items("[]")),
            "declared": lambda: MappingProxyType(dict(cursor.pairs(self.type))),
        }
        fields = self.fields(known, "a graph")
        if cursor.match(_LINE_END) is None:
            raise cursor.expected("the end of the line")
        default = {"": fields.pop("opset")} if "opset" in fields else {}
        fields["opsets"] = MappingProxyType({**default, **fields.get("opsets", {})})
        return ModelInfo(name, **fields)

    def fields(self, known: Mapping[str, Callable[[], Any]], owner: str) -> dict[str, Any]:
        """Read ``{key=value, …}``, if it stands here, each value as its key says."""
        found: dict[str, Any] = {}
        for key, start in self.keys():
            if key not in known:
                raise self.cursor.error("0602", f"{owner} has no {key!r}", start, hint=f"it has {', '.join(known)}")
            found[key] = known[key]()
        return found

    def keys(self) -> Iterator[tuple[str, int]]:
        """Read ``{key=…, …}``, if it stands here; the caller reads the values."""
        seen: set[str] = set()
        for _ in self.cursor.items("{}") if self.cursor.ahead("{") else ():
            start = self.cursor.blanks()
            key = self.cursor.word("an attribute")
            if key in seen:
                raise self.cursor.error("0602", f"{key!r} is given twice", start)
            seen.add(key)
            self.cursor.expect("=")
            yield key, start

    def end_of_node(self) -> Origin:
        """Read ``# loc: names {doc=…, metadata=…}``, if it stands here, and the end of the line."""
        cursor = self.cursor
        origin = Origin()
        if cursor.match(_LOCATION) is not None:
            known = {"doc": cursor.string, "metadata": lambda: cursor.pairs(cursor.string)}
            nodes: list[str] = []
            while not (cursor.ahead("{") or cursor.ahead("\n") or cursor.ahead("\r") or cursor.ended):
                if nodes:
                    cursor.expect(",")
                nodes.append(cursor.name(PLAIN, "the name of a node"))
            origin = Origin(tuple(nodes), **self.fields(known, "a location"))
        if cursor.match(_LINE_END) is None:
            raise cursor.expected("the end of the line")
        return origin

    def line(self) -> None:
        cursor = self.cursor
        start = cursor.blanks()
        names = [self.definition()]
        while cursor.accept(","):
            names.append(self.definition())
        cursor.expect("=")
        at = cursor.blanks()
        op = cursor.word("an op")
        if op in ("Input", "Param"):
            if len(names) != 1 or not names[0]:
                raise cursor.error("0603", f"an {op} has one output, with a name", start)
            build = self.input(names[0]) if op == "Input" else self.param(names[0])
        elif op in OPS:
            build = self.call(op, names)
        else:
            raise cursor.error("0603", f"there is no op {op!r}", at)
        origin = self.end_of_node()
        self.checked(start, lambda: build(origin))

    def definition(self) -> str:
        return "" if self.cursor.accept("_") else self.value_name()

    def value_name(self) -> str:
        if not self.cursor.accept("%"):
            raise self.cursor.expected("a value, like '%x'")
        start = self.cursor.at
        name = self.cursor.name(PLAIN, "the name of a value")
        if not name:
            raise self.cursor.error("0602", "a value's name cannot be empty", start, hint="write _ for one without")
        return name

    def reference(self) -> Value:
        start = self.cursor.blanks()
        name = self.value_name()
        try:
            return self.builder.value(name)
        except GraphError:
            raise self.cursor.error(
                "0606", f"there is no value {name!r} so far", start, hint="a value is defined above its uses"
            ) from None

    def input(self, name: str) -> Callable[[Origin], object]:
        types = self.types()
        if len(types) > 1:
            raise self.cursor.expected("one type")
        return lambda origin: self.builder.input_of(name, types[0] if types else UNKNOWN, origin)

    def call(self, op: str, names: list[str]) -> Callable[[Origin], object]:
        cursor = self.cursor
        sources = [None if cursor.accept("_") else self.reference() for _ in cursor.items("()")]
        attrs: dict[str, Any] = {}
        for key, start in self.keys():
            if key not in OPS[op].attributes:
                known = ", ".join(OPS[op].attributes) or "none"
                raise cursor.error("0603", f"{op} has no attribute {key!r}", start, hint=f"it has {known}")
            attrs[key] = cursor.literal()
        start = cursor.blanks()
        types = self.types() or None
        if types is not None and len(types) != len(names):
            raise cursor.error("0607", f"{len(names)} outputs, but {len(types)} types", start)
        return lambda origin: self.builder.node(op, *sources, names=names, types=types, origin=origin, **attrs)

    def types(self) -> list[ValueType]:
        """Read ``: type, …``, if it stands here."""
        if not self.cursor.accept(":"):
            return []
        types = [self.type()]
        while self.cursor.accept(","):
            types.append(self.type())
        return types

    def type(self) -> ValueType:
        cursor = self.cursor
        if cursor.accept("<"):
            other = OtherType(cursor.name(_OTHER, "the name of a type"))
            cursor.expect(">")
            return other
        start = cursor.blanks()
        name = "?" if cursor.accept("?") else cursor.word("a type, like 'f32[N, 3]'")
        if name != "?" and name not in DTYPES:
            raise cursor.error("0607", f"there is no element type {name!r}", start, hint=f"one of {', '.join(DTYPES)}")
        unranked = False
        dims: list[Dim] = []
        for index in cursor.items("[]"):
            if unranked:
                raise cursor.expected("']'")
            unranked = index == 0 and cursor.accept("...")
            if not unranked:
                dims.append(self.dim())
        return TensorType(DTYPES.get(name), None if unranked else tuple(dims))

    def dim(self) -> Dim:
        if self.cursor.accept("?"):
            return None
        extent = self.cursor.match(_EXTENT)
        return int(extent) if extent is not None else self.cursor.name(SYMBOL, "an extent, like '3', 'N' or '?'")

    def param(self, name: str) -> Callable[[Origin], object]:
        cursor = self.cursor
        start, said = cursor.blanks(), dict[str, Any]()
        known: Mapping[str, Callable[[], Any]] = {
            "value": cursor.literal,
            "same": self.reference,
            "data": cursor.literal,
            "file": cursor.string,
            "offset": cursor.integer,
        }
        for key, at in self.keys():
            if key not in known or not ({key, *said} <= {"file", "offset"} or not said):
                hint = "it has value=…, same=%…, data=… or file=…, offset=…"
                raise cursor.error("0603", f"a Param with {key!r} here", at, hint=hint)
            said[key] = known[key]()
        types = self.types()
        declared = types[0] if types else UNKNOWN
        if len(types) > 1 or not isinstance(declared, TensorType):
            raise cursor.error("0607", "a parameter has one type, of a tensor", start)
        if "same" in said:
            value = self.builder[said["same"]].value
            if value is None:
                raise cursor.error("0603", "a parameter can only be the same as a parameter", start)
        else:
            value = self.values.read(cursor, name, said, declared, start)
        if not fits(value.type, declared):
            raise cursor.error("0604", f"the values of {name!r} are {value.type}, declared {declared}", start)
        return lambda origin: self.builder.param(value, name, origin)
