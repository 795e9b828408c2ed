//! Host names, authorities and path segments.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, bail};

/// The socket addresses of a host name; at least one.
pub(super) fn resolve(host: &str, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let advice = "check --counter-host (COUNTER_HOST)";
    let addresses: Vec<_> = (bare, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot find the address of the host `{host}`: {advice}"))?
        .collect();
    if addresses.is_empty() {
        bail!("the host `{host}` has no address: {advice}");
    }
    Ok(addresses)
}

/// `host:port` as in a URL and in the Host header; an IPv6 address stands in brackets.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A key as one segment of a path: everything but unreserved characters is percent-encoded (RFC 3986, section 2.3).
/// The keys `.` and `..` are written with encoded dots, since a path could lose them otherwise.
pub(super) fn path_segment(key: &str) -> String {
    let only_dots = matches!(key, "." | "..");
    let mut segment = String::with_capacity(key.len());
    for byte in key.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || (byte == b'.' && !only_dots);
        if plain {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// What to say, and to do, when no connection can be made.
pub(super) fn nothing_answers(base: &str, reason: &str) -> String {
    if reason.contains("Too many open files") {
        return format!(
            "cannot connect to {base} (too many open files): use fewer clients, or raise `ulimit -n`"
        );
    }
    format!(
        "nothing answers at {base} ({reason}): start the server with `tally`, or set --counter-host and --counter-port"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        let cases = [
            ("localhost", "localhost:80"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("::1", "[::1]:80"),
            ("[::1]", "[::1]:80"),
        ];
        for (host, expected) in cases {
            assert_eq!(authority(host, 80), expected);
        }
        assert_eq!(
            resolve("[::1]", 80).expect("an address"),
            resolve("::1", 80).expect("an address")
        );
    }

    #[test]
    fn a_key_is_one_path_segment_whatever_it_holds() {
        let cases = [
            ("views", "views"),
            ("a/b", "a%2Fb"),
            ("a b?c#d%", "a%20b%3Fc%23d%25"),
            ("é", "%C3%A9"),
            ("..", "%2E%2E"),
            ("v1.2", "v1.2"),
        ];
        for (key, expected) in cases {
            assert_eq!(path_segment(key), expected);
        }
    }
}
