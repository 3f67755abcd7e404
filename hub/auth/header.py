"""The one place that takes a credential out of an `Authorization` header, for both edges."""

from collections.abc import Sequence

from hub.domain.errors import Unauthenticated


def bearer_token(values: Sequence[str]) -> str | None:
    """The token of `Authorization: Bearer <token>`, given the values of all such headers of a request.

    None when there is no header at all. A header that is there but cannot be used (another scheme, no token, two
    headers) raises `Unauthenticated`: a bad credential is never skipped in favour of the next way to authenticate.
    """
    if not values:
        return None
    if len(values) > 1:
        raise Unauthenticated("more than one Authorization header")
    scheme, _, token = values[0].strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or len(token.split()) != 1:
        raise Unauthenticated("the Authorization header must be: Bearer <token>")
    return token
