"""No modules import each other in a circle, type checkers' imports included, but for one that is known."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

import pytest
from tests.unit.sources import imports, modules

ALLOWED = frozenset({"proofload.drive.http.connection", "proofload.drive.http.wire", "proofload.drive.user"})
"""A user's step goes through the wire to a connection, whose answer steps the user: one machine in three files."""


def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    known = frozenset(trees)
    return {name: set(imports(tree, known)) - {name} for name, tree in trees.items()}


def reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in edges[todo.pop()] - seen:
            seen.add(name)
            todo.append(name)
    return seen


def circles(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return every strongly connected component of two modules or more."""
    ahead = {name: reachable(name, edges) for name in edges}
    return {frozenset(other for other in ahead[name] if name in ahead[other]) for name in edges if name in ahead[name]}


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    return graph(modules())


def test_no_other_modules_import_each_other_in_a_circle(edges: dict[str, set[str]]) -> None:
    assert circles(edges) == {ALLOWED}


def test_graphlib_agrees(edges: dict[str, set[str]]) -> None:
    rest = {name: others - ALLOWED for name, others in edges.items()}
    tuple(TopologicalSorter(rest).static_order())


def test_a_circle_is_found_through_functions_and_type_checking() -> None:
    trees = {
        "p.a": ast.parse("def f():\n    from p import b"),
        "p.b": ast.parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.c import C"),
        "p.c": ast.parse("import p.a"),
        "p.d": ast.parse("import p.c\nimport os"),
    }
    assert circles(graph(trees)) == {frozenset({"p.a", "p.b", "p.c"})}
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(graph(trees)).static_order())


def test_executors_know_only_their_host(edges: dict[str, set[str]]) -> None:
    executors = {name for name in edges if name.startswith("proofload.drive.executors.")}
    assert executors
    assert not [name for name in executors if "proofload.drive.engine" in reachable(name, edges)]
