//! Times for programs and for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// As ms since 1970.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The last that has a text: the end of the year 9999.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;

/// Milliseconds since 1970 as a date and a time of day.
pub fn format(unix_ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(UNIX_MS_MAX));
    httpdate::fmt_http_date(time)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn every_number_is_a_date() {
        for (unix_ms, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_868_799_999, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(format(unix_ms), expected);
        }
    }
}
