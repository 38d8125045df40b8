"""HTTP routes to operate webhooks; `callscreen webhooks` is a client of them.  [IO]

GET     /v1/webhooks/dead            dead letters
POST    /v1/webhooks/{name}/replay   deliver the dead letters of one webhook again
POST    /v1/webhooks/{name}/test     deliver a test event now
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway import paths
from gateway.alerts.history import rfc3339
from gateway.webhooks.delivery import Webhooks


def webhook_routes(webhooks: Webhooks) -> list[BaseRoute]:
    """Return the routes."""

    async def dead(_request: Request) -> Response:
        letters = [letter for delivery in webhooks.all() for letter in await delivery.dead()]
        return JSONResponse(
            {
                "dead": [
                    {
                        "webhook": letter.name,
                        "event_id": letter.event_id,
                        "type": letter.type,
                        "attempts": letter.attempts,
                        "first_attempt": rfc3339(letter.first_at),
                        "error": letter.error,
                    }
                    for letter in letters
                ]
            }
        )

    async def replay(request: Request) -> Response:
        return JSONResponse({"replayed": await webhooks.named(request.path_params["name"]).replay()})

    async def test(request: Request) -> Response:
        error = await webhooks.named(request.path_params["name"]).test()
        return JSONResponse({"delivered": error is None, "error": error})

    return [
        Route(paths.WEBHOOKS + "/dead", dead),
        Route(paths.WEBHOOKS + "/{name}/replay", replay, methods=["POST"]),
        Route(paths.WEBHOOKS + "/{name}/test", test, methods=["POST"]),
    ]
