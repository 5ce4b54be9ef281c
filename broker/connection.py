"""One client connection: frames in, ordered replies out.

Theory of operation
-------------------
The connection owns a raw non-blocking socket registered with the event loop's reader and writer call-backs; an
asyncio transport would copy every unsent tail again and cannot mix `sendfile` with ordinary writes.

In.   All connections read into one scratch buffer of the server, so an idle connection owns no buffer. Whole frames
      are handled straight from it. What is left over is either *carried* (small: copied to the front of the scratch
      buffer before the next read) or becomes a *partial* frame: a buffer of exactly that frame, leased from the
      server's bounded pool, which the socket then fills directly. A frame's bytes are therefore copied at most once,
      and from the second large frame in a row on only its head is: the same few buffers, one frame each, stay in the
      processor's cache between socket, checksum and file, which a megabyte of frames at a time does not.
Out.  Every request that has an answer takes a place in `_replies`; answers leave in that order, whatever order
      they become ready in. Ready answers move to `_outbox`: bytes, and slices of log files which go out by `sendfile`
      (or by one `pread` where they are so small that a second system call costs more than the copy).
Back-pressure.  Reading stops while the socket does not take what we have to send, while too many requests are in
      flight or too many answers wait for the one before them, and while the pool has no room for the next large frame;
      each ends where its cause ends.
Turns.  However much one client pipelines, after so many requests or bytes of answers the others have their turn.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from broker.request import NO_REPLY, Deferred, Request
from broker.router import skip_header_tags
from protocol.errors import Malformed
from protocol.primitives import Output
from wal.errors import StorageFailed
from wal.file_slice import FileSlice

if TYPE_CHECKING:
    from broker.router import Endpoint
    from broker.server import Server

log = logging.getLogger("floe.connection")

_TCP_ESTABLISHED: Final = 1  # tcp_states.h

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

REQUESTS_PER_TURN: Final = 256
"""Requests of one connection that are handled before others get their turn: some milliseconds of work."""

REPLY_BYTES_PER_TURN: Final = 1 << 20
"""Bytes of answers made in one turn: answers that are long to write took long to make. They are sent before more
are made."""

HELD_REPLY_BYTES: Final = 8 << 20
"""Bytes of answers that wait for an earlier one of their connection before its reading pauses."""


class PendingReply:
    """A place in the order of replies; called with the response when it is there."""

    __slots__ = ("connection", "correlation_id", "endpoint", "frame", "source")

    def __init__(self, connection: Connection, endpoint: Endpoint, correlation_id: int) -> None:
        self.connection = connection
        self.endpoint = endpoint
        self.correlation_id = correlation_id
        self.frame: Output | None = None
        self.source: Deferred[Any] | None = None

    def __call__(self, response: Any) -> None:
        connection = self.connection
        self.source = None  # it knows us: together they would be a cycle for each request
        if connection.is_closed:
            return
        self.frame = self.endpoint.encode_frame(self.correlation_id, response)
        connection.held_bytes += len(self.frame)
        if connection.replies[0] is self:
            connection.server.reply_ready(connection)


class Connection:
    """A client's connection. Made by the server on accept; ends itself through `close`."""

    __slots__ = (
        "_carry",
        "_client_id",
        "_client_id_raw",
        "_expects_large",
        "_filled",
        "_is_reading",
        "_is_writing",
        "_outbox",
        "_partial",
        "_partial_size",
        "_queued_bytes",
        "_turn_is_over",
        "_waits_for_memory",
        "client_software",
        "fd",
        "held_bytes",
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
        self._expects_large = False
        self._client_id_raw = b""
        self._client_id: str | None = None
        self._is_reading = True
        self._is_writing = False
        self._waits_for_memory = False
        self._turn_is_over = False
        self._queued_bytes = 0
        self.held_bytes = 0
        server.loop.add_reader(self.fd, self.on_readable)

    def __repr__(self) -> str:
        # The id is the client's to choose: quoted, so that it ends no log line, and cut.
        client_id = "no client id" if self._client_id is None else f"{self._client_id!r:.100}"
        return f"{self.peer_host}:{self.peer_port} ({client_id})"

    def local_host(self) -> str:
        """The address the client reached us at."""
        host: str = self.socket.getsockname()[0]
        return host.removeprefix("::ffff:")

    # --- in ---------------------------------------------------------------------------------------------------

    def on_readable(self) -> None:
        """Called by the loop: read once, handle the whole frames, send what is ready."""
        self._turn(self._receive)

    def _turn(self, step: Callable[[], None]) -> None:
        """Let `step` handle requests, then send. Whatever is wrong with a request ends this connection only."""
        server = self.server
        try:
            step()
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
        if self._turn_is_over:
            self._turn_is_over = False
            self.resume_reading()

    def _receive(self) -> None:
        if self._partial is not None or self._receive_frames():
            self._fill_partial()

    def _receive_frames(self) -> bool:
        """Whether nothing but the head of a large frame was read, of which more may be there."""
        server = self.server
        carried = len(self._carry)
        # While others wait for memory no connection is given more of the scratch buffer than it may carry.
        scratch = server.narrow_scratch if server.pool.waiting else server.scratch
        if self._expects_large and not carried:
            scratch = server.head_scratch
        received = self.socket.recv_into(scratch[carried:] if carried else scratch)
        if received == 0:
            self.close()
            return False
        if carried:
            scratch[:carried] = self._carry
            self._carry = b""
        self._take(scratch, carried + received)
        return scratch is server.head_scratch and self._partial is not None and self._filled == received

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
        if self._is_saturated:
            self.pause_reading()

    def _take(self, buffer: memoryview, end: int) -> None:
        """Handle the whole frames in buffer[:end] and keep the rest."""
        position = 0
        last = REQUESTS_PER_TURN
        limit = self.server.max_in_flight
        replies = self.replies
        while end - position >= 4:
            (size,) = _SIZE.unpack_from(buffer, position)
            if not _HEADER.size <= size <= self.server.max_request_bytes:
                raise Malformed(
                    f"a frame of {size} bytes; requests have {_HEADER.size} to "
                    f"{self.server.max_request_bytes} (socket.request.max.bytes)"
                )
            self._expects_large = size > CARRY_LIMIT_BYTES
            frame_end = position + 4 + size
            if frame_end > end:
                if self._expects_large and self._begin_partial(4 + size, buffer[position:end]):
                    return
                break
            self._dispatch(buffer[position + 4 : frame_end])
            if self.is_closed:
                return
            position = frame_end
            if len(replies) >= limit or self.held_bytes >= HELD_REPLY_BYTES:
                self.pause_reading()
                break
            last -= 1
            if (not last or self._queued_bytes >= REPLY_BYTES_PER_TURN) and position < end:
                self.pause_reading()
                self._turn_is_over = True
                break
        if position < end:
            self._carry = bytes(buffer[position:end])

    @property
    def _is_saturated(self) -> bool:
        return len(self.replies) >= self.server.max_in_flight or self.held_bytes >= HELD_REPLY_BYTES

    def _begin_partial(self, total: int, head: memoryview) -> bool:
        partial = self.server.pool.lease(total)
        if partial is None:
            self._waits_for_memory = True
            self.pause_reading()
            self.server.pool.waiting[self] = total
            return False
        self._set_partial(partial, total, head)
        return True

    def memory_granted(self, partial: bytearray, total: int) -> None:
        """The pool has room again: go on where `_begin_partial` stopped; its frame is what is carried."""
        head, self._carry = self._carry, b""
        self._set_partial(partial, total, head)
        self._waits_for_memory = False
        self.resume_reading()

    def _set_partial(self, partial: bytearray, total: int, head: bytes | memoryview) -> None:
        assert self._partial is None and len(head) < total
        partial[: len(head)] = head
        self._partial, self._partial_size, self._filled = partial, total, len(head)

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
            if raw != self._client_id_raw or len(raw) != id_length:
                self._remember_client_id(raw, id_length)
        if endpoint.is_flexible:
            position = skip_header_tags(frame, position)
        # Bytes after the message are let pass: librdkafka 2.16's Metadata v13 for all topics has three. Kafka closes.
        message, _end = endpoint.decode(frame, position)
        request = Request(
            api_key, version, correlation_id, self._client_id if id_length >= 0 else None, message, self
        )
        self._reply(endpoint, correlation_id, endpoint.handle(self.server.broker, request))

    def _reply(self, endpoint: Endpoint, correlation_id: int, result: Any) -> None:
        if isinstance(result, Deferred):
            reply = PendingReply(self, endpoint, correlation_id)
            reply.source = result
            self.replies.append(reply)
            result.then(reply)
        elif result is NO_REPLY:
            return
        elif isinstance(result, CoroutineType):
            reply = PendingReply(self, endpoint, correlation_id)
            self.replies.append(reply)
            self.server.run(result, reply)
        elif self.replies:
            reply = PendingReply(self, endpoint, correlation_id)
            reply.frame = endpoint.encode_frame(correlation_id, result)
            self.held_bytes += len(reply.frame)
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
            or self._is_saturated
        ):
            return
        self._is_reading = True
        self.server.loop.add_reader(self.fd, self.on_readable)
        if self._carry:
            self.server.loop.call_soon(self._turn, self._take_carried)

    def _take_carried(self) -> None:
        if self.is_closed or not self._is_reading or not self._carry:
            return
        length = len(self._carry)
        self.server.scratch[:length] = self._carry
        self._carry = b""
        self._take(self.server.scratch, length)

    # --- out --------------------------------------------------------------------------------------------------

    def _queue(self, frame: Output) -> None:
        """Put a whole response behind what is already to be sent, its file slices in their places, unread."""
        self._queued_bytes += len(frame)
        if not frame.slices:
            self._outbox.append(frame)
            return
        view = memoryview(frame)
        start = 0
        for position, piece in frame.slices:
            if position > start:
                self._outbox.append(view[start:position])
            if piece.length:
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
            self.held_bytes -= len(frame)
            self._queue(frame)
        if self._outbox and not self._is_writing:
            self.flush()
        if not self._is_reading:
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
        except StorageFailed as error:
            log.error("closing %r, the records it was promised cannot be read: %s", self, error)
            self.close()
            return
        if outbox:
            if not self._is_writing:
                self._is_writing = True
                self.pause_reading()
                self.server.loop.add_writer(self.fd, self.flush)
            return
        self._queued_bytes = 0
        if self._is_writing:
            self._is_writing = False
            self.server.loop.remove_writer(self.fd)
            self.last_active_s = self.server.now_s()
            self.resume_reading()
            if self.is_draining:
                self._close_if_drained()

    def _send_some(self) -> tuple[int, int]:
        """One system call; (bytes sent, bytes asked for). What was not sent stays first in the outbox."""
        outbox = self._outbox
        head = outbox[0]
        if isinstance(head, FileSlice) and head.length > INLINE_SLICE_LIMIT_BYTES:
            wanted = min(head.length, SEND_CHUNK_BYTES)
            sent = os.sendfile(self.fd, head.file.fileno(), head.position, wanted)
            if sent == 0:  # the file ends before the slice does: the promised length cannot be kept
                raise OSError("a log segment is shorter than its records")
            if sent == head.length:
                outbox.popleft()
            else:
                outbox[0] = FileSlice(head.file, head.position + sent, head.length - sent, head.next_offset)
            return sent, wanted
        data = self._gather() if len(outbox) > 1 or isinstance(head, FileSlice) else head
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
        """Join the small pieces at the head of the outbox into one, left at its head; small slices are read here."""
        outbox = self._outbox
        pieces: list[bytes | bytearray | memoryview] = []
        size = 0
        while outbox and size < INLINE_SLICE_LIMIT_BYTES:
            piece = outbox[0]
            if isinstance(piece, FileSlice):
                if piece.length > INLINE_SLICE_LIMIT_BYTES:
                    break
                piece = piece.read()
            pieces.append(piece)
            size += len(piece)
            outbox.popleft()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        outbox.appendleft(data)
        return data

    @property
    def is_left(self) -> bool:
        """Whether the peer is gone although nobody reads, so that nothing else would tell (Linux)."""
        if self._is_reading or self._is_writing or not hasattr(socket, "TCP_INFO"):
            return False
        return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_ESTABLISHED

    # --- end --------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing asked, nothing owed."""
        return not self.replies and not self._outbox

    def drain(self) -> None:
        """Take no further request; close once everything asked so far is answered."""
        self.is_draining = True
        self.pause_reading()
        for reply in list(self.replies):
            if reply.source is not None:
                reply.source.hurry()
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
        self.server.pool.waiting.pop(self, None)
        for reply in self.replies:
            if reply.source is not None:
                reply.source.abandon()
                reply.source = None
        self.replies.clear()
        self._outbox.clear()
        self._carry = b""
        self.server.connection_closed(self)
        self.socket.close()
