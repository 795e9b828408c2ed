//! How headers are written, and how many there may be.

use super::{COUNTED, MALFORMED, Outcome, Probe, Rule, inc, last, probe};

const FIELD: Rule =
    Rule("RFC 9112, section 5", "field-line = field-name \":\" OWS field-value OWS");
const NAME: Rule = Rule("RFC 9110, section 5.1", "field-name = token");
const COLON: Rule = Rule(
    "RFC 9112, section 5.1",
    "A server MUST reject, with a response status code of 400 (Bad Request), any received request message that contains \
     whitespace between a header field name and colon.",
);
const FOLDED: Rule = Rule(
    "RFC 9112, section 5.2",
    "A server that receives an obs-fold in a request message that is not within a \"message/http\" container MUST either \
     reject the message by sending a 400 (Bad Request), preferably with a representation explaining that obsolete line \
     folding is unacceptable, or replace each received obs-fold with one or more SP octets prior to interpreting the \
     field value or forwarding the message downstream.",
);
const VALUE: Rule = Rule(
    "RFC 9110, section 5.5",
    "Field values containing CR, LF, or NUL characters are invalid and dangerous, due to the varying ways that \
     implementations might parse and interpret those characters; a recipient of CR, LF, or NUL within a field value \
     MUST either reject the message or replace each of those characters with SP before further processing or forwarding \
     of that message.",
);
const CONTROL: Rule = Rule(
    "RFC 9110, section 5.5",
    "Field values containing other CTL characters are also invalid; however, recipients MAY retain such characters for \
     the sake of robustness when they appear within a safe context",
);
const OBS_TEXT: Rule = Rule(
    "RFC 9110, section 5.5",
    "A recipient SHOULD treat other allowed octets in field content (i.e., obs-text) as opaque data.",
);
const TOO_LARGE: Rule = Rule(
    "RFC 6585, section 5",
    "The 431 status code indicates that the server is unwilling to process the request because its header fields are too \
     large.",
);
const IGNORED: Rule = Rule(
    "RFC 9110, section 5.1",
    "Other recipients SHOULD ignore unrecognized header and trailer fields.",
);
const UPGRADE: Rule = Rule(
    "RFC 9110, section 7.8",
    "A server MAY ignore a received Upgrade header field if it wishes to continue using the current protocol on that connection.",
);
const EXPECT: Rule = Rule(
    "RFC 9110, section 10.1.1",
    "A server that receives an Expect field value containing a member other than 100-continue MAY respond with a 417 \
     (Expectation Failed) status code to indicate that the unexpected expectation cannot be met.",
);

const LINES: &[(&[u8], Outcome, Rule)] = &[
    (b"X: y\r\n", COUNTED, FIELD),
    (b"X:y\r\n", COUNTED, FIELD),
    (b"X:\r\n", COUNTED, FIELD),
    (b"X: \t y z \t \r\n", COUNTED, FIELD),
    (b"X: a\tb\r\n", COUNTED, FIELD),
    (b"X: :\r\n", COUNTED, FIELD),
    (b"X: y\r\nX: z\r\n", COUNTED, IGNORED),
    (b"!#$%&'*+-.^_`|~0aZ: y\r\n", COUNTED, NAME),
    (b"X: \xc3\xa4\xff\r\n", COUNTED, OBS_TEXT),
    (b"X : y\r\n", MALFORMED, COLON),
    (b"X\t: y\r\n", MALFORMED, COLON),
    (b"Content-Length : 2\r\n", MALFORMED, COLON),
    (b"Transfer-Encoding : chunked\r\n", MALFORMED, COLON),
    (b": y\r\n", MALFORMED, NAME),
    (b":\r\n", MALFORMED, NAME),
    (b"X\r\n", MALFORMED, FIELD),
    (b"X y\r\n", MALFORMED, FIELD),
    (b"X Y: z\r\n", MALFORMED, NAME),
    (b"X(: y\r\n", MALFORMED, NAME),
    (b"X/Y: z\r\n", MALFORMED, NAME),
    (b"X@Y: z\r\n", MALFORMED, NAME),
    (b"X[]: y\r\n", MALFORMED, NAME),
    (b"\"X\": y\r\n", MALFORMED, NAME),
    (b"X\\: y\r\n", MALFORMED, NAME),
    (b"{X}: y\r\n", MALFORMED, NAME),
    (b"X\xc3\xa4: y\r\n", MALFORMED, NAME),
    (b"X\xff: y\r\n", MALFORMED, NAME),
    (b"X\x00: y\r\n", MALFORMED, NAME),
    (b"\x0bX: y\r\n", MALFORMED, NAME),
    (b"X: y\x00\r\n", MALFORMED, VALUE),
    (b"X: \x00\r\n", MALFORMED, VALUE),
    (b"X: a\rb\r\n", MALFORMED, VALUE),
    (b"X: a\nb\r\n", MALFORMED, VALUE),
    (b"X: a\nY: b\r\n", MALFORMED, VALUE),
    (b"X: y\x01\r\n", MALFORMED, CONTROL),
    (b"X: y\x0b\r\n", MALFORMED, CONTROL),
    (b"X: \x0cy\r\n", MALFORMED, CONTROL),
    (b"X: y\x1b[0m\r\n", MALFORMED, CONTROL),
    (b"X: y\x7f\r\n", MALFORMED, CONTROL),
    (b"X: y\r\n z\r\n", MALFORMED, FOLDED),
    (b"X: y\r\n\tz\r\n", MALFORMED, FOLDED),
    (b"X:\r\n y\r\n", MALFORMED, FOLDED),
    (b"X: y\r\n \r\n", MALFORMED, FOLDED),
    (b"X: y\r\n Transfer-Encoding: chunked\r\n", MALFORMED, FOLDED),
    (
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: \r\n",
        COUNTED,
        UPGRADE,
    ),
    (b"Upgrade: websocket\r\nConnection: upgrade\r\n", COUNTED, UPGRADE),
    (b"Expect: something\r\n", COUNTED, EXPECT),
    (b"X-HTTP-Method-Override: GET\r\n", COUNTED, IGNORED),
    (b"X-Forwarded-Host: b c\r\n", COUNTED, IGNORED),
];

pub fn probes() -> Vec<Probe> {
    let lines = LINES.iter().map(|(lines, outcome, rule)| probe(inc(lines, b""), *outcome, *rule));
    let many = |count| "x: y\r\n".repeat(count);
    let too_large = last(&[431], 0);
    let sizes = [
        // One is the host.
        (many(99), COUNTED),
        (many(100), too_large),
        (many(1000), too_large),
        (format!("x: {}\r\n", "y".repeat(7000)), COUNTED),
        (format!("x: {}\r\n", "y".repeat(8192)), too_large),
        (format!("x: {}\r\n", "y".repeat(100_000)), too_large),
        (format!("{}: y\r\n", "x".repeat(8192)), too_large),
    ];
    let sizes = sizes.map(|(lines, outcome)| probe(inc(lines.as_bytes(), b""), outcome, TOO_LARGE));
    lines.chain(sizes).collect()
}
