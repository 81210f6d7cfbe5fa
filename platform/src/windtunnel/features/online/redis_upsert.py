"""Writes hashes to Redis or Valkey, each only if it is not older than what is there.

One connection, many rows in each call of a script that runs on the server: it compares, writes and sets the
expiry of a row in one step, so that writers on the same keys cannot get between. While the server works on
some calls the next are made; how much is under way is bounded in bytes. A call is small (about a millisecond
of the server's time), because whoever reads has to wait for it.

The script's rows are MessagePack strings, field and value in turn, which the server takes apart faster than
anything else (measured: 4.9 us a row of 11 fields; 5.9 with an argument for each value; 4.0 for a bare HSET).
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from windtunnel.errors import DataError, PermanentError, StoreError, WindtunnelError
from windtunnel.features.online.byte_columns import (
    data_of,
    from_offsets,
    join,
    lengths_of,
    offsets_in,
    offsets_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from windtunnel.features.online.byte_columns import Int64Array

CALL_BYTES: Final = 64 * 1024
CALL_ROWS: Final = 500
IN_FLIGHT_BYTES: Final = 4 * 1024 * 1024
ROW_BYTES: Final = 512 * 1024 * 1024
"""The longest argument that a server takes (its `proto-max-bulk-len`)."""
PART_FIELDS: Final = 500
"""How many fields one HSET of the script sets; Lua's stack holds 8,000 values."""
# A stage is run again as a whole, so its connection fails at once.
_DEFAULTS: Final = {"socket_timeout": 30.0, "socket_connect_timeout": 5.0, "retry": Retry(NoBackoff(), 0)}

# KEYS: hashes. ARGV: the timestamp's field, how to expire ('keep', 'extend', 'set'), seconds, parts of a row;
# then the rows' parts, the first of which begins with the timestamp's field and its new value.
# Answers how many rows were written.
SCRIPT: Final = b"""\
local call, byte, unpack_row = redis.call, string.byte, cmsgpack.unpack
-- Redis 6 would otherwise send the script to its replicas, where PTTL may answer something else.
if redis.replicate_commands then redis.replicate_commands() end
local stamp, expiry, parts = ARGV[1], ARGV[2], tonumber(ARGV[4])
-- As a moment: the server would make one of a number of seconds, row by row.
local milliseconds, moment_to_go = tonumber(ARGV[3]) * 1000, nil
if expiry ~= 'keep' then
  local now = call('TIME')
  moment_to_go = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + milliseconds)
end

local function varint(text, at)
  local number, inverse, scale = 0, 0, 1
  for i = at, at + 9 do
    local b = byte(text, i)
    if not b then return nil end
    -- Ten bytes: a negative number. Doubles hold its complement exactly, but not the number itself.
    if i == at + 9 then return -inverse - 1, i + 1 end
    local group = b % 128
    number, inverse = number + group * scale, inverse + (127 - group) * scale
    if b < 128 then return number, i + 1 end
    scale = scale * 128
  end
end

-- Of a Timestamp message; what is none counts as older than everything.
local function moment(text)
  local second, nano, at = 0, 0, 1
  while at <= #text do
    local tag, number = byte(text, at), nil
    number, at = varint(text, at + 1)
    if number and tag == 8 then second = number
    elseif number and tag == 16 then nano = number
    else return -math.huge, 0 end
  end
  return second, nano
end

local known_old, old_second, old_nano, known_new, new_second, new_nano
local function is_older(new, old)
  if new == old then return false end
  if old ~= known_old then known_old, old_second, old_nano = old, moment(old) end
  if new ~= known_new then known_new, new_second, new_nano = new, moment(new) end
  return new_second < old_second or (new_second == old_second and new_nano < old_nano)
end

local written, at = 0, 5
for i = 1, #KEYS do
  local key, left, old = KEYS[i], nil, false
  if expiry == 'extend' then left = call('PTTL', key) end
  if left ~= -2 then old = call('HGET', key, stamp) end
  local older = false
  if old then
    local _, _, new = cmsgpack.unpack_limit(ARGV[at], 2)
    older = is_older(new, old)
  end
  if not older then
    for part = at, at + parts - 1 do call('HSET', key, unpack_row(ARGV[part])) end
    if expiry == 'keep' then call('PERSIST', key)
    elseif expiry == 'set' or left == -2 or (left >= 0 and left < milliseconds) then
      call('PEXPIREAT', key, moment_to_go)
    end
    written = written + 1
  end
  at = at + parts
end
return written
"""


class Expiry:
    """When the hashes go: never (`keep`), not before some seconds from now (`extend`), or exactly then
    (`set`). A hash that had no expiry keeps having none when it is only to be extended: another view holds
    it."""

    def __init__(self, rule: str, seconds: int = 0) -> None:
        self.rule = rule
        self.seconds = seconds


class RedisUpserts:
    """Sends rows; `written` and `skipped` count those that the server has answered for.

    After an error the connection is closed, and what was under way may or may not have been written: writing
    it again is right.
    """

    def __init__(self, connection: Mapping[str, Any], stamp_field: bytes) -> None:
        """`connection`: arguments of redis.Redis."""
        self.where = f"redis://{connection['host']}:{connection['port']}/{connection.get('db', 0)}"
        self._client = redis.Redis(**{**_DEFAULTS, **connection})
        self._stamp_field = stamp_field
        self._connection: Any = None
        self._under_way: deque[tuple[int, int]] = deque()
        self._bytes_under_way = 0
        self.written = 0
        self.skipped = 0
        self.bytes_sent = 0

    def send(
        self,
        keys: pa.LargeBinaryArray,
        stamps: pa.LargeBinaryArray,
        values: Sequence[tuple[bytes, pa.LargeBinaryArray]],
        expiry: Expiry,
    ) -> None:
        """Per row: its hash, its Timestamp message, and (field, Value message) pairs. Raises DataError for a
        row that no server takes, StoreError and PermanentError for the server's faults."""
        rows = _rows_of([(self._stamp_field, stamps), *values])
        longest = max(int(lengths_of(part).max(initial=0)) for part in rows)
        if longest >= ROW_BYTES:
            raise DataError(
                f"a row of {longest} bytes is too long for the online store",
                where=self.where,
                fix=f"keep an entity's features of one view below {ROW_BYTES} bytes",
            )
        names, bodies = _bulk_strings(keys), _interleave([_bulk_strings(part) for part in rows])
        name_ends, body_ends = offsets_in(names), offsets_in(bodies)
        with self._faults():
            for first, end in _calls(name_ends + body_ends):
                self._call(
                    end - first,
                    data_of(names)[name_ends[first] : name_ends[end]],
                    data_of(bodies)[body_ends[first] : body_ends[end]],
                    expiry,
                    len(rows),
                )

    def finish(self) -> None:
        """Wait until everything was answered, and close."""
        with self._faults():
            while self._under_way:
                self._receive()
        self.close()

    def close(self) -> None:
        """Let go of the connection, whatever is under way."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None
        self._client.close()

    def _call(self, rows: int, names: memoryview, bodies: memoryview, expiry: Expiry, parts: int) -> None:
        head = b"*%d\r\n$4\r\nEVAL\r\n" % (7 + rows + rows * parts) + _bulk(SCRIPT) + _bulk(b"%d" % rows)
        options = (self._stamp_field, expiry.rule.encode(), b"%d" % expiry.seconds, b"%d" % parts)
        middle = b"".join(map(_bulk, options))
        size = len(head) + len(names) + len(middle) + len(bodies)
        while self._under_way and self._bytes_under_way + size > IN_FLIGHT_BYTES:
            self._receive()
        if self._connection is None:
            self._connect()
        whole = size < 2 * CALL_BYTES
        pieces = [b"".join((head, names, middle, bodies))] if whole else [head, names, middle, bodies]
        self._connection.send_packed_command(pieces, check_health=False)
        self._under_way.append((rows, size))
        self._bytes_under_way += size
        self.bytes_sent += len(names) + len(bodies)

    def _connect(self) -> None:
        self._connection = self._client.connection_pool.get_connection()
        # Whoever has to log in first gets no answer to a long command, but the connection cut.
        self._connection.send_command("PING", check_health=False)
        self._connection.read_response()

    def _receive(self) -> None:
        rows, size = self._under_way.popleft()
        self._bytes_under_way -= size
        written = int(self._connection.read_response())
        self.written += written
        self.skipped += rows - written

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            self._under_way.clear()
            self._bytes_under_way = 0
            self.close()
            raise redis_fault(error, self.where) from error


def redis_fault(error: Exception, where: str) -> WindtunnelError:
    """What a client's or a server's error means: whether a retry helps, and what to do."""
    text = str(error) or type(error).__name__
    if isinstance(error, AuthenticationError | NoPermissionError) or any(sign in text for sign in _REFUSALS):
        return PermanentError(
            f"the online store refused: {text}",
            where=where,
            fix="check its user and password, and that the user may use EVAL, HGET, HSET and PEXPIREAT",
        )
    if isinstance(error, ResponseError):
        for code, kind, what, fix in _ANSWERS:
            # A script's error names the command's error somewhere within.
            if code in text or code in (getattr(error, "status_code", None) or ""):
                return kind(f"the online store {what}: {text}", where=where, fix=fix)
    return StoreError(f"the online store failed: {text}", where=where, fix="see that it runs and answers")


# What a script answers when its user may not do something (Redis 6, Redis 7, Valkey).
_REFUSALS: Final = ("NOPERM", "can't run this command", "ACL failure")
_ANSWERS: Final[tuple[tuple[str, type[WindtunnelError], str, str], ...]] = (
    ("OOM", StoreError, "is out of memory", "raise its maxmemory, or give the views a ttl"),
    ("MISCONF", StoreError, "cannot write to its disk", "free space on its disk, or mend its permissions"),
    ("READONLY", StoreError, "is a replica that takes no writes", "write to its primary"),
    ("WRONGTYPE", PermanentError, "holds something else at a feature's key", "use a database of its own"),
    ("MOVED", PermanentError, "is a cluster", "say redis_type: redis_cluster in Feast's online_store"),
    ("CROSSSLOT", PermanentError, "is a cluster", "say redis_type: redis_cluster in Feast's online_store"),
    ("unknown command", PermanentError, "lacks a command", "use Redis 6.2 or Valkey 7.2 or later"),
)


def _calls(ends: Int64Array) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of calls; `ends` are offsets in bytes."""
    rows, first = len(ends) - 1, 0
    while first < rows:
        fitting = int(np.searchsorted(ends, ends[first] + CALL_BYTES, "right")) - 1
        end = min(max(fitting, first + 1), first + CALL_ROWS, rows)
        yield first, end
        first = end


def _rows_of(fields: Sequence[tuple[bytes, pa.LargeBinaryArray]]) -> list[pa.LargeBinaryArray]:
    """Field and value in turn as MessagePack strings; wide rows in several parts."""
    parts = []
    for start in range(0, len(fields), PART_FIELDS):
        pieces: list[pa.LargeBinaryArray | bytes] = []
        for field, column in fields[start : start + PART_FIELDS]:
            pieces += [_pack_head(len(field)) + field, *_packed(column)]
        parts.append(join(*pieces))
    return parts


def _packed(column: pa.LargeBinaryArray) -> tuple[pa.LargeBinaryArray | bytes, pa.LargeBinaryArray]:
    """Head and string, of MessagePack."""
    lengths = lengths_of(column)
    if len(lengths) and (lengths == lengths[0]).all():
        return _pack_head(int(lengths[0])), column
    matrix = np.zeros((len(lengths), 5), np.uint8)
    sizes = np.select([lengths < 32, lengths < 2**8, lengths < 2**16], [1, 2, 3], 5)
    matrix[:, 0] = np.select([sizes == 1, sizes == 2, sizes == 3], [0xA0 | lengths, 0xD9, 0xDA], 0xDB)
    for size in (2, 3, 5):
        mask = sizes == size
        for at in range(1, size):
            matrix[mask, at] = (lengths[mask] >> 8 * (size - 1 - at)) & 0xFF
    return from_offsets(matrix[np.arange(5) < sizes[:, None]], offsets_of(sizes)), column


def _pack_head(length: int) -> bytes:
    if length < 32:
        return bytes([0xA0 | length])
    for code, size in ((0xD9, 1), (0xDA, 2)):
        if length < 1 << 8 * size:
            return bytes([code]) + length.to_bytes(size, "big")
    return b"\xdb" + length.to_bytes(4, "big")


def _interleave(columns: list[pa.LargeBinaryArray]) -> pa.LargeBinaryArray:
    return columns[0] if len(columns) == 1 else join(*columns)


def _bulk_strings(column: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """As arguments of a Redis command."""
    lengths = lengths_of(column)
    if len(lengths) and (lengths == lengths[0]).all():
        return join(b"$%d\r\n" % lengths[0], column, b"\r\n")
    texts = pc.cast(pa.array(lengths), pa.large_string()).cast(pa.large_binary())
    return join(b"$", texts, b"\r\n", column, b"\r\n")


def _bulk(argument: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(argument), argument)
