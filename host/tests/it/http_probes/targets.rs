//! What a request is for.

use super::{COUNTED, MALFORMED, Outcome, Probe, Rule, answered, last, probe};

const FORMS: Rule = Rule(
    "RFC 9112, section 3.2",
    "request-target = origin-form / absolute-form / authority-form / asterisk-form",
);
const INVALID: Rule = Rule(
    "RFC 9112, section 3.2",
    "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad Request) error or a 301 (Moved \
     Permanently) redirect with the request-target properly encoded.",
);
const FRAGMENT: Rule = Rule(
    "RFC 9110, section 7.1",
    "The target URI excludes the reference's fragment component, if any",
);
const ABSOLUTE: Rule = Rule(
    "RFC 9112, section 3.2.2",
    "To allow for transition to the absolute-form for all requests in some future version of HTTP, a server MUST accept \
     the absolute-form in requests, even though HTTP/1.1 clients will only send the absolute-form in requests to proxies.",
);
const OTHER_HOST: Rule = Rule(
    "RFC 9112, section 3.2.2",
    "When an origin server receives a request with an absolute-form of request-target, the origin server MUST ignore \
     the received Host header field (if any) and instead use the host information of the request-target.",
);
const USERINFO: Rule = Rule(
    "RFC 9110, section 4.2.4",
    "Before making use of an \"http\" or \"https\" URI reference received from an untrusted source, a recipient SHOULD \
     parse for userinfo and treat its presence as an error; it is likely being used to obscure the authority for the \
     sake of phishing attacks.",
);
const SECURED: Rule = Rule(
    "RFC 9110, section 7.4",
    "In particular, a request for an \"https\" resource MUST be rejected unless it has been received over a connection \
     that has been secured via a certificate valid for that target URI's origin",
);
const EMPTY_HOST: Rule = Rule(
    "RFC 9110, section 4.2.1",
    "A recipient that processes such a URI reference MUST reject it as invalid.",
);
const ASTERISK: Rule = Rule(
    "RFC 9112, section 3.2.4",
    "The asterisk-form of request-target is only used for a server-wide OPTIONS request",
);
const AUTHORITY: Rule = Rule(
    "RFC 9112, section 3.2.3",
    "The authority-form of request-target is only used for CONNECT requests",
);
const CONNECT_PORT: Rule = Rule(
    "RFC 9110, section 9.3.6",
    "A server MUST reject a CONNECT request that targets an empty or invalid port number, typically by responding with \
     a 400 (Bad Request) status code.",
);
const CONNECT: Rule = Rule(
    "RFC 9110, section 9.3.6",
    "An origin server MAY accept a CONNECT request, but most origin servers do not implement CONNECT.",
);
const TOO_LONG: Rule = Rule(
    "RFC 9112, section 3",
    "A server that receives a request-target longer than any URI it wishes to parse MUST respond with a 414 (URI Too \
     Long) status code",
);
const NOT_FOUND: Rule = Rule(
    "RFC 9110, section 15.5.5",
    "The 404 (Not Found) status code indicates that the origin server did not find a current representation for the \
     target resource or is not willing to disclose that one exists.",
);

/// Method and target.
const TARGETS: &[(&[u8], Outcome, Rule)] = &[
    (b"POST /inc?", COUNTED, FORMS),
    (b"GET /livez?a=b&c=%20;,:@!$'()*+-._~/?", answered(&[200], 0), FORMS),
    (b"POST //inc", answered(&[404], 0), NOT_FOUND),
    (b"POST /./inc", answered(&[404], 0), NOT_FOUND),
    (b"POST /x/../inc", answered(&[404], 0), NOT_FOUND),
    (b"POST /inc/", answered(&[404], 0), NOT_FOUND),
    (b"POST /%", answered(&[404], 0), NOT_FOUND),
    (b"GET /", answered(&[404], 0), NOT_FOUND),
    (b"POST /inc#", MALFORMED, FRAGMENT),
    (b"POST /inc#x", MALFORMED, FRAGMENT),
    (b"POST /inc?#x", MALFORMED, FRAGMENT),
    (b"POST #/inc", MALFORMED, FRAGMENT),
    (b"POST http://a/inc#x", MALFORMED, FRAGMENT),
    (b"POST inc", MALFORMED, INVALID),
    (b"POST ?inc", MALFORMED, INVALID),
    (b"POST \\inc", MALFORMED, INVALID),
    (b"GET /livez\\x", MALFORMED, INVALID),
    (b"GET /livez?\"", MALFORMED, INVALID),
    (b"GET /livez?<x>", MALFORMED, INVALID),
    (b"GET /livez?x[]", MALFORMED, INVALID),
    (b"GET /livez?x^", MALFORMED, INVALID),
    (b"GET /livez?`x`", MALFORMED, INVALID),
    (b"GET /livez?{x}", MALFORMED, INVALID),
    (b"GET /livez?a|b", MALFORMED, INVALID),
    (b"POST /counters/\xc3\xa4/inc", MALFORMED, INVALID),
    (b"POST /counters/\xff/inc", MALFORMED, INVALID),
    (b"POST /counters/\x00/inc", MALFORMED, INVALID),
    (b"POST /counters/\x7f/inc", MALFORMED, INVALID),
    (b"POST /counters/a\x1fb/inc", MALFORMED, INVALID),
    (b"POST http://a/inc", COUNTED, ABSOLUTE),
    (b"POST HTTP://a/inc", COUNTED, ABSOLUTE),
    (b"POST http://a:80/inc?", COUNTED, ABSOLUTE),
    (b"POST http://[::1]:80/inc", COUNTED, ABSOLUTE),
    (b"POST http://b/inc", COUNTED, OTHER_HOST),
    (b"GET http://a", answered(&[404], 0), ABSOLUTE),
    (b"GET http://a?x", answered(&[404], 0), ABSOLUTE),
    (b"POST http://x@a/inc", MALFORMED, USERINFO),
    (b"POST http://x:y@a/inc", MALFORMED, USERINFO),
    (b"POST https://a/inc", MALFORMED, SECURED),
    (b"POST ftp://a/inc", MALFORMED, INVALID),
    (b"POST http:/inc", MALFORMED, EMPTY_HOST),
    (b"POST http:///inc", MALFORMED, EMPTY_HOST),
    (b"POST http://:80/inc", MALFORMED, EMPTY_HOST),
    (b"POST http://a:b/inc", MALFORMED, INVALID),
    (b"POST http://a:65536/inc", MALFORMED, INVALID),
    (b"POST http://[::1/inc", MALFORMED, INVALID),
    (b"POST http://a,b/inc", MALFORMED, INVALID),
    (b"POST http://%61/inc", MALFORMED, INVALID),
    (b"POST *", MALFORMED, ASTERISK),
    (b"GET *", MALFORMED, ASTERISK),
    (b"OPTIONS *", answered(&[404], 0), ASTERISK),
    (b"POST a:80", MALFORMED, AUTHORITY),
    (b"GET a", MALFORMED, AUTHORITY),
    (b"CONNECT /inc", MALFORMED, AUTHORITY),
    (b"CONNECT a", MALFORMED, CONNECT_PORT),
    (b"CONNECT a:", MALFORMED, CONNECT_PORT),
    (b"CONNECT a:x", MALFORMED, CONNECT_PORT),
    (b"CONNECT a:65536", MALFORMED, CONNECT_PORT),
    (b"CONNECT a:80", last(&[501], 0), CONNECT),
];

pub fn probes() -> Vec<Probe> {
    let whole = |line: &[u8]| [line, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let long = whole(format!("GET /{}", "x".repeat(8192)).as_bytes());
    let longer = whole(format!("GET /{}", "x".repeat(100_000)).as_bytes());
    let long = [long, longer].map(|sent| probe(sent, last(&[414], 0), TOO_LONG));
    let targets = TARGETS.iter().map(|(line, outcome, rule)| probe(whole(line), *outcome, *rule));
    targets.chain(long).collect()
}
