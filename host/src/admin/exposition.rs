//! `GET /metrics`, in the format that is asked for.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
};

use super::Shared;
use crate::metrics::Format;

/// What can be answered. The first of those that are wanted alike is taken: what asks for nothing is people with curl,
/// and scrapers from before OpenMetrics.
const FORMATS: [Offer; 2] = [
    Offer {
        format: Format::Classic,
        kind: "text",
        subtype: "plain",
        version: "0.0.4",
        content_type: "text/plain; version=0.0.4; charset=utf-8",
    },
    Offer {
        format: Format::OpenMetrics,
        kind: "application",
        subtype: "openmetrics-text",
        version: "1.0.0",
        content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
    },
];

struct Offer {
    format: Format,
    kind: &'static str,
    subtype: &'static str,
    version: &'static str,
    content_type: &'static str,
}

pub async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let offer = choose(&accepted.collect::<Vec<_>>().join(","));
    let page = shared.admin.metrics.encode(offer.format);
    ([(header::CONTENT_TYPE, offer.content_type), (header::VARY, "accept")], page)
}

/// The offer that is wanted most. Where none is wanted it is the first, as without the header, which RFC 9110 allows.
fn choose(accept: &str) -> &'static Offer {
    let ranges: Vec<Range> = parts(accept, ',').filter_map(Range::parse).collect();
    let mut best = (&FORMATS[0], 0);
    for offer in &FORMATS {
        // The most specific range decides, whatever its weight.
        let matching =
            ranges.iter().filter_map(|range| Some((range.matches(offer)?, range.weight)));
        let weight = matching.max().map_or(0, |(_, weight)| weight);
        if best.1 < weight {
            best = (offer, weight);
        }
    }
    best.0
}

/// One range of media types, as in section 12.5.1 of RFC 9110.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    weight: u16,
}

impl<'a> Range<'a> {
    /// None for what is malformed.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = parts(text, ';');
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range =
            Self { kind: kind.trim(), subtype: subtype.trim(), version: None, weight: 1000 };
        for parameter in parts {
            let (name, value) = parameter.split_once('=')?;
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("q") => range.weight = weight(value)?,
                name if name.eq_ignore_ascii_case("version") => range.version = Some(value),
                // Such as the charset, which is always the same, and how names are escaped, which none needs to be.
                _ => {}
            }
        }
        Some(range)
    }

    /// How specific it is, if `offer` is in it.
    fn matches(&self, offer: &Offer) -> Option<u8> {
        let is = |range: &str, offered: &str| range.eq_ignore_ascii_case(offered);
        match (self.kind, self.subtype, self.version) {
            ("*", "*", None) => Some(0),
            (kind, "*", None) if is(kind, offer.kind) => Some(1),
            (kind, subtype, version) if is(kind, offer.kind) && is(subtype, offer.subtype) => {
                match version {
                    None => Some(2),
                    Some(version) => (version == offer.version).then_some(3),
                }
            }
            _ => None,
        }
    }
}

/// A weight of up to three decimals, in thousandths.
fn weight(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok()?;
    (text.len() <= "0.000".len() && (0.0..=1.0).contains(&weight))
        .then(|| (weight * 1000.0).round() as u16)
}

/// The parts between separators that do not stand in quotes.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_most_is_answered() {
        use Format::{Classic, OpenMetrics};
        for (accept, format) in [
            ("", Classic),
            ("*/*", Classic),
            ("text/*", Classic),
            ("application/*", OpenMetrics),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text; version=\"1,0;q=0\", text/plain;q=0.1", Classic),
            ("application/openmetrics-text; version=0.0.1", Classic),
            ("text/plain;version=0.0.4", Classic),
            ("text/plain;q=0.4,application/openmetrics-text;q=0.5", OpenMetrics),
            ("text/plain;q=0.5,application/openmetrics-text;q=0.499", Classic),
            ("application/openmetrics-text, text/plain", Classic),
            ("*/*, text/plain;q=0.5", OpenMetrics),
            ("*/*;q=0.9, text/plain;q=0", OpenMetrics),
            ("application/openmetrics-text;q=0, */*", Classic),
            ("application/openmetrics-text;q=2, text/plain;q=0.1", Classic),
            ("application/openmetrics-text;q=NaN", Classic),
            ("application/json", Classic),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", Classic),
            // Prometheus 2 and 3, one that asks for its protobuf first, and promtool's library.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Classic,
            ),
        ] {
            assert_eq!(choose(accept).format, format, "{accept}");
        }
    }
}
