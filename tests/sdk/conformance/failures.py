"""What every SDK must raise when a provider fails, a stream breaks, time runs out or the caller errs; and who tries again."""
from .scenario import PIECES, Scenario, answer, answered, equal, kinds, raised, status
from . import upstream
from .codes import says

BAD = kinds("BadRequestError", "ClientError")
SERVER = kinds("InternalServerError", "ServerError")
# The SDKs' own timeout: named apart in Python, Node and google-genai.
TIMEOUT = kinds("APIConnectionError", "TimeoutException")
BROKEN = kinds("APIError", "APIError")


def error(code, classes, ours, name=None, message=None, **more):
    """A provider's error of this status, which another API's callers read as `ours`, in their own words."""
    message = message or f"no more of {code}"

    def judge(result):
        if result.same:
            raised(result, classes, code, message)
        else:
            raised(result, {api: "APIError" for api in classes}, says=message)
            says(result, ours)
        equal("requests at the provider", len(result.requests), 1)

    step = {"do": {"status": {"code": code, "message": message} | more}}
    return Scenario(f"error_{name or code}", judge, [step], request="chat")


def stream_broken(after):
    def judge(result):
        raised(result, BROKEN)
        equal("pieces before the error", result.outcome["pieces"], after)

    return judge


def error_before_content(result):
    raised(result, SERVER)
    equal("requests at the provider", len(result.requests), 1)


def cancelled(result):
    counts = result.providers.wait_for(lambda counts: counts["cancelled"])
    equal("responses cut upstream", len(counts["cancelled"]), 1)


def timeout(result):
    raised(result, TIMEOUT)
    equal("requests at the provider", len(result.requests), 1)
    cancelled(result)


def cancel(result):
    assert "error" not in result.outcome, result.outcome["error"]
    assert result.outcome["pieces"] >= 1, "nothing was streamed before the cancel"
    cancelled(result)


def provider_silent(code):
    def judge(result):
        raised(result, SERVER, 504, code)
        says(result, "EXT_TOTAL_TIMEOUT" if code == "timeouts.total" else "EXT_FIRST_TOKEN_TIMEOUT")
        cancelled(result)

    return judge


def retried(result):
    answered(result, requests=3)
    if result.same and result.dialect != "gemini":
        counts = [upstream.header(seen, "x-stainless-retry-count") for seen in result.requests]
        equal("x-stainless-retry-count", counts, ["0", "1", "2"])


def retries_used_up(result):
    raised(result, SERVER)
    equal("requests at the provider", len(result.requests), 3)


def once_if_read(result):
    """One request, but for google-genai, which does not look at x-should-retry."""
    equal("requests at the provider", len(result.requests), 3 if result.dialect == "gemini" else 1)


def retry_forbidden(result):
    """A redirect will not go away: the sidecar says so, and the SDKs that read it obey."""
    raised(result, SERVER)
    says(result, "EXT_REDIRECT")
    told = {message.header("x-should-retry") for message in result.tap.responses()}
    equal("x-should-retry", told, {"false"})
    once_if_read(result)


def retry_forbidden_by_provider(result):
    raised(result, SERVER, 503)
    once_if_read(result)


def retried_by_sidecar(result):
    answered(result, requests=2)


def no_key(result):
    raised(result, SERVER)
    says(result, "AUTH_KEY_MISSING")
    equal("requests at the provider", len(result.requests), 0)


def usage_empty(result):
    raised(result, BAD, 400)


def usage_model(result):
    raised(result, kinds("NotFoundError", "ClientError"), 404, "no-such-model")
    says(result, "RES_MODEL_NOT_FOUND")
    equal("requests at the provider", len(result.requests), 0)


def usage_path(result):
    """An endpoint that the sidecar does not have: an error of the SDK's own that can be acted on, and at once."""
    problem = result.outcome.get("error")
    assert problem, f"the SDK raised nothing: {result.outcome}"
    assert problem["status"] in (404, 501), f"status is {problem['status']}: {problem['message']}"
    assert "APIError" in problem["bases"], f"{problem['class']} is none of the SDK's: {problem['message']}"
    equal("requests at the provider", len(result.requests), 0)


def broken(fault):
    return [answer(fault=fault)]


OVERLOADED = {"error_event": {"after": 0, "code": 529}}
FORBIDDEN = [["x-should-retry", "false"]]
ONE_SECOND = {"timeouts": {"total": "1s"}}
OWN = "a header of one API's SDKs; to a provider of another API the sidecar speaks for itself"

SCENARIOS = [
    error(400, BAD, "VAL_PROVIDER_REFUSED"),
    error(401, kinds("AuthenticationError", "ClientError"), "AUTH_KEY_REJECTED"),
    error(403, kinds("PermissionDeniedError", "ClientError"), "AUTH_PERMISSION"),
    error(404, kinds("NotFoundError", "ClientError"), "RES_MODEL_NOT_FOUND"),
    error(413, kinds("APIStatusError", "ClientError", openai_node="APIError", anthropic_node="APIError",
                     responses_node="APIError", anthropic_python="ContentTooLargeError", openai_schema="APIError",
                     responses_schema="APIError"), "VAL_TOO_LARGE"),
    error(429, kinds("RateLimitError", "ClientError"), "RATE_PROVIDER"),
    error(500, SERVER, "EXT_SERVER_ERROR"),
    error(503, SERVER, "EXT_OVERLOADED"),
    error(529, SERVER, "EXT_OVERLOADED"),
    error(400, BAD, "VAL_CONTEXT_LENGTH", "context", "the input is too long: maximum context length exceeded"),
    error(400, BAD, "AUTH_BILLING", "billing", "Your credit balance is too low to access the API."),
    error(401, kinds("AuthenticationError", "ClientError"), "AUTH_ACCOUNT_CLOSED", "closed",
          "The account associated with this API key has been deactivated."),
    Scenario("own_no_key", no_key, [answer()], request="chat", spec={"credentials": [{"name": "main", "env": "NOT_SET"}]}),
    Scenario("error_in_stream", stream_broken(2), broken({"error_event": {"after": 2, "code": 529}}), request="stream"),
    Scenario("error_before_content", error_before_content, broken(OVERLOADED), request="stream"),
    Scenario("stream_truncated", stream_broken(2), broken({"truncated_chunked": {"after": 2}}), request="stream"),
    Scenario("stream_no_end", stream_broken(PIECES), broken("no_finish"), request="stream"),
    Scenario("timeout_of_sdk", timeout, [{"do": "hang"}], request="timeout"),
    Scenario("timeout_total", provider_silent("timeouts.total"), [{"do": "hang"}], request="chat", spec=ONE_SECOND),
    Scenario("timeout_first_token", provider_silent("timeouts.firstToken"), [answer(first_delay_ms=20000)], request="stream",
             spec={"timeouts": {"firstToken": "1s"}}),
    Scenario("cancel", cancel, [answer(chunks=100, delay_ms=100)]),
    Scenario("retries_of_sdk", retried, [status(503, 2), answer()], request="chat", retries=2),
    Scenario("retries_used_up", retries_used_up, [status(503, 9)], request="chat", retries=2),
    Scenario("retry_forbidden", retry_forbidden, [{"times": 9, "do": {"redirect": "http://127.0.0.1:1/"}}], request="chat",
             retries=2, tap=True),
    Scenario("retry_provider_says_no", retry_forbidden_by_provider, [status(503, 9, headers=FORBIDDEN)], request="chat",
             retries=2, same_only=OWN),
    Scenario("retry_of_sidecar", retried_by_sidecar, [status(503), answer()], request="chat",
             spec={"retry": {"maxAttempts": 2, "backoff": {"base": "10ms"}}}),
    Scenario("usage_empty", usage_empty),
    Scenario("usage_model", usage_model),
    Scenario("usage_path", usage_path),
]
