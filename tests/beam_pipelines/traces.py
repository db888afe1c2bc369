"""Finds what ids a run has left anywhere: in its output, its temporary files, its log."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


def unlike(id: str) -> str:
    """An id that cannot stand anywhere by chance, nor be compressed away."""
    rng = random.Random(id)
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyzüéλ🎧") for _ in range(24))


class Kept:
    """Copies of all files that were removed in the course of a run."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._remove_tree, self._remove = shutil.rmtree, os.unlink
        monkeypatch.setattr(shutil, "rmtree", self.remove_tree)
        monkeypatch.setattr(os, "unlink", self.remove)
        monkeypatch.setattr(os, "remove", self.remove)

    def remove_tree(self, path, *args, **kwargs) -> None:
        if Path(path).is_dir():
            shutil.copytree(path, self.root / str(len(list(self.root.iterdir()))))
        self._remove_tree(path, *args, **kwargs)

    def remove(self, path, **kwargs) -> None:
        if "dir_fd" not in kwargs:
            shutil.copy(path, self.root / str(len(list(self.root.iterdir()))))
        self._remove(path, **kwargs)


def everything(*roots: Path) -> Iterator[tuple[Path, bytes]]:
    for root in roots:
        for path in root.rglob("*"):
            yield path, str(path.relative_to(root)).encode()
            if path.is_file():
                yield path, path.read_bytes()


def forms(id: str) -> list[bytes]:
    """In which an id may stand somewhere, whole; UTF-8 also percent- or backslash-escaped."""
    text = [id, json.dumps(id)[1:-1], repr(id)[1:-1], ascii(id)[1:-1], repr(id.encode())[2:-1]]
    return [*(form.encode() for form in text), id.encode("utf-16-le"), id.encode("utf-16-be")]


def found(ids: list[str], *roots: Path) -> dict[str, set[str]]:
    """The ids that are somewhere below the roots, and in which files."""
    where: dict[str, set[str]] = {}
    for path, data in everything(*roots):
        for id in ids:
            if any(form in data for form in forms(id)):
                where.setdefault(id, set()).add(path.name)
    return where
