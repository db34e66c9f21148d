"""Every route: who may, what is answered, and the one record that it leaves."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.http_front.openapi import document
from gateway.http_front.routes import RouteTable
from gateway.http_front.table import routes
from gateway.refusal import Code
from tests.gateway.http_front.serving import KEYS, MODELS, Plane, infer_body, run, site
from torchkeep import __version__

ROUTES = routes()
PARAMETERS = {"{model}": "digits", "{version}": "1.0", "{region}": "r"}
HEALTH = ("/v2/health/live", "/v2/health/ready", "/ping")


def path_of(template: str) -> str:
    return re.sub(r"{\w+}", lambda found: PARAMETERS[found[0]], template)


def body_of(template: str) -> bytes:
    if "/infer" in template or "/explain" in template:
        return infer_body()
    if template.startswith(("/predictions", "/explanations")):
        return b"\x89PNG\r\n\x1a\n"
    return b""


def test_health_is_open_and_leaves_no_record() -> None:
    async def test() -> None:
        async with site() as opened:
            for path in HEALTH:
                assert (await opened.ask("GET", path, key=None)).status == 200
            assert (await opened.ask("GET", "/v2/health/live")).json == {"live": True}
            opened.plane.is_ready = False
            assert (await opened.ask("GET", "/v2/health/live")).status == 200
            not_ready = await opened.ask("GET", "/v2/health/ready")
            assert (not_ready.status, not_ready.json) == (503, {"ready": False})
            unhealthy = await opened.ask("GET", "/ping")
            assert (unhealthy.status, unhealthy.json) == (500, {"status": "Unhealthy"})
            assert opened.plane.records == []

    run(test())


def test_every_route_takes_exactly_the_keys_it_names_and_leaves_one_record() -> None:
    async def test() -> None:
        async with site() as opened:
            for route in ROUTES:
                if not route.permissions:
                    continue
                path, body = path_of(route.template), body_of(route.template)
                absent = "refuse" in route.endpoint.__name__
                for key, permissions in (*KEYS.items(), (None, frozenset()), ("bad", frozenset())):
                    opened.plane.records.clear()
                    reply = await opened.ask(route.method, path, body, key=key)
                    allowed = key == "tk_admin" or permissions & set(route.permissions)
                    expected = 501 if absent else 503 if path.endswith("2.0/ready") else 200
                    if key is None or key == "bad":
                        expected = 401
                        assert reply.headers["www-authenticate"].startswith("bearer")
                    elif not allowed:
                        expected = 403
                    assert (reply.status, route, key) == (expected, route, key)
                    assert len(opened.plane.records) == 1
                    record = opened.plane.records[0]
                    assert record.code.http == expected
                    assert record.arrival.route == route.template
                    assert record.arrival.request_id == reply.headers["x-request-id"]
                    assert (record.arrival.principal is None) == (expected == 401)
                    if expected != 200:
                        assert reply.error

    run(test())


def test_a_stranger_does_not_name_its_request() -> None:
    named = {"x-request-id": "r-1"}

    async def test() -> None:
        async with site() as opened:
            for path, key, own in (
                ("/v2", "tk_observe", True),
                ("/v2/models/stats", "tk_predict", True),  # 403
                ("/v2", None, False),
                ("/v2", "bad", False),
                ("/openapi.json", None, False),
                ("/none", "tk_observe", False),  # no key is looked at there
            ):
                opened.plane.records.clear()
                reply = await opened.ask("GET", path, headers=named, key=key)
                (record,) = opened.plane.records
                given = record.arrival.request_id
                assert (given == "r-1", path, key) == (own, path, key)
                assert given == reply.headers["x-request-id"]
            health = await opened.ask("GET", "/v2/health/live", headers=named, key=None)
            assert health.headers["x-request-id"] != "r-1"

    run(test())


def test_what_is_not_offered_names_what_there_is() -> None:
    async def test() -> None:
        async with site() as opened:
            for path, hint in (
                ("/v2/repository/models/digits/load", "torchkeep up"),
                ("/v2/repository/models/digits/unload", "torchkeep up"),
                ("/v2/systemsharedmemory/region/r/register", "binary data"),
                ("/v2/cudasharedmemory/unregister", "binary data"),
                ("/v2/models/digits/generate_stream", "/infer"),
                ("/v2/logging", "torchkeep.toml"),
            ):
                reply = await opened.ask("POST", path)
                assert reply.status == 501
                assert hint in reply.error

    run(test())


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v2/models/nobody", "nobody"),
        ("/v2/models/digits/versions/9", "'9'"),
        ("/v2/models/digits/versions/9/config", "'9'"),
        ("/v2/models/nobody/stats", "nobody"),
        ("/v2/models/a%2Fb", "a/b"),
        ("/v2/models/%ff%00", "no model"),
        ("/v2/models//ready", "nothing at this path"),
        ("/v2/models/digits/versions", "nothing at this path"),
        ("/", "nothing at this path"),
        ("/v3", "/openapi.json"),
        ("//v2", "nothing at this path"),
        ("/v2/../v2", "nothing at this path"),
    ],
)
def test_what_is_not_there_is_404_with_a_text(path: str, found: str) -> None:
    async def test() -> None:
        async with site() as opened:
            reply = await opened.ask("GET", path)
            assert reply.status == 404
            assert found in reply.error
            assert opened.plane.codes == [Code.NOT_FOUND]
            assert "%" not in opened.plane.records[0].arrival.route

    run(test())


def test_a_wrong_method_is_told_which_there_are() -> None:
    async def test() -> None:
        async with site() as opened:
            for method, path, allow in (
                ("DELETE", "/v2", "get, head"),
                ("GET", "/v2/models/digits/infer", "post"),
                ("POST", "/v2/health/live", "get, head"),
                ("OPTIONS", "/v2/logging", "get, head, post"),
            ):
                reply = await opened.ask(method, path)
                assert reply.status == 405
                assert reply.headers["allow"] == allow
                assert reply.error
            assert opened.plane.codes == [Code.METHOD] * 4

    run(test())


def test_head_is_get_without_its_body() -> None:
    async def test() -> None:
        async with site() as opened:
            whole = await opened.ask("GET", "/v2")
            head = await opened.ask("HEAD", "/v2")
            assert head.body == b""
            assert head.headers["content-length"] == str(len(whole.body))

    run(test())


def test_metadata_say_what_is_served() -> None:
    async def test() -> None:
        async with site() as opened:
            server = (await opened.ask("GET", "/v2/")).json
            assert (server["name"], server["version"]) == ("torchkeep", __version__)
            model = (await opened.ask("GET", "/v2/models/digits")).json
            assert model["versions"] == ["1.0", "2.0"]
            version = (await opened.ask("GET", "/v2/models/digits/versions/2.0")).json
            assert version["parameters"]["version"] == "2.0"
            config = (await opened.ask("GET", "/v2/models/digits/config")).json
            assert config["max_batch_size"] == 50
            one = (await opened.ask("GET", "/v2/models/digits/versions/2.0/stats")).json
            assert [row["version"] for row in one["model_stats"]] == ["2.0"]
            both = (await opened.ask("GET", "/v2/models/digits/stats")).json
            assert [row["version"] for row in both["model_stats"]] == ["1.0", "2.0"]
            every = (await opened.ask("GET", "/v2/models/stats")).json
            assert len(every["model_stats"]) == 3
            ready = await opened.ask("GET", "/v2/models/digits/ready")
            assert ready.json == {"name": "digits", "ready": True}
            assert (await opened.ask("GET", "/v2/models/digits/versions/2.0/ready")).status == 503

    run(test())


def test_the_index_lists_all_or_what_is_ready() -> None:
    async def test() -> None:
        async with site() as opened:
            every = await opened.ask("POST", "/v2/repository/index")
            assert [row["state"] for row in every.json] == ["READY", "UNAVAILABLE", "READY"]
            ready = await opened.ask("POST", "/v2/repository/index", b'{"ready": true}')
            assert len(ready.json) == 2
            for body in (b"x", b"[]", b'{"ready": 1}', b"\xff"):
                assert (await opened.ask("POST", "/v2/repository/index", body)).status == 400

    run(test())


def test_what_cannot_be_recorded_is_not_answered() -> None:
    async def test() -> None:
        async with site(Plane(full=True)) as opened:
            reply = await opened.ask("GET", "/v2")
            assert reply.status == 503
            assert reply.headers["retry-after"] == "1"
            assert reply.error == "the request cannot be logged"

    run(test())


def test_no_header_tells_what_software_answers() -> None:
    async def test() -> None:
        async with site() as opened:
            for method, path in (("GET", "/v2"), ("GET", "/none"), ("GET", "/v2/health/live")):
                reply = await opened.ask(method, path)
                assert "server" not in reply.headers
                assert "uvicorn" not in str(reply)
                assert "date" in reply.headers

    run(test())


def test_the_openapi_document_describes_exactly_the_routes() -> None:
    described = {
        (method.upper(), path)
        for path, item in document(MODELS)["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert described == {(route.method, route.template) for route in ROUTES}


def test_the_openapi_document_holds_together() -> None:
    whole = document(MODELS)
    assert whole["openapi"] == "3.1.0"
    schemas = whole["components"]["schemas"]
    for reference in references(whole):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in whole["components"][kind]
    used = {reference.rsplit("/", 1)[1] for reference in references(whole)}
    assert schemas.keys() <= used
    names = [
        method["operationId"]
        for item in whole["paths"].values()
        for key, method in item.items()
        if key != "parameters" and "operationId" in method
    ]
    assert len(names) == len(set(names))
    for path, item in whole["paths"].items():
        named = {parameter["name"] for parameter in item.get("parameters", [])}
        assert named == set(re.findall(r"{(\w+)}", path))


def test_the_openapi_document_is_served_to_everybody() -> None:
    async def test() -> None:
        async with site() as opened:
            reply = await opened.ask("GET", "/openapi.json", key=None)
            assert reply.status == 200
            assert reply.json == document(MODELS)

    run(test())


def test_the_openapi_document_names_what_is_served() -> None:
    item = document(MODELS)["paths"]["/v2/models/{model}/versions/{version}"]
    model, version = item["parameters"]
    assert model["examples"].keys() == {"digits", "other"}
    assert version["examples"].keys() == {"1.0", "2.0"}


def test_a_fixed_part_goes_before_a_parameter() -> None:
    table = RouteTable(ROUTES)
    found, parameters = table.find(b"/v2/models/stats")
    assert (found["GET"].template, parameters) == ("/v2/models/stats", {})
    found, parameters = table.find(b"/v2/models/infer/infer")
    assert (found["POST"].template, parameters["model"]) == ("/v2/models/{model}/infer", "infer")


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for item in value.values() for found in references(item)]
