//! Metrics in Prometheus' text format 0.0.4.

use std::fmt::Write;

/// Says the same as a page of OpenMetrics without exemplars. The formats differ in the names of families: a counter's
/// is that of its samples here, with `_total`; in the lack of infos; and in what is said of units and the end.
pub fn from_open_metrics(page: &str) -> String {
    let mut classic = String::with_capacity(page.len());
    // It comes before the type, on which the family's name depends.
    let mut help = "";
    for line in page.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            help = said.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(said) = line.strip_prefix("# TYPE ") {
            let (name, kind) = said.split_once(' ').unwrap_or((said, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            let family = format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
            classic.push_str(&family);
        } else if !line.starts_with('#') {
            writeln!(classic, "{line}").expect("writing to a string");
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_the_names_of_their_samples() {
        let page = "# HELP a Some.\n# TYPE a counter\na_total{b=\"# EOF\"} 1\n\
                    # HELP c This.\n# TYPE c info\nc_info{d=\"1\"} 1\n\
                    # HELP e_seconds Time.\n# TYPE e_seconds histogram\n# UNIT e_seconds seconds\n\
                    e_seconds_sum 0.5\n# EOF\n";
        assert_eq!(
            from_open_metrics(page),
            "# HELP a_total Some.\n# TYPE a_total counter\na_total{b=\"# EOF\"} 1\n\
             # HELP c_info This.\n# TYPE c_info gauge\nc_info{d=\"1\"} 1\n\
             # HELP e_seconds Time.\n# TYPE e_seconds histogram\ne_seconds_sum 0.5\n"
        );
    }
}
