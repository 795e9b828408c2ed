//! The control of the crash test: like `disk-flock`, but it empties the file before it writes.
//! A process that dies in between leaves nothing behind.
//!
//! Needs the grants `file-lock`, `files` and `config`.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::ToString;

use tally_plugin::{
    Counter, Error, String, export, format,
    locks::{Guard, Lock, Mode},
    wasi::{
        config::store,
        filesystem::{
            preopens,
            types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags},
        },
    },
};

struct DiskTruncate;

impl Counter for DiskTruncate {
    fn increment(_: String, delta: i64) -> Result<i64, Error> {
        let (_guard, file) = open()?;
        let sum = read(&file)?.checked_add(delta).ok_or(Error::Overflow)?;
        file.set_size(0).map_err(|code| Error::Other(code.name().into()))?;
        file.write(sum.to_string().as_bytes(), 0)
            .map_err(|code| Error::Other(code.name().into()))?;
        Ok(sum)
    }

    fn get(_: String) -> Result<i64, Error> {
        let (_guard, file) = open()?;
        read(&file)
    }

    fn reset(_: String) -> Result<(), Error> {
        Err(Error::Other("not needed".into()))
    }
}

fn open() -> Result<(Guard, Descriptor), Error> {
    let guard = Lock::open("counter")?.acquire(Mode::Exclusive, 5_000)?;
    let name = store::get("file")?.unwrap_or_default();
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let (directory, _) = preopens::get_directories().pop().ok_or(Error::Conflict)?;
    let file = directory
        .open_at(PathFlags::empty(), &name, OpenFlags::empty(), flags)
        .map_err(|code| Error::Other(code.name().into()))?;
    Ok((guard, file))
}

fn read(file: &Descriptor) -> Result<i64, Error> {
    let (bytes, _) = file.read(64, 0).map_err(|code| Error::Other(code.name().into()))?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim().parse().map_err(|_| Error::Other(format!("the file holds {text:?}")))
}

export!(DiskTruncate);
