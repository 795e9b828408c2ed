//! Where a key's file is, relative to the granted directory.

use alloc::{format, string::String};

use tally_plugin::DEFAULT_KEY;

/// The longest part of a path between two slashes that leaves room for an ending;
/// file systems allow 255 bytes.
const SEGMENT_BYTES: usize = 200;

/// The path of the file that holds `key`, when the default counter is in `file`.
///
/// The other counters are in the folder `{file}.keys`. Their names are percent-encoded but for
/// letters, digits, `_` and `-`, and cut into folders where a file name would become too long.
/// Only the last part has the ending `.txt`, so no key's file is in the way of another's folder.
pub fn of_key(file: &str, key: &str) -> String {
    if key == DEFAULT_KEY {
        return file.into();
    }
    let mut path = format!("{file}.keys");
    for (idx, byte) in encode(key).bytes().enumerate() {
        if idx % SEGMENT_BYTES == 0 {
            path.push('/');
        }
        path.push(char::from(byte));
    }
    path.push_str(".txt");
    path
}

fn encode(key: &str) -> String {
    let mut encoded = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_become_readable_paths() {
        for (key, path) in [
            ("count", "count.txt"),
            ("user-7", "count.txt.keys/user-7.txt"),
            ("a/b", "count.txt.keys/a%2Fb.txt"),
            ("..", "count.txt.keys/%2E%2E.txt"),
            ("é", "count.txt.keys/%C3%A9.txt"),
        ] {
            assert_eq!(of_key("count.txt", key), path);
        }
    }

    proptest! {
        #[test]
        fn every_key_has_a_path_of_its_own_that_file_systems_allow(
            key in "(?s).{1,64}|[a-c/%]{1,256}",
            other in "(?s).{1,64}|[a-c/%]{1,256}",
        ) {
            let path = of_key("f", &key);
            prop_assert!(path.split('/').all(|part| part.len() <= 255 && part != ".." && !part.is_empty()));
            prop_assert_eq!(path == of_key("f", &other), key == other);
        }
    }
}
