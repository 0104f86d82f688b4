"""The OpenAPI description of the service's routes."""

from typing import Any

from groundglass.optics.remote import wire
from groundglass.optics.remote.errors import ERRORS


def _header(name: str, what: str, kind: str = "string", *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "description": what, "schema": {"type": kind}}


def _json(what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": {"type": "object"}}}}


def _route(summary: str, answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {"200": answer, "default": {"$ref": "#/components/responses/Error"}},
        **more,
    }


_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}

DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "groundglass device service",
        "version": "1",
        "description": "Bits in, camera readings out; the matrix stays with the service.",
    },
    "security": [{"token": []}],
    "paths": {
        "/health": {"get": _route("Whether the service measures", _json("It does"), security=[])},
        "/openapi.json": {"get": _route("This description", _json("OpenAPI 3.1"), security=[])},
        "/devices": {"get": _route("The devices that this token is for", _json('{"devices": [NAME, ...]}'))},
        "/devices/{name}": {
            "parameters": [_NAME],
            "get": _route(
                "What is public of a device, and what the token has left", _json("Its sizes, fingerprint, camera")
            ),
        },
        "/devices/{name}/measure": {
            "parameters": [_NAME],
            "post": _route(
                "A camera frame for each row of bits",
                {
                    "description": "Readings, row by row: uint8, or float32 with the lowest byte first, as GET /devices/{name} "
                    "says. They are sent while they are measured; if they break off, ask again with the same request id within "
                    "a minute: no frame is taken twice.",
                    "headers": {
                        wire.FINGERPRINT: {"description": "of the matrix that measured", "schema": {"type": "string"}},
                        wire.UNTIL: {
                            "description": "for which a matrix that was redrawn still answers",
                            "schema": {"type": "number"},
                        },
                    },
                    **_BYTES,
                },
                parameters=[
                    _header(wire.ROWS, "rows of the body", "integer", required=True),
                    _header(wire.FINGERPRINT, "of the matrix that is expected; another one is an error"),
                    _header(wire.REQUEST, "an id of the client's own for this measurement"),
                    _header(wire.EXPOSURE, "times the device's own; for the role calibrate", "number"),
                ],
                requestBody={
                    "required": True,
                    "description": "numpy.packbits(bits, axis=1): 8 bits a byte, the first one highest",
                    **_BYTES,
                },
            ),
        },
        "/devices/{name}/redraw": {
            "parameters": [_NAME],
            "post": _route(
                "Another matrix, at once; for the role redraw", _json('{"old": FINGERPRINT, "new": FINGERPRINT}')
            ),
        },
        "/status": {
            "get": _route("How the service stands; for the role administer", _json("Devices, clients, alarms"))
        },
        "/metrics": {
            "get": _route(
                "The same for Prometheus; for the role administer",
                {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
            )
        },
    },
    "components": {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        "responses": {
            "Error": {
                "description": "; ".join(f"{error.status} {code}" for code, error in ERRORS.items()),
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["error", "message", "details", "retry_after"],
                            "properties": {
                                "error": {"type": "string", "enum": list(ERRORS)},
                                "message": {"type": "string"},
                                "details": {"type": "object"},
                                "retry_after": {"type": ["number", "null"], "description": "seconds"},
                            },
                        }
                    }
                },
            }
        },
    },
}
