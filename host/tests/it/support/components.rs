//! Components that are made from the bundled ones, byte by byte.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The component of a bundled plugin.
pub fn bundled(name: &str) -> &'static [u8] {
    let bundled = tally_host::plugin::catalog::BUNDLED;
    bundled.iter().find(|bundled| bundled.name == name).unwrap().wasm
}

/// Another build of a bundled plugin: its component with a custom section, which means nothing.
pub fn another_build(name: &str, mark: u8) -> Vec<u8> {
    // Section 0, its size, the length of its name, the name, and the content.
    [bundled(name), &[0, 3, 1, b'x', mark]].concat()
}

/// The same as the file `build_{mark}.wasm` in `directory`.
pub fn another_build_in(directory: &Path, name: &str, mark: u8) -> PathBuf {
    let path = directory.join(format!("build_{mark}.wasm"));
    fs::write(&path, another_build(name, mark)).unwrap();
    path
}

/// `wasm` with each `from` replaced, which is as long: names of other versions and functions.
pub fn renamed(wasm: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut renamed = wasm.to_vec();
    let mut idx = 0;
    while let Some(found) =
        renamed[idx..].windows(from.len()).position(|window| window == from.as_bytes())
    {
        idx += found;
        renamed[idx..idx + to.len()].copy_from_slice(to.as_bytes());
    }
    assert!(idx > 0, "{from} is not in it");
    renamed
}

/// A component that holds its largest core module many times more, which are compiled although nothing uses them.
pub fn slow_to_compile(wasm: &[u8]) -> Vec<u8> {
    let (mut rest, mut largest) = (&wasm[8..], &wasm[..0]);
    while let [id, sized @ ..] = rest {
        // The size of a section is a number in LEB128.
        let digits = sized.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let size =
            sized[..digits].iter().rev().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
        let (section, after) = rest.split_at(1 + digits + size);
        if *id == 1 && section.len() > largest.len() {
            largest = section;
        }
        rest = after;
    }
    assert!(largest.len() > 10_000);
    [wasm, &largest.repeat(2_000_000 / largest.len())].concat()
}
