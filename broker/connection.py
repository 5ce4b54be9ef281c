"""One client connection: frames in, ordered replies out.

Theory of operation
-------------------
The connection owns a raw non-blocking socket registered with the event loop's reader and writer call-backs; an
asyncio transport would copy every unsent tail again and cannot mix `sendfile` with ordinary writes.

In.   All connections read into one scratch buffer of the server, so an idle connection owns no buffer. Whole frames
      are handled straight from it. What is left over is either *carried* (small: copied to the front of the scratch
      buffer before the next read) or becomes a *partial* frame: a buffer of exactly that frame, leased from the
      server's bounded pool, which the socket then fills directly. A frame's bytes are therefore copied at most once.
Out.  Every request that has an answer takes a place in `_replies`; answers leave in that order, whatever order
      they become ready in. Ready answers move to `_outbox`: bytes, and slices of log files which go out by `sendfile`
      (or by one `pread` where they are so small that a second system call costs more than the copy).
Back-pressure.  Reading stops while the socket does not take what we have to send, while too many requests are in
      flight, and while the pool has no room for the next large frame; each ends where its cause ends.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections import deque
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, Final

from broker.request import NO_REPLY, Deferred, Request
from broker.router import skip_header_tags
from protocol.errors import Malformed
from protocol.primitives import Output
from wal.log import FileSlice

if TYPE_CHECKING:
    from broker.router import Endpoint
    from broker.server import Server

log = logging.getLogger("floe.connection")

_SIZE: Final = struct.Struct(">i")
_HEADER: Final = struct.Struct(
    ">hhih"
)  # api key, version, correlation id, client id length (header v1 and v2)

CARRY_LIMIT_BYTES: Final = 64 << 10
"""Frames up to this size are carried when incomplete; larger ones get a buffer of their own."""

INLINE_SLICE_LIMIT_BYTES: Final = 64 << 10
"""Slices up to this size are read and joined with their neighbours; larger ones go by sendfile."""

SEND_CHUNK_BYTES: Final = 1 << 20
"""The most one system call is asked to send."""

MSG_MORE: Final = getattr(socket, "MSG_MORE", 0)  # Linux

SEND_TURN_BYTES: Final = 4 << 20
"""The most one connection sends before others get their turn of the loop."""


class PendingReply:
    """A place in the order of replies; called with the response when it is there."""

    __slots__ = ("connection", "correlation_id", "endpoint", "frame")

    def __init__(self, connection: Connection, endpoint: Endpoint, correlation_id: int) -> None:
        self.connection = connection
        self.endpoint = endpoint
        self.correlation_id = correlation_id
        self.frame: Output | None = None

    def __call__(self, response: Any) -> None:
        connection = self.connection
        if connection.is_closed:
            return
        self.frame = self.endpoint.encode_frame(self.correlation_id, response)
        if connection.replies[0] is self:
            connection.server.reply_ready(connection)


class Connection:
    """A client's connection. Made by the server on accept; ends itself through `close`."""

    __slots__ = (
        "_carry",
        "_client_id",
        "_client_id_raw",
        "_filled",
        "_is_reading",
        "_is_writing",
        "_outbox",
        "_partial",
        "_partial_size",
        "_waits_for_memory",
        "client_software",
        "fd",
        "is_closed",
        "is_draining",
        "is_listed_ready",
        "last_active_s",
        "listener_name",
        "peer_host",
        "peer_port",
        "principal",
        "replies",
        "server",
        "socket",
    )

    def __init__(
        self, server: Server, sock: socket.socket, peer: tuple[str, int], listener_name: str
    ) -> None:
        self.server = server
        self.socket = sock
        self.fd = sock.fileno()
        self.peer_host, self.peer_port = peer[0], peer[1]
        self.listener_name = listener_name
        self.principal = "User:ANONYMOUS"
        self.client_software: tuple[str, str] | None = None
        self.last_active_s = server.loop.time()
        self.replies: deque[PendingReply] = deque()
        self.is_closed = False
        self.is_draining = False
        self.is_listed_ready = False
        self._outbox: deque[bytes | bytearray | memoryview | FileSlice] = deque()
        self._carry = b""
        self._partial: bytearray | None = None
        self._partial_size = 0
        self._filled = 0
        self._client_id_raw = b""
        self._client_id: str | None = None
        self._is_reading = True
        self._is_writing = False
        self._waits_for_memory = False
        server.loop.add_reader(self.fd, self.on_readable)

    def __repr__(self) -> str:
        return f"{self.peer_host}:{self.peer_port} ({self._client_id or 'no client id'})"

    def local_host(self) -> str:
        """The address the client reached us at."""
        host: str = self.socket.getsockname()[0]
        return host.removeprefix("::ffff:")

    # --- in ---------------------------------------------------------------------------------------------------

    def on_readable(self) -> None:
        """Read once, handle every whole frame, send what is ready. Called by the loop."""
        server = self.server
        try:
            if self._partial is not None:
                self._fill_partial()
            else:
                carried = len(self._carry)
                scratch = server.scratch
                received = self.socket.recv_into(scratch[carried:] if carried else scratch)
                if received == 0:
                    self.close()
                    return
                if carried:
                    scratch[:carried] = self._carry
                    self._carry = b""
                self._take(scratch, carried + received)
        except BlockingIOError:
            return
        except Malformed as error:
            log.warning("closing %r: %s", self, error)
            self.close()
        except OSError as error:
            log.debug("closing %r: %s", self, error)
            self.close()
        except AssertionError:
            raise  # our own mistake: the process ends, the log is the truth
        except Exception:
            log.exception("closing %r: a request failed in a way nobody foresaw", self)
            self.close()
        self.last_active_s = server.now_s()
        server.kick_flusher()
        if self._outbox:
            self.flush()

    def _fill_partial(self) -> None:
        partial, size = self._partial, self._partial_size
        assert partial is not None
        view = memoryview(partial)
        received = self.socket.recv_into(view[self._filled : size])
        if received == 0:
            self.close()
            return
        self._filled += received
        if self._filled < size:
            return
        self._partial = None
        try:
            self._dispatch(view[4:size])
        finally:
            self.server.pool.release(partial)

    def _take(self, buffer: memoryview, end: int) -> None:
        """Handle the whole frames in buffer[:end] and keep the rest."""
        position = 0
        limit = self.server.max_in_flight
        replies = self.replies
        while end - position >= 4:
            (size,) = _SIZE.unpack_from(buffer, position)
            if not _HEADER.size <= size <= self.server.max_request_bytes:
                raise Malformed(
                    f"a frame of {size} bytes; requests have {_HEADER.size} to "
                    f"{self.server.max_request_bytes} (socket.request.max.bytes)"
                )
            frame_end = position + 4 + size
            if frame_end > end:
                if size > CARRY_LIMIT_BYTES and self._begin_partial(4 + size, buffer[position:end]):
                    return
                break
            self._dispatch(buffer[position + 4 : frame_end])
            position = frame_end
            if len(replies) >= limit:
                self.pause_reading()
                break
            if self.is_closed:
                return
        if position < end:
            self._carry = bytes(buffer[position:end])

    def _begin_partial(self, total: int, head: memoryview) -> bool:
        partial = self.server.pool.lease(total)
        if partial is None:
            self._waits_for_memory = True
            self.pause_reading()
            self.server.pool.waiting.append(self)
            return False
        partial[: len(head)] = head
        self._partial, self._partial_size, self._filled = partial, total, len(head)
        return True

    def memory_available(self) -> None:
        """The pool has room again: go on where `_begin_partial` stopped."""
        self._waits_for_memory = False
        self.resume_reading()

    def _dispatch(self, frame: memoryview) -> None:
        """Handle one request; `frame` is without its size prefix."""
        api_key, version, correlation_id, id_length = _HEADER.unpack_from(frame)
        endpoint = self.server.router.endpoint(api_key, version)
        if endpoint.decode is None:  # ApiVersions in a version we do not know: answered as version 0
            self._reply(endpoint, correlation_id, endpoint.handle(self.server.broker, None))
            return
        position = _HEADER.size
        if id_length > 0:
            position += id_length
            raw = frame[_HEADER.size : position]
            if raw != self._client_id_raw:
                self._remember_client_id(raw, id_length)
        if endpoint.is_flexible:
            position = skip_header_tags(frame, position)
        message, position = endpoint.decode(frame, position)
        if position != len(frame):
            raise Malformed(f"{endpoint.name}: {len(frame) - position} bytes after the end of the request")
        request = Request(
            api_key, version, correlation_id, self._client_id if id_length >= 0 else None, message, self
        )
        self._reply(endpoint, correlation_id, endpoint.handle(self.server.broker, request))

    def _reply(self, endpoint: Endpoint, correlation_id: int, result: Any) -> None:
        if result is NO_REPLY:
            return
        if isinstance(result, Deferred) or iscoroutine(result):
            reply = PendingReply(self, endpoint, correlation_id)
            self.replies.append(reply)
            if isinstance(result, Deferred):
                result.then(reply)
            else:
                self.server.run(result, reply)
        elif self.replies:
            reply = PendingReply(self, endpoint, correlation_id)
            reply.frame = endpoint.encode_frame(correlation_id, result)
            self.replies.append(reply)
        else:
            self._queue(endpoint.encode_frame(correlation_id, result))

    def _remember_client_id(self, raw: memoryview, length: int) -> None:
        if len(raw) != length:
            raise Malformed(f"request header: a client id of {length} bytes, {len(raw)} are left")
        try:
            self._client_id = str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise Malformed("request header: the client id is not UTF-8") from error
        self._client_id_raw = bytes(raw)

    def pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self.server.loop.remove_reader(self.fd)

    def resume_reading(self) -> None:
        """Take up reading again, first of all what was carried, unless another cause to pause remains."""
        if (
            self._is_reading
            or self.is_closed
            or self.is_draining
            or self._is_writing
            or self._waits_for_memory
        ):
            return
        self._is_reading = True
        self.server.loop.add_reader(self.fd, self.on_readable)
        if self._carry:
            self.server.loop.call_soon(self._take_carried)

    def _take_carried(self) -> None:
        if self.is_closed or not self._is_reading or not self._carry:
            return
        length = len(self._carry)
        self.server.scratch[:length] = self._carry
        self._carry = b""
        try:
            self._take(self.server.scratch, length)
        except Malformed as error:
            log.warning("closing %r: %s", self, error)
            self.close()
        self.server.kick_flusher()
        if self._outbox:
            self.flush()

    # --- out --------------------------------------------------------------------------------------------------

    def _queue(self, frame: Output) -> None:
        """Put a whole response behind what is already to be sent, its file slices in their places."""
        if not frame.slices:
            self._outbox.append(frame)
            return
        view = memoryview(frame)
        start = 0
        for position, piece in frame.slices:
            if position > start:
                self._outbox.append(view[start:position])
            if piece.length <= INLINE_SLICE_LIMIT_BYTES:
                self._outbox.append(piece.read())
            elif piece.length:
                self._outbox.append(piece)
            start = position
        if start < len(frame):
            self._outbox.append(view[start:])

    def send_ready(self) -> None:
        """Move the answers whose turn has come to the socket."""
        self.is_listed_ready = False
        if self.is_closed:
            return
        replies = self.replies
        while replies and (frame := replies[0].frame) is not None:
            replies.popleft()
            self._queue(frame)
        if self._outbox and not self._is_writing:
            self.flush()
        if not self._is_reading and len(replies) < self.server.max_in_flight:
            self.resume_reading()
        if self.is_draining:
            self._close_if_drained()

    def flush(self) -> None:
        """Send until all is sent, the socket is full, or this turn has had its share."""
        if self.is_closed:
            return
        outbox = self._outbox
        budget = SEND_TURN_BYTES
        try:
            while outbox and budget > 0:
                sent, wanted = self._send_some()
                budget -= sent
                if sent < wanted:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            log.debug("closing %r: %s", self, error)
            self.close()
            return
        if outbox:
            if not self._is_writing:
                self._is_writing = True
                self.pause_reading()
                self.server.loop.add_writer(self.fd, self.flush)
        elif self._is_writing:
            self._is_writing = False
            self.server.loop.remove_writer(self.fd)
            self.last_active_s = self.server.now_s()
            if len(self.replies) < self.server.max_in_flight:
                self.resume_reading()
            if self.is_draining:
                self._close_if_drained()

    def _send_some(self) -> tuple[int, int]:
        """One system call; (bytes sent, bytes asked for). What was not sent stays first in the outbox."""
        outbox = self._outbox
        head = outbox[0]
        if not isinstance(head, (bytes, bytearray, memoryview)):
            wanted = min(head.length, SEND_CHUNK_BYTES)
            sent = os.sendfile(self.fd, head.file.fileno(), head.position, wanted)
            if sent == 0:  # the file ends before the slice does: the promised length cannot be kept
                raise OSError("a log segment is shorter than its records")
            if sent == head.length:
                outbox.popleft()
            else:
                outbox[0] = FileSlice(head.file, head.position + sent, head.length - sent)
            return sent, wanted
        data = head if len(outbox) == 1 else self._gather()
        wanted = min(len(data), SEND_CHUNK_BYTES)
        piece = data if wanted == len(data) else memoryview(data)[:wanted]
        # What follows is a slice of a file: one packet for its header and its beginning.
        sent = self.socket.send(piece, MSG_MORE) if len(outbox) > 1 else self.socket.send(piece)
        if sent == len(data):
            outbox.popleft()
        else:
            outbox[0] = memoryview(data)[sent:]
        return sent, wanted

    def _gather(self) -> bytes | bytearray | memoryview:
        """Join the small pieces at the head of the outbox into one, left at its head."""
        outbox = self._outbox
        pieces: list[bytes | bytearray | memoryview] = []
        size = 0
        while outbox and size < INLINE_SLICE_LIMIT_BYTES:
            head = outbox[0]
            if not isinstance(head, (bytes, bytearray, memoryview)):
                break
            pieces.append(head)
            size += len(head)
            outbox.popleft()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        outbox.appendleft(data)
        return data

    # --- end --------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing asked, nothing owed."""
        return not self.replies and not self._outbox

    def drain(self) -> None:
        """Take no further request; close once everything asked so far is answered."""
        self.is_draining = True
        self.pause_reading()
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self.is_idle:
            self.close()

    def close(self) -> None:
        """End at once; what is not yet answered never will be. Safe to call twice."""
        if self.is_closed:
            return
        self.is_closed = True
        loop = self.server.loop
        loop.remove_reader(self.fd)
        loop.remove_writer(self.fd)
        self._is_reading = self._is_writing = False
        if self._partial is not None:
            partial, self._partial = self._partial, None
            self.server.pool.release(partial)
        self.replies.clear()
        self._outbox.clear()
        self._carry = b""
        self.server.connection_closed(self)
        self.socket.close()
