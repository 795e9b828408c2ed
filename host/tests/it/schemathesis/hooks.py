"""What OpenAPI has no words for in the description of Tally's API."""

import schemathesis


@schemathesis.serializer("application/wasm")
def component(context, value):
    """Bytes are sent as they are."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def filter_case(context, case):
    """`by` is given once, in the query or in the body, and numbers without a fraction: to OpenAPI, 1.0 is an integer."""
    body = case.body if isinstance(case.body, dict) else {}
    twice = "by" in body and "by" in (case.query or {})
    fraction = any(isinstance(value, float) and value.is_integer() for value in body.values())
    return not twice and not fraction
