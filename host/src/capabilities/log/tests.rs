use proptest::{collection::vec, prelude::*};

use super::*;

#[test]
fn a_line_without_end_is_kept_to_its_bound() {
    let log = PluginLog::new("p".into(), 0);
    let mut writer = LineWriter { log, stream: "stdout", line: Vec::new() };
    for _ in 0..100 {
        writer.write(&[b'x'; 1000]);
    }
    assert_eq!(writer.line.len(), LINE_BYTES_MAX);
    writer.write(b"\nshort");
    assert_eq!(writer.line, b"short");
}

proptest! {
    #[test]
    fn lines_are_the_same_however_they_are_cut_and_none_is_longer_than_its_bound(
        bytes in vec(prop_oneof![8 => any::<u8>(), 1 => Just(b'\n')], 0..40),
        cuts in vec(0..20_000_usize, 0..8),
        repeated in 1..3_000_usize,
    ) {
        // Some lines without an end are longer than a line may be.
        let written: Vec<u8> = bytes.iter().flat_map(|byte| vec![*byte; if *byte == b'\n' { 1 } else { repeated }]).collect();
        let log = PluginLog::new("p".into(), 0);
        let [mut whole, mut cut] = [log.clone(), log].map(|log| LineWriter { log, stream: "stdout", line: Vec::new() });
        whole.write(&written);
        let mut rest = &written[..];
        for length in cuts.iter().chain([&usize::MAX]) {
            let (part, after) = rest.split_at((*length).min(rest.len()));
            cut.write(part);
            prop_assert!(cut.line.len() <= LINE_BYTES_MAX);
            rest = after;
        }
        prop_assert_eq!(&whole.line, &cut.line);
        let last = written.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        prop_assert_eq!(&whole.line[..], &last[..last.len().min(LINE_BYTES_MAX)]);
    }
}
