"""The child's end of the socket and of the shared memory."""

from __future__ import annotations

import pickle
from typing import Any

import zmq

from pescador_fn.engines.slabs import Control, Writer

__all__ = ["Line"]


class Line:
    """How a worker process talks to its parent."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.control: Control = Control(told["memory"])
        self.slabs: Writer = Writer(told["memory"], told["portable"])
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.PAIR)
        self.socket.set_hwm(0)
        self.socket.linger = 1000
        if told["key"]:
            self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
            self.socket.curve_serverkey = told["key"]
        self.socket.connect(told["address"])

    def send(self, number: int, word: str, runs: list[Any] | None = None, extra: Any = None, body: bytes = b"") -> None:
        """Send a message of a stream."""
        head = pickle.dumps((number, word, runs or [], extra), 5)
        if body:
            self.socket.send_multipart([head, body])
        else:  # in half the time
            self.socket.send(head)
