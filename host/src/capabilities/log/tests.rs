use super::*;

#[test]
fn lines_beyond_the_ration_are_counted_and_dropped() {
    let log = PluginLog::new("p".into(), 2);
    let start = log.window.lock().unwrap().began;
    let at = |ms| log.ration(start + Duration::from_millis(ms));
    let logged = |dropped_before| Ration::Log { dropped_before };
    assert_eq!([at(0), at(1)], [logged(0), logged(0)]);
    assert_eq!([at(2), at(999)], [Ration::Drop, Ration::Drop]);
    assert_eq!([at(1000), at(1001)], [logged(2), logged(0)], "a fresh ration, and the count once");
}

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
