"""The context of the parent's sockets: this library's own, never the instance that others share."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import zmq

__all__ = ["forget_sockets", "listen", "new_socket", "take_context"]

_lock = threading.Lock()
_context: zmq.Context[zmq.Socket[bytes]] | None = None
_kept: list[Any] = []  # in a forked child, the parent's: its sockets must not be closed by a destructor


def new_socket() -> Any:
    """One of a pair, that keeps nothing back and does not linger."""
    global _context  # it ends with `shutdown`
    import zmq  # not before the first process has been started, which takes longer

    with _lock:
        if _context is None:
            _context = zmq.Context()
        socket = _context.socket(zmq.PAIR)
    socket.linger = 0
    socket.set_hwm(0)
    return socket


def listen(socket: Any, pid: int, name: str, folder: str | None) -> tuple[str, bytes]:
    """Listen for one process, as a pair takes the first that comes: the address, and a key where that is needed."""
    key = b""
    if folder is None:
        import zmq

        socket.setsockopt(zmq.IPC_FILTER_PID, pid)
        address = f"ipc://@pescador_fn/{os.getpid()}/{name}/{os.urandom(8).hex()}"
    else:
        key = _keyed(socket)
        address = f"ipc://{folder}/{name}"
    socket.bind(address)
    return address, key


def _keyed(socket: Any) -> bytes:
    """Let in only who has a key; the key."""
    import zmq

    if not zmq.has("curve"):  # a ZeroMQ that was built without it
        return b""
    key, secret = zmq.curve_keypair()
    socket.curve_secretkey, socket.curve_server = secret, True
    return key


def take_context() -> zmq.Context[zmq.Socket[bytes]] | None:
    """The context, to be destroyed when the workers that there are have ended; the next ones have another."""
    global _context  # it begins again with the next worker
    with _lock:
        context, _context = _context, None
    return context


def forget_sockets() -> None:
    """In a forked child: the context is the parent's; it may make its own."""
    global _lock, _context  # the parent's
    _lock = threading.Lock()
    _kept.append(_context)
    _context = None
