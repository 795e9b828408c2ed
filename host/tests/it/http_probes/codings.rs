//! `content-length`, `transfer-encoding`, and both.

use super::{COUNTED, MALFORMED, Outcome, Probe, Rule, answered, inc, last, probe};

const LENGTH: Rule = Rule("RFC 9110, section 8.6", "Content-Length = 1*DIGIT");
const INVALID_LENGTH: Rule = Rule(
    "RFC 9112, section 6.3",
    "If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then the message \
     framing is invalid and the recipient MUST treat it as an unrecoverable error",
);
const REPEATED_LENGTH: Rule = Rule(
    "RFC 9110, section 8.6",
    "a recipient of a message that has Content-Length with a field value consisting of the same decimal value as a \
     comma-separated list, or multiple such fields, MUST either reject the message as invalid or replace the duplicated \
     field values with a single valid Content-Length",
);
const HUGE: Rule = Rule(
    "RFC 9110, section 8.6",
    "Because there is no predefined limit to the length of content, a recipient MUST anticipate potentially large decimal \
     numerals and prevent parsing errors due to integer conversion overflows or precision loss due to integer conversion",
);
const TOO_LARGE: Rule = Rule(
    "RFC 9110, section 15.5.14",
    "The server MAY terminate the request, if the protocol version in use allows it; otherwise, the server MAY close the \
     connection.",
);
const BOTH: Rule = Rule(
    "RFC 9112, section 6.1",
    "A server MAY reject a request that contains both Content-Length and Transfer-Encoding or process such a request in \
     accordance with the Transfer-Encoding alone. Regardless, the server MUST close the connection after responding to \
     such a request to avoid the potential attacks.",
);
const CHUNKED: Rule = Rule(
    "RFC 9112, section 7",
    "Transfer coding names are case-insensitive and ought to be registered within the HTTP Transfer Coding registry",
);
const TWICE: Rule = Rule(
    "RFC 9112, section 6.1",
    "A sender MUST NOT apply the chunked transfer coding more than once to a message body",
);
const UNKNOWN: Rule = Rule(
    "RFC 9112, section 6.1",
    "A server that receives a request message with a transfer coding it does not understand SHOULD respond with 501 (Not \
     Implemented).",
);
const NOT_LAST: Rule = Rule(
    "RFC 9112, section 6.3",
    "If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the final \
     encoding, the message body length cannot be determined reliably; the server MUST respond with the 400 (Bad Request) \
     status code and then close the connection.",
);
const PARAMETERS: Rule = Rule(
    "RFC 9112, section 7.1",
    "The chunked coding does not define any parameters. Their presence SHOULD be treated as an error.",
);
const LIST: Rule = Rule(
    "RFC 9110, section 5.6.1.1",
    "In any production that uses the list construct, a sender MUST NOT generate empty list elements.",
);
const OLD: Rule = Rule(
    "RFC 9112, section 6.1",
    "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the \
     message as if the framing is faulty, even if a Content-Length is present, and close the connection after processing \
     the message.",
);

const REFUSED: Outcome = last(&[501], 0);
const LARGE: Outcome = last(&[413], 0);

const LENGTHS: &[(&[u8], Outcome, Rule)] = &[
    (b"Content-Length: 0\r\n", COUNTED, LENGTH),
    (b"Content-Length: 000\r\n", COUNTED, LENGTH),
    (b"Content-Length:\t0 \r\n", COUNTED, LENGTH),
    (b"Content-Length:\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: \r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: -1\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: -0\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: +0\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: +5\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: 0x0\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: 0x5\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: 0.0\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: 1e0\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: 0 0\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: 1_0\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: \"0\"\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: 0;\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: nothing\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: \xd9\xa0\r\n", MALFORMED, INVALID_LENGTH),
    (b"Content-Length: 0\r\nContent-Length: 0\r\n", MALFORMED, REPEATED_LENGTH),
    (b"Content-Length: 0\r\ncontent-length: 5\r\n", MALFORMED, REPEATED_LENGTH),
    (b"Content-Length: 5\r\nContent-Length: 0\r\n", MALFORMED, REPEATED_LENGTH),
    (b"Content-Length: 0\r\nContent-Length:\r\n", MALFORMED, REPEATED_LENGTH),
    (b"Content-Length: 0, 0\r\n", MALFORMED, REPEATED_LENGTH),
    (b"Content-Length: 5, 6\r\n", MALFORMED, REPEATED_LENGTH),
    (b"Content-Length: ,0\r\n", MALFORMED, REPEATED_LENGTH),
    (b"Content-Length: 4097\r\n", LARGE, TOO_LARGE),
    (b"Content-Length: 2147483648\r\n", LARGE, HUGE),
    (b"Content-Length: 4294967296\r\n", LARGE, HUGE),
    (b"Content-Length: 9223372036854775807\r\n", LARGE, HUGE),
    (b"Content-Length: 9223372036854775808\r\n", LARGE, HUGE),
    (b"Content-Length: 18446744073709551613\r\n", LARGE, HUGE),
    (b"Content-Length: 18446744073709551614\r\n", LARGE, HUGE),
    (b"Content-Length: 18446744073709551615\r\n", LARGE, HUGE),
    (b"Content-Length: 18446744073709551616\r\n", LARGE, HUGE),
    (b"Content-Length: 340282366920938463463374607431768211456\r\n", LARGE, HUGE),
];

/// With an empty body in chunks.
const CODINGS: &[(&[u8], Outcome, Rule)] = &[
    (b"Transfer-Encoding: chunked\r\n", COUNTED, CHUNKED),
    (b"Transfer-Encoding: Chunked\r\n", COUNTED, CHUNKED),
    (b"transfer-encoding:CHUNKED\t\r\n", COUNTED, CHUNKED),
    (b"Transfer-Encoding: chunked, chunked\r\n", MALFORMED, TWICE),
    (b"Transfer-Encoding: chunked,chunked,chunked\r\n", MALFORMED, TWICE),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", MALFORMED, TWICE),
    (b"Transfer-Encoding: chunked, gzip, chunked\r\n", MALFORMED, TWICE),
    (b"Transfer-Encoding: gzip, chunked\r\n", REFUSED, UNKNOWN),
    (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", REFUSED, UNKNOWN),
    (b"Transfer-Encoding: x;y=z, chunked\r\n", REFUSED, UNKNOWN),
    (b"Transfer-Encoding: identity, chunked\r\n", REFUSED, UNKNOWN),
    (b"Transfer-Encoding: chunkedx, chunked\r\n", REFUSED, UNKNOWN),
    (b"Transfer-Encoding: chunked, gzip\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: gzip\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: identity\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: x\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: xchunked\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: chunkedx\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: chunked x\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: \"chunked\"\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: 'chunked'\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: chunked;\r\n", MALFORMED, PARAMETERS),
    (b"Transfer-Encoding: chunked;x=y\r\n", MALFORMED, PARAMETERS),
    (b"Transfer-Encoding: chunked ; x\r\n", MALFORMED, PARAMETERS),
    (b"Transfer-Encoding:\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: ,\r\n", MALFORMED, LIST),
    (b"Transfer-Encoding: ,chunked\r\n", MALFORMED, LIST),
    (b"Transfer-Encoding: chunked,\r\n", MALFORMED, LIST),
    (b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", MALFORMED, LIST),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", MALFORMED, LIST),
    (b"Transfer-Encoding: \xc4\xb7hunked\r\n", MALFORMED, NOT_LAST),
    (b"Transfer-Encoding: chunked\x0b\r\n", MALFORMED, NOT_LAST),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", MALFORMED, BOTH),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", MALFORMED, BOTH),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", MALFORMED, BOTH),
    (b"Transfer-Encoding: x\r\nContent-Length: 5\r\n", MALFORMED, BOTH),
    (b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", MALFORMED, BOTH),
    (b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", answered(&[400], 0), LENGTH),
];

pub fn probes() -> Vec<Probe> {
    let lengths =
        LENGTHS.iter().map(|(lines, outcome, rule)| probe(inc(lines, b""), *outcome, *rule));
    let codings = CODINGS
        .iter()
        .map(|(lines, outcome, rule)| probe(inc(lines, b"0\r\n\r\n"), *outcome, *rule));
    let old = [
        &b"POST /inc HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"[..],
        b"POST /inc HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /inc HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n",
    ];
    lengths.chain(codings).chain(old.map(|sent| probe(sent, MALFORMED, OLD))).collect()
}
