"""JSON-RPC over HTTP as Bitcoin Core answers it, version 1 and 2, alone and in batches.

What is wrong with the HTTP is answered by a status; what is wrong with a call, by an error object. A call's error is
HTTP 200, but for two of version 1 (400 and 404, as in Bitcoin Core), and never 500: a failure of ours is an error
object too, and its story is in the log only.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiohttp import web_protocol
from aiohttp.web_exceptions import HTTPException
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_runner import ServerRunner, SockSite
from aiohttp.web_server import Server
from structlog.typing import FilteringBoundLogger

from node.api.access import MAX_BODY, Access, HttpRefusal, Role
from node.api.delivery import HEADERS, Answer, BrokenOffError, Delivery, whole_answer
from node.api.json_text import JsonError, parse_json_in_slices
from node.api.long_answers import encode_in_pieces
from node.api.method import Method
from node.api.services import RunningCall, Services
from node.descriptors import MAX_CALLERS
from node.storage.errors import StorageError
from node.turns import in_turns
from rpc.encoding import encode
from rpc.errors import ErrorCode, RpcError

_T = TypeVar("_T")
MAX_BATCH = 1_000
"""Calls in one body. They are made one after the other."""
MAX_TOGETHER = 256
"""Calls of a batch that one method does together: reading them takes some 3 ms."""
MAX_REQUESTS = 64
"""Requests in hand at once, as many as Bitcoin Core queues (rpcworkqueue); the next are turned away with 503."""
MAX_WAITING = 64
"""Calls that wait for something to happen; they cost next to nothing, and leave room for the others (A176)."""
IDLE_SECONDS = 30.0
"""For a request's head to arrive, from connecting or from the answer before."""
BODY_SECONDS = 30.0
"""For a request's body to arrive."""
FAILED_LOGIN_SECONDS = 0.25
"""An answer to a wrong password comes so late (Bitcoin Core), to slow guessing down."""
MAX_STRANGERS = 16
"""Wrong passwords that wait for their answer at once: guessing in parallel is no faster than 64 a second."""
STOP_SECONDS = 5.0
"""How long a stop waits for calls in hand. Those that wait for something are ended at once."""


class RpcServer:
    """Answers calls of `methods` at one address."""

    def __init__(
        self,
        services: Services,
        methods: Mapping[str, Method],
        access: Access,
        log: FilteringBoundLogger,
        max_connections: int = MAX_CALLERS,
    ) -> None:
        """Args:
        max_connections: open at once, idle ones included; the next are cut off.
        """
        self._services = services
        self._methods = methods
        self._access = access
        self._log = log
        self._max_connections = max_connections
        self._requests = 0
        self._strangers = 0
        self._waiting: set[asyncio.Task[Any]] = set()
        self._working: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._runner: ServerRunner | None = None

    async def start(self, listening: socket.socket) -> None:
        """Answer calls at a bound socket from now on."""
        http = _HttpServer(self._handle, self._max_connections)
        self._runner = ServerRunner(http, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        await SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        """Take no more calls, end those that wait, let the others finish, and close."""
        self._stopping = True
        for task in self._waiting:
            task.cancel()
        if self._working:
            await asyncio.wait(self._working, timeout=STOP_SECONDS)
        if self._runner is not None:
            await self._runner.cleanup()

    # HTTP

    async def _handle(self, request: BaseRequest) -> StreamResponse:
        try:
            role = await self._admit(request)
            async with self._slot():
                return await self._answer(request, role)
        except HttpRefusal as refusal:
            # The rest of such a request may be anything, so nothing more is read from its connection.
            response = Response(
                status=refusal.status, text=refusal.sentence + "\n", headers={**HEADERS, **refusal.headers}
            )
            response.force_close()
            return response

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._stopping or self._requests - len(self._waiting) >= MAX_REQUESTS:
            raise HttpRefusal(503, "Work queue depth exceeded.", {"Retry-After": "1"})
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _admit(self, request: BaseRequest) -> Role:
        """Return who calls. Strangers wait here, where they take no place from those who may call."""
        self._access.check_origin(request.method, request.path, request.headers)
        role = self._access.login(request.headers)
        if role is not None:
            return role
        self._log.warning("rpc_login_failed", address=request.remote)
        if self._strangers >= MAX_STRANGERS:
            raise HttpRefusal(503, "Too many failed logins.", {"Retry-After": "1"})
        self._strangers += 1
        try:
            await asyncio.sleep(FAILED_LOGIN_SECONDS)
        finally:
            self._strangers -= 1
        raise HttpRefusal(401, "User name or password is wrong.", {"WWW-Authenticate": 'Basic realm="jsonrpc"'})

    async def _answer(self, request: BaseRequest, role: Role) -> StreamResponse:
        self._access.check_content(request.headers)
        body = await _read_body(request)
        try:
            value = await in_turns(parse_json_in_slices(body))
        except JsonError as error:
            return _refused(RpcError(ErrorCode.PARSE_ERROR, f"Parse error: {error}"))
        if not isinstance(value, list):
            status, answer = await self._answer_call(value, role)
            if isinstance(answer, bytes):
                return whole_answer(status, answer)
            delivery = Delivery(request, status)
            await delivery.add(answer)
            return await delivery.end()
        if len(value) > MAX_BATCH:
            return _refused(RpcError(ErrorCode.INVALID_REQUEST, f"A batch has at most {MAX_BATCH} calls"))
        work = self._answer_batch(value, role, Delivery(request, 200))
        return await (work if self._waits_for_something(value) else self._keep(work, "batch"))

    # JSON-RPC

    async def _answer_batch(self, calls: list[object], role: Role, delivery: Delivery) -> StreamResponse:
        """Make calls, one after the other and all of them, whether or not somebody takes the answers."""
        before = b"["
        try:
            for run in self._runs(calls):
                for answer in await self._answer_run(run, role):
                    if answer:
                        await delivery.add(before)
                        await delivery.add(answer)
                        before = b","
        except HttpRefusal:
            if not delivery.begun:
                raise
            delivery.cut()
        if calls and before == b"[":
            return whole_answer(204, b"")
        await delivery.add(b"]" if calls else b"[]")
        return await delivery.end()

    def _runs(self, calls: list[object]) -> Iterator[list[object]]:
        """Yield the calls of a batch: alone, or those in a row that their method does together."""
        run: list[object] = []
        common: Method | None = None
        for each in calls:
            named = self._methods.get(str(each.get("method"))) if isinstance(each, dict) else None
            if run and (common is None or named is not common or len(run) == MAX_TOGETHER):
                yield run
                run = []
            run.append(each)
            common = named if named is not None and named.together is not None else None
        if run:
            yield run

    async def _answer_run(self, calls: list[object], role: Role) -> Sequence[Answer]:
        """Return the answer of one call, or of calls that one method does together; empty ones to notifications."""
        if len(calls) == 1:
            return ((await self._answer_call(calls[0], role, batch=True))[1],)
        read: list[tuple[_Call, dict[str, Any]]] = []
        refused: dict[int, bytes] = {}
        method: Method | None = None
        for place, each in enumerate(calls):
            call: _Call | None = None
            try:
                call = _Call(each)
                method = self._find(call, role, batch=True)
                read.append((call, method.bind(call.params)))
            except RpcError as error:
                refused[place] = self._encoded(call, error)
        results = iter(await self._run_together(method, [bound for _, bound in read]) if method is not None else ())
        answered = iter([self._encoded(call, next(results)) for call, _ in read])
        return [refused[place] if place in refused else next(answered) for place in range(len(calls))]

    @staticmethod
    def _encoded(call: _Call | None, result: object) -> bytes:
        if call is not None and call.notification:
            return b""
        if isinstance(result, RpcError):
            return encode(_Call.error_answer(call, result))
        return b"" if call is None else encode(call.answer(result))

    def _waits_for_something(self, calls: list[object]) -> bool:
        """Tell whether a batch holds a call that ends with its caller."""
        methods = (self._methods.get(str(each.get("method"))) for each in calls if isinstance(each, dict))
        return any(method is not None and method.waits for method in methods)

    async def _answer_call(self, value: object, role: Role, *, batch: bool = False) -> tuple[int, Answer]:
        """Make a call; return the HTTP status and the answer."""
        call: _Call | None = None
        try:
            call = _Call(value)
            method = self._find(call, role, batch=batch)
            bound = method.bind(call.params)
            # A batch is kept as a whole: a task for each of its calls costs as much as an easy call itself.
            result = await (self._run(method, bound) if batch and not method.waits else self._perform(method, bound))
            if call.notification:
                return 204, b""
            answer = call.answer(result)
            return 200, self._in_pieces(method, answer) if method.long else encode(answer)
        except RpcError as error:
            if call is not None and call.notification:
                return 204, b""
            return _status(call, error), encode(_Call.error_answer(call, error))

    def _in_pieces(self, method: Method, answer: object) -> Iterator[bytes]:
        """Yield a long answer, each piece when it is asked for.

        Raises:
            BrokenOffError: the rest cannot be made.
        """
        try:
            yield from encode_in_pieces(answer)
        except StorageError as error:
            self._services.fail(error)
            raise BrokenOffError from error
        except Exception as error:
            self._log.error("rpc_failed", method=method.name, exc_info=error)
            raise BrokenOffError from error

    def _find(self, call: _Call, role: Role, *, batch: bool) -> Method:
        method = self._methods.get(call.method)
        if method is None:
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, "Method not found")
        if role is Role.READER and not method.reads:
            self._log.warning("rpc_method_forbidden", method=method.name)
            if not batch:
                raise HttpRefusal(403, f"A reader may not call {method.name}.")
            raise RpcError(ErrorCode.INVALID_REQUEST, f"A reader may not call {method.name}")
        if self._services.starting is not None and not method.early:
            raise RpcError(ErrorCode.IN_WARMUP, self._services.starting)
        if method.needs_wallet and self._services.wallet is None:
            raise RpcError(ErrorCode.WALLET_NOT_FOUND, "This node runs without a wallet")
        return method

    async def _perform(self, method: Method, bound: dict[str, Any]) -> object:
        """Run a call to its end, even if its caller goes away meanwhile; one that only waits ends with its caller."""
        if not method.waits:
            return await self._keep(self._run(method, bound), method.name)
        if len(self._waiting) >= MAX_WAITING:
            raise HttpRefusal(503, "Too many calls wait already.", {"Retry-After": "1"})
        task = self._task(self._run(method, bound), method.name, self._waiting)
        try:
            return await task
        except asyncio.CancelledError:
            if self._stopping and task.cancelled():
                raise HttpRefusal(503, "The node is stopping.") from None
            raise

    async def _keep(self, work: Coroutine[Any, Any, _T], name: str) -> _T:
        """Run something to its end, even if its caller goes away."""
        return await asyncio.shield(self._task(work, name, self._working))

    @staticmethod
    def _task(work: Coroutine[Any, Any, _T], name: str, kept: set[asyncio.Task[Any]]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work, name=f"rpc {name}")
        kept.add(task)
        task.add_done_callback(kept.discard)
        task.add_done_callback(_hear)
        return task

    async def _run_together(self, method: Method, calls: Sequence[dict[str, Any]]) -> Sequence[object]:
        """Return the result, or the `RpcError`, of each of some calls of one method."""
        if method.together is None or not calls:
            return ()
        try:
            done = await self._guarded(method, method.together(self._services, calls))
        except RpcError as error:
            return [error] * len(calls)
        return done

    async def _run(self, method: Method, bound: dict[str, Any]) -> object:
        return await self._guarded(method, method.function(self._services, **bound))

    async def _guarded(self, method: Method, work: Coroutine[Any, Any, _T]) -> _T:
        """Run what a method does; a failure of ours becomes an `RpcError`."""
        running = RunningCall(method.name, time.monotonic())
        self._services.running_calls[id(running)] = running
        try:
            return await work
        except RpcError:
            raise
        except StorageError as error:
            self._services.fail(error)
            raise RpcError(ErrorCode.DATABASE_ERROR, "The node's storage failed; it stops. Its log says why.") from None
        except Exception as error:  # noqa: BLE001 - logged with its traceback; a mistake of ours costs one call
            self._log.error("rpc_failed", method=method.name, exc_info=error)
            raise RpcError(ErrorCode.INTERNAL_ERROR, "The node failed to do this. Its log says why.") from None
        finally:
            del self._services.running_calls[id(running)]


class _Call:
    """One call, of JSON-RPC 2.0 or of 1.0 and 1.1, which Bitcoin Core treats alike."""

    def __init__(self, value: object) -> None:
        """
        Raises:
            RpcError: `INVALID_REQUEST`.
        """
        if not isinstance(value, dict):
            raise RpcError(ErrorCode.INVALID_REQUEST, "Invalid Request object")
        self.id: object = value.get("id")
        version = value.get("jsonrpc")
        self.version2 = version == "2.0"
        self.notification = self.version2 and "id" not in value
        method, params = value.get("method"), value.get("params")
        self._check(version, method, params)
        self.method: str = str(method)
        self.params: list[object] | dict[str, object] = [] if params is None else params

    def _check(self, version: object, method: object, params: object) -> None:
        if version not in {None, "1.0", "1.1", "2.0"} if isinstance(version, str | None) else True:
            raise RpcError(ErrorCode.INVALID_REQUEST, "JSON-RPC version not supported")
        if isinstance(self.id, list | dict | bool) or (isinstance(self.id, str) and len(self.id) > 1_000):
            self.id = None
            raise RpcError(ErrorCode.INVALID_REQUEST, "The id must be a text, a number or null")
        if method is None:
            raise RpcError(ErrorCode.INVALID_REQUEST, "Missing method")
        if not isinstance(method, str):
            raise RpcError(ErrorCode.INVALID_REQUEST, "Method must be a string")
        if not isinstance(params, list | dict | None):
            raise RpcError(ErrorCode.INVALID_REQUEST, "Params must be an array or object")

    def answer(self, result: object) -> dict[str, object]:
        """Return the answer of a call that was done."""
        if self.version2:
            return {"jsonrpc": "2.0", "result": result, "id": self.id}
        return {"result": result, "error": None, "id": self.id}

    @staticmethod
    def error_answer(call: _Call | None, error: RpcError) -> dict[str, object]:
        """Return the answer of a call that was refused, or that was no call."""
        told = {"code": int(error.code), "message": error.message}
        if call is not None and call.version2:
            return {"jsonrpc": "2.0", "error": told, "id": call.id}
        return {"result": None, "error": told, "id": None if call is None else call.id}


def _status(call: _Call | None, error: RpcError) -> int:
    """Return the HTTP status of a single call that was refused."""
    if call is None or not call.version2:
        return {ErrorCode.INVALID_REQUEST: 400, ErrorCode.METHOD_NOT_FOUND: 404}.get(ErrorCode(error.code), 200)
    return 200


def _hear(task: asyncio.Task[Any]) -> None:
    """Take note of how a call ended, so that nobody asks for it after its caller has gone away."""
    if not task.cancelled():
        task.exception()


def _refused(error: RpcError) -> Response:
    """Return the answer to a body that holds no calls to be made."""
    return whole_answer(400, encode(_Call.error_answer(None, error)))


# HTTP, below


class _HttpServer(Server):
    """aiohttp's low-level server: bounded in connections, and silent about what it is made of."""

    def __init__(self, handle: Callable[[BaseRequest], Awaitable[StreamResponse]], max_connections: int) -> None:
        super().__init__(handle, handler_cancellation=True)
        self._max_connections = max_connections

    def __call__(self) -> web_protocol.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_SECONDS,
            access_log=None,  # type: ignore[arg-type] # None is documented as "no log"
            auto_decompress=False,
            lingering_time=0,
        )

    def connection_made(self, handler: web_protocol.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._max_connections:
            transport.abort()


class _Connection(web_protocol.RequestHandler):
    def handle_error(
        self,
        request: BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it may quote the request
    ) -> StreamResponse:
        """Answer what is no HTTP (A167), without the words of the parser, which may quote it."""
        if isinstance(exc, HTTPException):
            status = exc.status
        if status >= 500:
            self.log_exception("Unhandled exception", exc_info=exc)
        response = Response(status=status, text="Bad request.\n", headers=HEADERS)
        response.force_close()
        return response


async def _read_body(request: BaseRequest) -> bytes:
    """Return the body of a request.

    Raises:
        HttpRefusal: 408 if it does not arrive in time, 413 if it is too long, 400 if it breaks off.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MAX_BODY:
                    raise HttpRefusal(413, f"The body has more than {MAX_BODY} bytes.")
    except TimeoutError:
        raise HttpRefusal(408, "The body did not arrive in time.") from None
    except (web_protocol.PayloadAccessError, ConnectionError):
        raise HttpRefusal(400, "The body broke off.") from None
    return bytes(body)
