"""The shared connection under everything that a network and a server can do: an answer is right, or it is an
error that says what to do, and the next read works."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
import redis
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from cutting_proxy import CuttingProxy
from fake_redis import fake_redis
from redis_process import redis_process
from serving_process import free_port
from waiting import HANG

from windtunnel.errors import DataError, StoreError
from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.features.online.redis_connection import Hmget, RedisConnection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIELDS = [b"value", b"absent"]
KEYS = 200
COMMAND = Hmget(FIELDS)
SECRET = "a word, that nobody says"
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def answer(number: int) -> list[bytes | None]:
    # long enough that an answer comes in several pieces now and then
    return [f"{number} ".encode() * (1 + number % 50), None]


def asked(number: int) -> bytes:
    return COMMAND.of(f"key:{number}".encode())


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_process() as at:
        with redis.Redis(port=at) as client:
            for number in range(KEYS):
                client.hset(f"key:{number}", "value", answer(number)[0] or b"")
            client.set("text", "no hash")
        yield at


@pytest.fixture
def proxy(port: int) -> Iterator[CuttingProxy]:
    with CuttingProxy(port) as one:
        yield one


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


def connection(port: int, timeout: float = 1.0, **address: Any) -> RedisConnection:
    return RedisConnection(RedisAddress("127.0.0.1", port, **address), timeout=timeout)


async def outcome(client: RedisConnection, number: int) -> bool:
    """Whether the read was answered; a wrong answer fails the test."""
    try:
        answers = await client.ask(asked(number), 1)
    except StoreError:
        return False
    assert answers == [answer(number)]
    return True


def test_each_read_gets_its_own_answer(port: int, run: Run) -> None:
    async def reads() -> None:
        client = connection(port)
        numbers = [number % KEYS for number in range(3000)]
        answered = await asyncio.gather(*(outcome(client, number) for number in numbers))
        assert all(answered)
        several = b"".join(asked(number) for number in (3, 150, 7))
        assert await client.ask(several, 3) == [answer(3), answer(150), answer(7)]
        await client.close()

    run(reads())


def test_answers_are_never_mixed_up_when_connections_are_cut(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        client = connection(proxy.port)
        proxy.cut_every = 20_011
        answered: list[bool] = []

        async def reader(first: int) -> None:
            for number in range(first, first + 60):
                answered.append(await outcome(client, number % KEYS))
                if not answered[-1]:
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(reader(first) for first in range(40)))
        assert proxy.connections > 10
        assert sum(answered) > len(answered) / 2
        proxy.cut_every = None
        assert await outcome(client, 5) or await outcome(client, 5)
        await client.close()

    run(reads())


def test_a_killed_server_and_its_successor(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        successor = proxy.target
        with redis_process() as victim, redis.Redis(port=victim) as admin:
            for number in range(KEYS):
                admin.hset(f"key:{number}", "value", answer(number)[0] or b"")
            process = admin.info("server")["process_id"]
            proxy.target = victim
            client = connection(proxy.port)
            answered: list[bool] = []

            async def reader(first: int) -> None:
                for number in range(first, first + 50):
                    answered.append(await outcome(client, number % KEYS))

            readers = [asyncio.create_task(reader(first)) for first in range(20)]
            while len(answered) < 200:
                await asyncio.sleep(0)
            os.kill(process, signal.SIGKILL)
            await asyncio.gather(*readers)
            assert answered.count(True) >= 200
            assert False in answered
            proxy.target = successor
            assert await outcome(client, 5)
            await client.close()

    run(reads())


def test_cut_in_the_middle_of_an_answer(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        client = connection(proxy.port)
        proxy.cut_after = 30
        with pytest.raises(StoreError, match="the online store did not answer: it ended the connection"):
            await client.ask(asked(49), 1)
        assert proxy.connections == 2  # asked once more
        proxy.cut_after = None
        assert await outcome(client, 49)
        await client.close()

    run(reads())


def test_cut_between_two_reads_is_not_noticed(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        client = connection(proxy.port)
        for _ in range(5):
            assert await outcome(client, 1)
            proxy.cut()
        # and again, when the loop has seen the end before the next read comes
        await asyncio.sleep(0.05)
        assert await outcome(client, 2)
        await client.close()

    run(reads())


def test_an_answer_too_late_is_not_the_next_reads(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        client = connection(proxy.port, timeout=1.5)
        assert await outcome(client, 0)
        proxy.stalled.set()
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"nothing within 1.5 s.*send the feature vector"):
            await client.ask(asked(1), 1)
        assert time.monotonic() - started < HANG
        proxy.stalled.clear()
        assert await asyncio.gather(*(outcome(client, number) for number in range(2, 20))) == [True] * 18
        await client.close()

    run(reads())


def test_who_gives_up_takes_nobody_elses_answer(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        client = connection(proxy.port)
        assert await outcome(client, 0)
        proxy.stalled.set()
        tasks = [asyncio.create_task(outcome(client, number)) for number in range(20)]
        await asyncio.sleep(0.01)
        for task in tasks[::2]:
            task.cancel()
        proxy.stalled.clear()
        answered = await asyncio.gather(*tasks, return_exceptions=True)
        assert answered[1::2] == [True] * 10
        assert all(isinstance(one, asyncio.CancelledError) for one in answered[::2])
        assert proxy.connections == 1
        await client.close()

    run(reads())


def test_a_busy_process_is_no_slow_store(port: int, run: Run) -> None:
    async def reads() -> None:
        client = connection(port, timeout=0.1)
        assert await outcome(client, 0)
        reading = asyncio.create_task(outcome(client, 1))
        await asyncio.sleep(0)
        time.sleep(0.3)  # what a long computation does to the loop
        assert await reading
        await client.close()

    run(reads())


def test_nobody_there_and_then_somebody(run: Run) -> None:
    async def reads() -> None:
        at = free_port()
        client = connection(at)
        started = time.monotonic()
        for _ in range(4):
            with pytest.raises(StoreError, match="the online store did not answer: Connect"):
                await client.ask(asked(0), 1)
        assert time.monotonic() - started < HANG
        async with fake_redis(lambda _: b"*1\r\n$3\r\nyes\r\n", port=at):
            assert await client.ask(asked(0), 1) == [[b"yes"]]
            await client.close()

    run(reads())


def test_a_store_behind_a_black_hole(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        client = connection(proxy.port, timeout=0.2, password="x")
        proxy.stalled.set()
        started = time.monotonic()
        answers = await asyncio.gather(
            *(client.ask(asked(number), 1) for number in range(100)), return_exceptions=True
        )
        assert time.monotonic() - started < HANG
        assert all(isinstance(one, StoreError) and "did not answer" in str(one) for one in answers)
        assert proxy.connections == 1  # all wait for one try
        await client.close()

    run(reads())


def test_wrong_right_and_no_password(port: int, run: Run) -> None:
    async def reads() -> None:
        with redis.Redis(port=port) as admin:
            admin.config_set("requirepass", SECRET)
            try:
                await refused(connection(port, password="guess " + SECRET), "refused the password")
                await refused(connection(port), "wants a password")
                client = connection(port, password=SECRET)
                assert await outcome(client, 3)
                await client.close()
            finally:
                admin.config_set("requirepass", "")
        # the default user takes any password then, as Redis has it
        await refused(connection(port, username="nobody", password=SECRET), "refused the password")

    async def refused(client: RedisConnection, reason: str) -> None:
        for _ in range(2):
            with pytest.raises(StoreError, match=f"{reason}; set WINDTUNNEL_ONLINE_STORE_PASSWORD") as error:
                await client.ask(asked(0), 1)
            assert SECRET not in str(error.value)
        assert SECRET not in repr(RedisAddress("host", password=SECRET))
        await client.close()

    run(reads())


def test_a_user_that_may_only_read(port: int, run: Run) -> None:
    async def reads() -> None:
        with redis.Redis(port=port) as admin:
            admin.acl_setuser(
                "reader", enabled=True, passwords=[f"+{SECRET}"], keys=["key:*"], commands=["+hmget"]
            )
            client = connection(port, username="reader", password=SECRET)
            assert await outcome(client, 3)
            with pytest.raises(StoreError, match="may not read the online store; allow"):
                await client.ask(COMMAND.of(b"other"), 1)
            assert await outcome(client, 4)
            await client.close()

    run(reads())


def test_each_database_is_its_own(port: int, run: Run) -> None:
    async def reads() -> None:
        client = connection(port, db=3)
        assert await client.ask(asked(1), 1) == [[None, None]]
        await client.close()
        with pytest.raises(StoreError, match=r"refused the login \(ERR\)"):
            await connection(port, db=4000).ask(asked(1), 1)

    run(reads())


def test_what_is_no_hash_is_an_error_in_the_data(port: int, run: Run) -> None:
    async def reads() -> None:
        client = connection(port)
        with pytest.raises(DataError, match="something else than a hash"):
            await client.ask(asked(1) + COMMAND.of(b"text") + asked(2), 3)
        assert await outcome(client, 2)
        await client.close()

    run(reads())


def test_a_store_that_is_still_loading(run: Run) -> None:
    async def reads() -> None:
        said = [b"-LOADING Redis is loading the dataset in memory\r\n", b"*1\r\n$-1\r\n"]
        async with fake_redis(lambda _: said.pop(0)) as at:
            client = connection(at)
            with pytest.raises(StoreError, match="still loading its data; try again"):
                await client.ask(asked(0), 1)
            assert await client.ask(asked(0), 1) == [[None]]
            await client.close()

    run(reads())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak Redis' protocol"),
        (b"*1\r\n$-1\r\n*1\r\n$-1\r\n", "nobody asked"),
        (b"-MOVED 1 host:6379\r\n", "a cluster; name one"),
        (b"-ERR out of order\r\n", "refused: ERR out of order"),
    ],
)
def test_a_server_that_says_something_else(said: bytes, reason: str, run: Run) -> None:
    async def reads() -> None:
        async with fake_redis(lambda _: said) as at:
            client = connection(at)
            first = await asyncio.gather(client.ask(asked(0), 1), return_exceptions=True)
            second = await asyncio.gather(client.ask(asked(0), 1), return_exceptions=True)
            errors = [one for one in (*first, *second) if isinstance(one, StoreError)]
            if "nobody" in reason:
                # the first answer was right, what follows on that connection is not believed
                assert first == [[[None]]]
            else:
                assert reason in str(errors[0])
                assert len(errors) == 2
            await client.close()

    run(reads())


def test_a_refused_login_does_not_repeat_what_was_sent(run: Run) -> None:
    async def reads() -> None:
        def echo(command: list[bytes]) -> bytes:
            return b"-ERR unknown command 'AUTH', with args: " + b" ".join(command) + b"\r\n"

        async with fake_redis(echo) as at:
            client = connection(at, password=SECRET)
            with pytest.raises(StoreError, match=r"refused the login \(ERR\)") as error:
                await client.ask(asked(0), 1)
            assert SECRET not in str(error.value)
            await client.close()

    run(reads())


def test_too_many_waiting_are_refused_at_once(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        client = RedisConnection(RedisAddress("127.0.0.1", proxy.port), max_waiting=10)
        assert await outcome(client, 0)
        proxy.stalled.set()
        tasks = [asyncio.create_task(outcome(client, number)) for number in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="the online store is behind: 10 reads wait for it; try again"):
            await client.ask(asked(0), 1)
        proxy.stalled.clear()
        assert all(await asyncio.gather(*tasks))
        assert await outcome(client, 1)
        await client.close()

    run(reads())


def test_closing_fails_what_waits(proxy: CuttingProxy, run: Run) -> None:
    async def reads() -> None:
        client = connection(proxy.port)
        assert await outcome(client, 0)
        proxy.stalled.set()
        task = asyncio.create_task(client.ask(asked(0), 1))
        await asyncio.sleep(0)
        await client.close()
        for one in (task, client.ask(asked(0), 1)):
            with pytest.raises(StoreError, match="was closed"):
                await one
        unused = connection(proxy.port)
        await unused.close()

    run(reads())


def test_tls(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = _certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)

    async def reads() -> None:
        async with fake_redis(lambda _: b"*1\r\n$-1\r\n", tls=server) as at:
            stranger = RedisConnection(RedisAddress.parse(f"rediss://127.0.0.1:{at}"))
            with pytest.raises(StoreError, match="certificate verify failed"):
                await stranger.ask(asked(0), 1)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            client = RedisConnection(RedisAddress.parse(f"rediss://127.0.0.1:{at}"))
            assert await client.ask(asked(0), 1) == [[None]]
            await client.close()
            plain = connection(at, timeout=0.3)
            with pytest.raises(StoreError, match="did not answer"):
                await plain.ask(asked(0), 1)

    run(reads())


def _certificate(directory: Path) -> Path:
    """A self-signed certificate and its key for 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "store.pem"
    path.write_bytes(encoded + certificate.public_bytes(serialization.Encoding.PEM))
    return path
