"""What a worker has imported, and whether it has changed on disk since."""

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from pescador_fn.engines.stamps import Stamps, differ

MS = 1_000_000


@pytest.fixture
def imported(monkeypatch, tmp_path):
    """The file of a module that is imported now, and what is known before that."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "stamped_module.py"
    file.write_text("one = 1")
    __import__("stamped_module")
    yield file
    del sys.modules["stamped_module"]


def seen(file, looked):
    """What is found, if the last look was at that time."""
    known = Stamps()
    known.looked = looked
    return {path: stamp for path, stamp in known.look().items() if path == str(file)}


def test_a_module_is_known_by_its_time_and_size(imported):
    found = seen(imported, time.time_ns() + 3000 * MS)
    assert found == {str(imported): (imported.stat().st_mtime_ns, len("one = 1"))}
    assert not differ(found)
    imported.write_text("one = 11")
    assert differ(found)
    imported.unlink()
    assert differ(found)


@pytest.mark.parametrize("later_ms", [-10_000, -1, 0, 1, 4, 1000])
def test_one_that_may_have_changed_after_its_import_is_not_taken_for_what_was_imported(imported, later_ms):
    """The times of files come in steps, so that of a change can be before that of the look which it followed."""
    found = seen(imported, imported.stat().st_ctime_ns + later_ms * MS)
    assert differ(found)


def test_what_is_installed_is_not_looked_at():
    installed = Stamps().look()
    assert not any(path.startswith(sys.prefix + "/") for path in installed)
    assert pytest.__file__ not in installed
    assert __file__ in installed


class Raising(ModuleType):
    def __getattr__(self, name):
        raise ImportError(name)


class Slotted:
    __slots__ = ()


@pytest.mark.parametrize(
    "odd",
    [
        Raising("odd"),
        Slotted(),
        None,
        SimpleNamespace(__file__=Path(__file__)),
        SimpleNamespace(__file__=__file__.encode()),
        SimpleNamespace(__file__=None),
    ],
    ids=["raises", "has no attributes", "None", "a path", "bytes", "no file"],
)
def test_anything_may_stand_among_the_modules(monkeypatch, odd):
    monkeypatch.setitem(sys.modules, "odd", odd)
    assert __file__ in Stamps().look()


def test_a_lazy_module_is_not_imported_by_looking_at_it(monkeypatch, tmp_path):
    file = tmp_path / "lazy_module.py"
    file.write_text("raise ImportError('not now')")
    spec = importlib.util.spec_from_file_location("lazy_module", file)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    lazy = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    spec.loader.exec_module(lazy)
    assert str(file) in Stamps().look()
