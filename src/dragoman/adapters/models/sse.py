"""A bounded, incremental parser of server-sent events (WHATWG HTML, 9.2). Knows no payload's meaning and no socket."""

MAX_EVENT_BYTES = 1 << 20

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """A line, or the data of one event, is over the bound; the stream cannot be read on."""


class EventParser:
    """Turns the bytes of one stream, however they were cut, into the data of its events.

    Payloads stay bytes: whether they are UTF-8 is for the reader to judge. Fields other than `data` are dropped.
    No more than twice `max_event_bytes` is held between two calls.
    """

    __slots__ = ("_after_cr", "_at_start", "_between_events", "_data", "_data_size", "_limit", "_line")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._at_start = True
        # Whether the next byte begins an event, so that whole frames can be taken without looking at lines.
        self._between_events = False
        self._after_cr = False
        self._line = bytearray()
        self._data: list[bytes] = []
        self._data_size = 0

    def feed(self, received: bytes) -> list[bytes]:
        """The payloads of the events that `received` completes, in order.

        Raises:
            EventTooLarge: an event or a line is over the bound.
        """
        if self._after_cr or b"\r" in received:
            received = self._with_line_feeds(received)
        payloads: list[bytes] = []
        if self._at_start and received and not self._line and received[0] != _BOM[0]:
            self._at_start, self._between_events = False, True
        if len(received) > self._limit:
            self._feed_lines(received, payloads)
            return payloads
        if not self._between_events:
            # Only the event that was cut needs its lines looked at.
            cut, blank, received = received.partition(b"\n\n")
            self._feed_lines(cut + blank, payloads)
            if not self._between_events:
                self._feed_lines(received, payloads)
                return payloads
        frames = received.split(b"\n\n")
        rest = frames.pop()
        for frame in frames:
            if frame[:6] == b"data: " and b"\n" not in frame:
                payloads.append(frame[6:])
            else:
                self._feed_lines(frame + b"\n\n", payloads)
        if rest:
            self._feed_lines(rest, payloads)
        return payloads

    def _with_line_feeds(self, received: bytes) -> bytes:
        """The same lines, all ended by LF. A CR ends its line at once; an LF that follows it is dropped."""
        if not received:
            return received
        if self._after_cr and received.startswith(b"\n"):
            received = received[1:]
        self._after_cr = received.endswith(b"\r")
        return received.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _feed_lines(self, received: bytes, payloads: list[bytes]) -> None:
        lines = received.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if self._line:
                line = bytes(self._line + line)
                self._line.clear()
            self._take_line(line, payloads)
        if rest:
            self._line += rest
            if len(self._line) > self._limit:
                raise EventTooLarge(f"a line is over {self._limit} bytes")
        self._between_events = not (self._line or self._data or self._at_start)

    def _take_line(self, line: bytes, payloads: list[bytes]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                payloads.append(b"\n".join(self._data))
                self._data.clear()
                self._data_size = 0
            return
        if len(line) > self._limit:
            raise EventTooLarge(f"a line is over {self._limit} bytes")
        field, _, value = line.partition(b":")
        if field != b"data":
            return
        value = value.removeprefix(b" ")
        self._data.append(value)
        # The line feed that joins lines counts too, or empty lines could pile up for ever.
        self._data_size += len(value) + 1
        if self._data_size > self._limit:
            raise EventTooLarge(f"an event is over {self._limit} bytes")
