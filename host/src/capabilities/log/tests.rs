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
