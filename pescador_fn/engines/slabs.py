"""Shared memory between two processes: one anonymous file, a page of counters, and slabs that are used again.

    file    ┌──────────┬─────────────────────┬─────────────────────────────────┬───
            │ counters │ use │ slab │ slab … │ use │ slab    │ slab    │ slab …  │ …
            └──────────┴─────────────────────┴─────────────────────────────────┴───
              4 KB       extent, 4 KB slabs    extent, 1 MB slabs

The worker writes an array into the lowest free slab of its size class, which is the one that the caches still hold, and
marks it used: one byte. The reader maps the extent, hands out an array over the slab, and takes the mark off when that
array has been freed, without a lock or a message. Extents double, so that a slab is found in a short list and a file of
any size needs few mappings. The file has no name, so whatever dies takes it along.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import tempfile
import threading
import weakref
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Control", "Reader", "Ref", "Writer", "anonymous_file"]

PAGE = mmap.ALLOCATIONGRANULARITY
FIRST_BYTES = 2**20  # about what the first extent of a size class holds

Bytes = NDArray[np.uint8]


def anonymous_file(portable: bool) -> int:
    """The descriptor of a new file without a name: memory where the system has such, else an unlinked file."""
    if not portable and hasattr(os, "memfd_create"):
        fd = os.memfd_create("pescador_fn")
    else:
        with tempfile.TemporaryFile(prefix="pescador_fn_", buffering=0) as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, PAGE)
    return fd


class Control:
    """The page of counters. Each has one writer; a store is one machine word, so no reader sees half of one."""

    GO, WAITING, RESET = 0, 1, 2

    def __init__(self, fd: int) -> None:
        page = memoryview(mmap.mmap(fd, PAGE))
        self.flags: memoryview = page  # 0: what the parent wants; 1: whether the worker waits for room
        self.words: memoryview = page.cast("Q")
        # 1: bytes delivered; 2: messages taken; 3: calls begun by the worker, or which of its streams is called, where
        # it has several, and 4: the call


class Ref(NamedTuple):
    """Where an array lies: the extent in the file, the slab's number and place in the extent, the bytes in use."""

    start: int
    length: int
    slab: int
    offset: int
    n_bytes: int


class _Extent:
    """Slabs of one size, side by side behind the bytes that say which are used."""

    __slots__ = ("capacity", "count", "data", "length", "map", "start")

    def __init__(self, fd: int, start: int, capacity: int, count: int, portable: bool) -> None:
        self.start = start
        self.capacity = capacity
        self.count = count
        self.data = -(-count // PAGE) * PAGE
        self.length = self.data + capacity * count
        if portable and hasattr(
            os, "posix_fallocate"
        ):  # on a disk that is full, an error here rather than a bus error later
            os.posix_fallocate(fd, start, self.length)
        else:
            os.ftruncate(fd, start + self.length)
        self.map = mmap.mmap(fd, self.length, offset=start)


class Writer:
    """The worker's side: places bytes into free slabs."""

    def __init__(self, fd: int, portable: bool = False) -> None:
        self.fd = fd
        self.portable = portable
        self.end: int = PAGE
        self.extents: dict[int, list[_Extent]] = {}
        self.by_start: dict[int, _Extent] = {}

    def place(self, n_bytes: int) -> tuple[Ref, mmap.mmap]:
        """A slab for ``n_bytes >= 1``, marked used, and the map that it lies in."""
        capacity = PAGE if n_bytes <= PAGE else 1 << (n_bytes - 1).bit_length()
        for extent in self.extents.get(capacity, ()):
            index = extent.map.find(b"\0", 0, extent.count)
            if index >= 0:
                break
        else:
            extent, index = self._grow(capacity), 0
        extent.map[index] = 1
        offset = extent.data + index * capacity
        return Ref(extent.start, extent.length, index, offset, n_bytes), extent.map

    def _grow(self, capacity: int) -> _Extent:
        row = self.extents.setdefault(capacity, [])
        count = sum(extent.count for extent in row) or max(1, FIRST_BYTES // capacity)
        extent = _Extent(self.fd, self.end, capacity, count, self.portable)
        self.end += extent.length
        row.append(extent)
        self.by_start[extent.start] = extent
        return extent

    def free(self, ref: Ref) -> None:
        """Take back a slab that was never sent."""
        self.by_start[ref.start].map[ref.slab] = 0

    def trim(self) -> None:
        """Give the memory of free slabs back to the system: an idle worker holds none."""
        remove = getattr(mmap, "MADV_REMOVE", None)
        if remove is None:
            return
        for extent in self.by_start.values():
            used, at = extent.map[: extent.count], 0
            while at < extent.count:
                start = used.find(b"\0", at)
                if start < 0:
                    break
                at = used.find(b"\1", start)
                at = extent.count if at < 0 else at
                try:
                    extent.map.madvise(remove, extent.data + start * extent.capacity, (at - start) * extent.capacity)
                except OSError:  # a file system that cannot
                    return


class _Lease(weakref.ref[Bytes]):
    """Watches the array over a slab; when it is freed, the slab is."""

    __slots__ = ("index", "map")

    index: int  # of the slab; -1 where it is lent for good
    map: mmap.mmap


_leases: dict[int, _Lease] = {}  # by identity: a reference to an array has no hash


def _end(lease: weakref.ref[Bytes]) -> None:
    assert isinstance(lease, _Lease)
    if lease.index >= 0:
        lease.map[lease.index] = 0
    _leases.pop(id(lease), None)


class Reader:
    """The consumer's side: arrays over slabs, without a copy."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.maps: dict[int, mmap.mmap] = {}

    def _map(self, ref: Ref) -> mmap.mmap:
        found = self.maps.get(ref.start)
        if found is None:
            found = self.maps[ref.start] = mmap.mmap(self.fd, ref.length, offset=ref.start)
        return found

    def lend(self, ref: Ref) -> Bytes:
        """A writable array over a slab, whose end frees the slab.

        The finalizer is on the array that `numpy.frombuffer` makes: numpy keeps it as the base of everything that is
        cut out of it. One on a view of it, or on a memoryview, would run while the data is still in use.
        """
        place = self._map(ref)
        base: Bytes = np.frombuffer(place, np.uint8, ref.n_bytes, ref.offset)
        lease = _Lease(base, _end)
        lease.map, lease.index = place, ref.slab
        _leases[id(lease)] = lease
        return base

    def free(self, ref: Ref) -> None:
        """Free a slab that nobody has looked at."""
        self._map(ref)[ref.slab] = 0


# After a fork, arrays are the child's own, as all other memory is: it copies them before the parent goes on.

COPYING_MS = 1000  # for the child to copy; what it then still shares is lent for good

_pipes: dict[int, tuple[int, int]] = {}  # by the thread that forks, in which the child says that it has


def _about_to_fork() -> None:
    if _leases:
        _pipes[threading.get_ident()] = os.pipe()


def _forked_here() -> None:
    pipe = _pipes.pop(threading.get_ident(), None)
    if pipe is None:
        return
    os.close(pipe[1])  # so that a child that cannot copy, or there is none, is the end of the pipe
    try:
        said = select.poll()
        said.register(pipe[0], select.POLLIN)
        if said.poll(COPYING_MS) and os.read(pipe[0], 1):
            return
    finally:
        os.close(pipe[0])
    for lease in list(_leases.values()):
        lease.index = -1


def _forked_there() -> None:
    held: dict[int, tuple[mmap.mmap, list[Bytes]]] = {}
    for lease in list(_leases.values()):
        array = lease()
        if array is not None:
            held.setdefault(id(lease.map), (lease.map, []))[1].append(array)
    _leases.clear()
    try:
        for place, arrays in held.values():
            copies = [array.tobytes() for array in arrays]
            _detach(place)
            for array, copy in zip(arrays, copies, strict=True):
                array[:] = np.frombuffer(copy, np.uint8)
        pipe = _pipes.get(threading.get_ident())
        if pipe is not None:
            os.write(pipe[1], b"1")
    finally:
        for fd in (fd for both in _pipes.values() for fd in both):
            os.close(fd)
        _pipes.clear()


_FIXED = 0x10  # MAP_FIXED, which Python does not name; the same on Linux, macOS and the BSDs


def _detach(place: mmap.mmap) -> None:
    """Put empty memory of this process's own where a shared map is."""
    address = np.frombuffer(place, np.uint8).__array_interface__["data"][0]
    system: Any = ctypes.CDLL(None, use_errno=True)
    system.mmap.restype = ctypes.c_void_p
    system.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED
    if system.mmap(address, len(place), mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) != address:
        raise OSError(
            ctypes.get_errno(), "parallel: arrays that this process has from before a fork are shared with it"
        )


os.register_at_fork(before=_about_to_fork, after_in_parent=_forked_here, after_in_child=_forked_there)
