"""The package's own parts: stubs, lines of logs, progress."""

import ast
import inspect
import io
import json
from pathlib import Path

import pytest

import depin_compute_lib as dcl
from depin_compute_lib import _core
from depin_compute_lib._deployment import Lines, milliseconds
from depin_compute_lib._progress import Steps

STUBS = Path(dcl.__file__).with_name("_core.pyi")


def parameters(node: ast.FunctionDef) -> list:
    """Names of a stub's parameters, and whether each may be left out."""
    names = [argument.arg for argument in node.args.args]
    required = len(names) - len(node.args.defaults)
    return [(name, index >= required) for index, name in enumerate(names)]


def runtime_parameters(function) -> list:
    values = inspect.signature(function).parameters.values()
    return [(value.name, value.default is not inspect.Parameter.empty) for value in values]


def test_stubs_are_the_runtime_s_signatures() -> None:
    tree = ast.parse(STUBS.read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for name, node in functions.items():
        assert runtime_parameters(getattr(_core, name)) == parameters(node), name
    public = {name for name in dir(_core) if not name.startswith("_")}
    assert public == functions.keys() | classes.keys()
    for name, node in classes.items():
        methods = [entry for entry in node.body if isinstance(entry, ast.FunctionDef)]
        for method in methods:
            if method.name == "__new__":
                assert runtime_parameters(getattr(_core, name)) == parameters(method)[1:], name
            elif not method.decorator_list:
                found = runtime_parameters(getattr(getattr(_core, name), method.name))
                assert found == parameters(method), method.name


def test_everything_public_has_a_docstring() -> None:
    for name in dcl.__all__:
        entry = getattr(dcl, name)
        assert inspect.getdoc(entry), name
        for member, value in vars(entry).items():
            if not member.startswith("_") and inspect.isfunction(value):
                assert inspect.getdoc(value), f"{name}.{member}"
    tree = ast.parse(STUBS.read_text())
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            assert ast.get_docstring(node), node.name


def test_asyncio_has_every_method() -> None:
    for blocking, coroutine in [(dcl.ComputeClient, dcl.AsyncComputeClient), (dcl.Deployment, dcl.AsyncDeployment)]:
        names = {name for name in vars(blocking) if not name.startswith("_")} - {"endpoint"}
        assert names <= {name for name in vars(coroutine) if not name.startswith("_")}
    with pytest.raises(TypeError):
        dcl.AsyncComputeClient("//Alice", endpont="ws://127.0.0.1:9")


def test_lines_of_both_streams_are_kept_apart() -> None:
    lines = Lines()
    found = list(lines.add("stdout", 1.0, b"one\ntw"))
    found += lines.add("stderr", 2.0, b"oops")
    found += lines.add("stdout", 3.0, b"o\r\nthree\n\xff")
    found += lines.add("dropped", 4.0, b"")
    found += lines.rest()
    assert [(line.text, line.stream, line.time) for line in found] == [
        ("one", "stdout", 1.0),
        ("two", "stdout", 1.0),
        ("three", "stdout", 3.0),
        ("oops", "stderr", 2.0),
        ("\ufffd", "stdout", 3.0),
        ("", "dropped", 4.0),
    ]


def test_seconds_are_bounded() -> None:
    assert milliseconds("timeout", 1.5) == 1_500
    for value in (-1, float("nan"), float("inf"), "1", True):
        with pytest.raises(dcl.InvalidOrderError, match="timeout"):
            milliseconds("timeout", value)


def test_progress_shows_nothing_where_nobody_looks(capsys: pytest.CaptureFixture) -> None:
    seen = []
    steps = Steps(seen.append)
    steps(json.dumps({"step": "submitted", "transaction": "0xab", "text": "transaction 0xab"}))
    steps(json.dumps({"step": "ordered", "job": 7, "text": "job 7"}))
    steps.end()
    assert [step["step"] for step in seen] == ["submitted", "ordered"]
    assert (steps.transaction, steps.job) == ("0xab", 7)
    silent = Steps(None)
    silent(json.dumps({"step": "ordered", "text": "job 7"}))
    assert capsys.readouterr().err == ""


def test_progress_is_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    steps = Steps(None)
    for text in ("image a", "transaction 0xab"):
        steps(json.dumps({"step": "resolved", "text": text}))
    steps.end()
    written = terminal.getvalue()
    assert written.count("\n") == 1 and written.endswith("transaction 0xab\n")
