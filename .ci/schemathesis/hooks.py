"""What schemathesis needs to know about this API that the document does not say."""

import itertools

import requests
import schemathesis

# One user sends most requests. These operations would end its sessions, change its password, or let it follow itself, so
# each of their requests comes from a new user.
WITH_A_NEW_USER = {"UpdateCurrentUser", "EndSession", "EndOtherSessions", "FollowUserByUsername"}


@schemathesis.auth(refresh_interval=None)
class AccessToken:
    def __init__(self):
        self.shared = None

    def get(self, case, context):
        if context.operation.definition.raw["operationId"] in WITH_A_NEW_USER:
            return register(context.operation.base_url)
        if self.shared is None:
            self.shared = register(context.operation.base_url)
        return self.shared

    def set(self, case, token, context):
        case.headers["Authorization"] = f"Token {token}"


numbers = itertools.count(1)


def register(url):
    """Registers a user, and returns the access token. Raises an exception if the server does not accept it."""
    name = f"fuzz{next(numbers)}"
    user = {"username": name, "email": f"{name}@example.com", "password": "correct horse"}
    response = requests.post(f"{url}/api/users", json={"user": user}, timeout=30)
    response.raise_for_status()
    return response.json()["user"]["token"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Leaves out invented cursors where a request must succeed: only the server can make one (test/http/cursor.test.ts)."""
    if case.query and case.meta.generation.mode.is_positive:
        case.query.pop("cursor", None)
