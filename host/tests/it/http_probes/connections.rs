//! When a connection goes on, and what becomes of requests that come one behind the other.

use super::{COUNTED, COUNTED_LAST, Outcome, Probe, Rule, answered, last, probe};

const CLOSE: Rule = Rule(
    "RFC 9112, section 9.6",
    "A server that receives a \"close\" connection option MUST initiate closure of the connection (see below) after it \
     sends the final response to the request that contained the \"close\" connection option.",
);
const PERSISTS: Rule = Rule(
    "RFC 9112, section 9.3",
    "If the received protocol is HTTP/1.1 (or later), the connection will persist after the current response",
);
const OPTIONS: Rule = Rule("RFC 9110, section 7.6.1", "Connection options are case-insensitive.");
const OLD: Rule = Rule(
    "RFC 9112, section 9.3",
    "otherwise, the connection will close after the current response.",
);
const PIPELINE: Rule = Rule(
    "RFC 9112, section 9.3.2",
    "A server MAY process a sequence of pipelined requests in parallel if they all have safe methods (Section 9.2.1 of \
     [HTTP]), but it MUST send the corresponding responses in the same order that the requests were received.",
);
const INVALID: Rule = Rule(
    "RFC 9112, section 2.2",
    "the server SHOULD respond with a 400 (Bad Request) response and close the connection.",
);
const HEAD: Rule = Rule(
    "RFC 9110, section 9.3.2",
    "The HEAD method is identical to GET except that the server MUST NOT send content in the response.",
);

const WHOLE: &[(&[u8], Outcome, Rule)] = &[
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", COUNTED_LAST, CLOSE),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", COUNTED_LAST, OPTIONS),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", COUNTED_LAST, CLOSE),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", COUNTED_LAST, CLOSE),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", COUNTED_LAST, CLOSE),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", COUNTED_LAST, CLOSE),
    (b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", last(&[404], 0), CLOSE),
    (b"GET /inc HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", last(&[405], 0), CLOSE),
    (b"HEAD /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", last(&[200], 0), HEAD),
    (b"HEAD /count HTTP/1.1\r\nHost: a b\r\n\r\n", last(&[400], 0), HEAD),
    (b"HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", answered(&[404], 0), HEAD),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", COUNTED, PERSISTS),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: x-y\r\n\r\n", COUNTED, PERSISTS),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", COUNTED, PERSISTS),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection:\r\n\r\n", COUNTED, PERSISTS),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nKeep-Alive: timeout=0\r\n\r\n", COUNTED, PERSISTS),
    (b"POST /inc HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", COUNTED_LAST, OLD),
    (b"POST /inc HTTP/1.0\r\nConnection: close\r\n\r\n", COUNTED_LAST, OLD),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", answered(&[200, 200], 2), PIPELINE),
    (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", answered(&[404, 200], 1), PIPELINE),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\nGET /inc HTTP/1.1\r\nHost: a\r\n\r\n", answered(&[200, 405], 1), PIPELINE),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\nPOST /inc HTTP/1.0\r\n\r\n", last(&[200, 200], 2), PIPELINE),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\nPOST /inc HTTP/1.1\r\n\r\n", last(&[200, 400], 1), INVALID),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\nPOST /inc HTTP/2.0\r\nHost: a\r\n\r\n", last(&[200, 505], 1), INVALID),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\nPOST /inc#x HTTP/1.1\r\nHost: a\r\n\r\n", last(&[200, 400], 1), INVALID),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", last(&[200, 400], 1), INVALID),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nnonsense\r\n\r\n", COUNTED_LAST, CLOSE),
    (b"POST /inc HTTP/1.1\r\nHost: a b\r\n\r\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", last(&[400], 0), INVALID),
    (
        b"POST /inc HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n",
        answered(&[200, 200], 2),
        PIPELINE,
    ),
    (
        b"POST /inc HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n",
        last(&[400], 0),
        INVALID,
    ),
    (
        b"POST /inc HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        last(&[400], 0),
        INVALID,
    ),
];

pub fn probes() -> Vec<Probe> {
    WHOLE.iter().map(|(sent, outcome, rule)| probe(*sent, *outcome, *rule)).collect()
}
