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

/// `wasm` with one more core module, small and never used, whose only function has `loops` loops in each other that all
/// change `locals` variables. A compiler that tracks each variable through each loop needs memory and time for the
/// product of both.
pub fn bomb(wasm: &[u8], loops: u32, locals: u32) -> Vec<u8> {
    let mut code = vec![1];
    code.extend(leb128(locals));
    code.push(I32);
    code.extend([0x03, 0x40].repeat(loops as usize));
    for local in (0..locals).map(leb128) {
        // local.get, i32.const 1, i32.add, local.set
        code.extend([&[0x20], &*local, &[0x41, 1, 0x6a, 0x21], &local].concat());
    }
    // Each loop begins again while the first of them is not 0.
    code.extend([0x20, 0, 0x0d, 0, 0x0b].repeat(loops as usize));
    code.push(0x0b);
    let body = [leb128(code.len() as u32), code].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[1, 0]),
        section(10, &[&[1], &*body].concat()),
    ]
    .concat();
    [wasm, &section(1, &module)].concat()
}

const I32: u8 = 0x7f;

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &*leb128(content.len() as u32), content].concat()
}

fn leb128(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
