//! The request line: methods, versions, and what is between and around them.

use super::{COUNTED, COUNTED_LAST, MALFORMED, Outcome, Probe, Rule, answered, last, probe};

const REQUEST_LINE: Rule = Rule(
    "RFC 9112, section 3",
    "A request-line begins with a method token, followed by a single space (SP), the request-target, and another single \
     space (SP), and ends with the protocol version.",
);
const INVALID_LINE: Rule = Rule(
    "RFC 9112, section 3.2",
    "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad Request) error or a 301 (Moved \
     Permanently) redirect with the request-target properly encoded.",
);
const VERSION: Rule = Rule(
    "RFC 9112, section 2.3",
    "HTTP-version = HTTP-name \"/\" DIGIT \".\" DIGIT; HTTP-name = %s\"HTTP\"",
);
const MAJOR: Rule = Rule(
    "RFC 9110, section 15.6.6",
    "The 505 (HTTP Version Not Supported) status code indicates that the server does not support, or refuses to \
     support, the major version of HTTP that was used in the request message.",
);
const MINOR: Rule = Rule(
    "RFC 9110, section 2.5",
    "A recipient that receives a message with a major version number that it implements and a minor version number \
     higher than what it implements SHOULD process the message as if it was in the highest minor version within that \
     major version to which the recipient is conformant.",
);
const OLD: Rule = Rule(
    "RFC 9112, section 9.3",
    "If the received protocol is HTTP/1.0, the \"keep-alive\" connection option is present, either the recipient is not \
     a proxy or the message is a response, and the recipient wishes to honor the HTTP/1.0 \"keep-alive\" mechanism, the \
     connection will persist after the current response; otherwise, the connection will close after the current \
     response.",
);
const METHOD: Rule = Rule("RFC 9110, section 9.1", "The method token is case-sensitive.");
const NOT_ALLOWED: Rule = Rule(
    "RFC 9110, section 9.1",
    "An origin server that receives a request method that is recognized and implemented, but not allowed for the target \
     resource, SHOULD respond with the 405 (Method Not Allowed) status code.",
);
const LINE_ENDS: Rule = Rule(
    "RFC 9112, section 2.2",
    "Although the line terminator for the start-line and fields is the sequence CRLF, a recipient MAY recognize a \
     single LF as a line terminator and ignore any preceding CR.",
);
const BARE_CR: Rule = Rule(
    "RFC 9112, section 2.2",
    "A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP before \
     processing the element or forwarding the message.",
);
const EMPTY_LINES: Rule = Rule(
    "RFC 9112, section 2.2",
    "In the interest of robustness, a server that is expecting to receive and parse a request-line SHOULD ignore at \
     least one empty line (CRLF) received prior to the request-line.",
);
const LEADING_SPACE: Rule = Rule(
    "RFC 9112, section 2.2",
    "A recipient that receives whitespace between the start-line and the first header field MUST either reject the \
     message as invalid or consume each whitespace-preceded line without further processing of it",
);
const NOT_HTTP: Rule = Rule(
    "RFC 9112, section 2.2",
    "When a server listening only for HTTP request messages, or processing what appears from the start-line to be an \
     HTTP request message, receives a sequence of octets that does not match the HTTP-message grammar aside from the \
     robustness exceptions listed above, the server SHOULD respond with a 400 (Bad Request) response and close the \
     connection.",
);

const LINES: &[(&[u8], Outcome, Rule)] = &[
    (b"POST /inc HTTP/1.1", COUNTED, REQUEST_LINE),
    (b"GET /count HTTP/1.1", answered(&[200], 0), REQUEST_LINE),
    (b"HEAD /count HTTP/1.1", answered(&[200], 0), REQUEST_LINE),
    (b"post /inc HTTP/1.1", answered(&[405], 0), METHOD),
    (b"Post /inc HTTP/1.1", answered(&[405], 0), METHOD),
    (b"GET /inc HTTP/1.1", answered(&[405], 0), NOT_ALLOWED),
    (b"PUT /inc HTTP/1.1", answered(&[405], 0), NOT_ALLOWED),
    (b"TRACE /inc HTTP/1.1", answered(&[405], 0), NOT_ALLOWED),
    (b"OPTIONS /inc HTTP/1.1", answered(&[405], 0), NOT_ALLOWED),
    (b"X-%$ /inc HTTP/1.1", answered(&[405], 0), NOT_ALLOWED),
    (b"PO(ST /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"PO\"ST /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"PO:ST /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"PO\xc3\x96ST /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"PO\x00ST /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b" /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b" POST /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"\tPOST /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST  /inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST /inc  HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST\t/inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST /inc\tHTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST\x0b/inc HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST /inc\x0cHTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST /inc HTTP/1.1 ", MALFORMED, INVALID_LINE),
    (b"POST /inc HTTP/1.1\t", MALFORMED, INVALID_LINE),
    (b"POST /inc x HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST /inc HTTP/1.1 x", MALFORMED, INVALID_LINE),
    (b"POST /inc", MALFORMED, INVALID_LINE),
    (b"POST", MALFORMED, INVALID_LINE),
    (b"POST HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"POST  HTTP/1.1", MALFORMED, INVALID_LINE),
    (b"/inc", MALFORMED, INVALID_LINE),
    (b"HTTP/1.1 200 OK", MALFORMED, INVALID_LINE),
    (b"nonsense", MALFORMED, INVALID_LINE),
    (b"POST /inc HTTP/1.0", COUNTED_LAST, OLD),
    (b"GET /inc HTTP/1.0", last(&[405], 0), OLD),
    (b"POST /inc HTTP/1.2", COUNTED, MINOR),
    (b"POST /inc HTTP/1.9", COUNTED, MINOR),
    (b"POST /inc HTTP/0.9", last(&[505], 0), MAJOR),
    (b"POST /inc HTTP/2.0", last(&[505], 0), MAJOR),
    (b"POST /inc HTTP/3.0", last(&[505], 0), MAJOR),
    (b"POST /inc HTTP/9.9", last(&[505], 0), MAJOR),
    (b"PRI * HTTP/2.0", last(&[505], 0), MAJOR),
    (b"POST /inc HTTP/2", MALFORMED, VERSION),
    (b"POST /inc HTTP/1", MALFORMED, VERSION),
    (b"POST /inc HTTP/1.", MALFORMED, VERSION),
    (b"POST /inc HTTP/.1", MALFORMED, VERSION),
    (b"POST /inc HTTP/11", MALFORMED, VERSION),
    (b"POST /inc HTTP/1.10", MALFORMED, VERSION),
    (b"POST /inc HTTP/01.1", MALFORMED, VERSION),
    (b"POST /inc HTTP/1,1", MALFORMED, VERSION),
    (b"POST /inc HTTP/1.x", MALFORMED, VERSION),
    (b"POST /inc HTTP/-1.1", MALFORMED, VERSION),
    (b"POST /inc HTTP 1.1", MALFORMED, VERSION),
    (b"POST /inc HTTP/ 1.1", MALFORMED, VERSION),
    (b"POST /inc http/1.1", MALFORMED, VERSION),
    (b"POST /inc Http/1.1", MALFORMED, VERSION),
    (b"POST /inc HTTPS/1.1", MALFORMED, VERSION),
    (b"POST /inc XTTP/1.1", MALFORMED, VERSION),
    (b"POST /inc 1.1", MALFORMED, VERSION),
    (b"POST /inc HTTP/\xef\xbc\x91.1", MALFORMED, VERSION),
];

const WHOLE: &[(&[u8], Outcome, Rule)] = &[
    (b"\r\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", COUNTED, EMPTY_LINES),
    (b"\r\n\r\n\r\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", COUNTED, EMPTY_LINES),
    (b"\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", MALFORMED, LINE_ENDS),
    (b"\rPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", MALFORMED, BARE_CR),
    (b" \r\nPOST /inc HTTP/1.1\r\nHost: a\r\n\r\n", MALFORMED, NOT_HTTP),
    (b"POST /inc HTTP/1.1\nHost: a\r\n\r\n", MALFORMED, LINE_ENDS),
    (b"POST /inc HTTP/1.1\r\nHost: a\n\r\n", MALFORMED, LINE_ENDS),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\n", MALFORMED, LINE_ENDS),
    (b"POST /inc HTTP/1.1\nHost: a\n\n", MALFORMED, LINE_ENDS),
    (b"POST /inc HTTP/1.1\rHost: a\r\r", MALFORMED, BARE_CR),
    (b"POST /inc HTTP/1.1\r\rHost: a\r\n\r\n", MALFORMED, BARE_CR),
    (b"POST /inc HTTP/1.1\r\r\nHost: a\r\n\r\n", MALFORMED, BARE_CR),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\r\n\r\n", MALFORMED, BARE_CR),
    (b"POST /i\rnc HTTP/1.1\r\nHost: a\r\n\r\n", MALFORMED, BARE_CR),
    (b"POST /inc HTTP/1.1\r\n Host: a\r\n\r\n", MALFORMED, LEADING_SPACE),
    (b"POST /inc HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n", MALFORMED, LEADING_SPACE),
    (b"POST /inc HTTP/1.1\r\n \r\nHost: a\r\n\r\n", MALFORMED, LEADING_SPACE),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", last(&[505], 0), MAJOR),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", MALFORMED, NOT_HTTP),
    (b"\x00\x00\x00\x00", MALFORMED, NOT_HTTP),
    (b"{\"by\":5}\r\n", MALFORMED, NOT_HTTP),
];

pub fn probes() -> Vec<Probe> {
    let with_host = |line: &[u8]| [line, b"\r\nHost: a\r\n\r\n"].concat();
    let lines = LINES.iter().map(|(line, outcome, rule)| probe(with_host(line), *outcome, *rule));
    lines.chain(WHOLE.iter().map(|(sent, outcome, rule)| probe(*sent, *outcome, *rule))).collect()
}
