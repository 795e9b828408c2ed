//! Counting on a disk that reads and writes less than it was asked to, fails, and forgets what it failed to flush; in a
//! process that is killed, and under losses of power.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, vec::IntoIter};

use proptest::prelude::*;

use super::*;

const PATH: &str = "count.txt.keys/a.txt";

/// What goes wrong with one step.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Only so many bytes are read or written.
    Short(usize),
    /// Nothing is done. A flush that fails is never made up for by another one without a new write.
    Fail,
    /// The process is killed before the step.
    Kill,
}

/// What the kernel wrote to the disk by itself before the power was lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum WrittenBack {
    Nothing,
    All,
    AllButLengths,
}

#[derive(Default)]
struct Inode {
    cached: Vec<u8>,
    on_disk: Vec<u8>,
    is_dirty: bool,
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    faults: IntoIter<Fault>,
    /// How many steps before this one went wrong.
    in_a_row: u32,
    /// Whether a write has been cut short and not gone on yet: nothing helps then against a kill.
    is_torn: bool,
    is_killed: bool,
}

impl State {
    /// What goes wrong with the step that begins: never more than two in a row, so that what was cut can be repaired.
    fn fault(&mut self) -> Fault {
        let fault = self.faults.next().unwrap_or(Fault::None);
        if self.is_killed {
            return Fault::Kill;
        }
        let allowed = match fault {
            Fault::Kill => !self.is_torn,
            _ => self.in_a_row < 2,
        };
        match fault {
            Fault::None => self.in_a_row = 0,
            _ if !allowed => {
                self.in_a_row = 0;
                return Fault::None;
            }
            Fault::Kill => self.is_killed = true,
            Fault::Short(_) | Fault::Fail => self.in_a_row += 1,
        }
        fault
    }

    fn step(&mut self) -> Result<(), ErrorCode> {
        match self.fault() {
            Fault::None | Fault::Short(_) => Ok(()),
            Fault::Fail | Fault::Kill => Err(ErrorCode::Io),
        }
    }

    fn lose_power(&mut self, before: WrittenBack) {
        if before != WrittenBack::Nothing {
            self.names_on_disk = self.names.clone();
        }
        self.names = self.names_on_disk.clone();
        for inode in &mut self.inodes {
            if before != WrittenBack::Nothing && inode.is_dirty {
                let len = inode.on_disk.len();
                inode.on_disk = inode.cached.clone();
                if before == WrittenBack::AllButLengths {
                    inode.on_disk.truncate(len);
                }
            }
            inode.cached = inode.on_disk.clone();
            inode.is_dirty = false;
        }
    }
}

#[derive(Clone, Default)]
struct Disk(Rc<RefCell<State>>);

struct Opened(Disk, usize);

impl Directory for Disk {
    type File = Opened;

    fn open(&self, path: &str) -> Result<Opened, ErrorCode> {
        let mut state = self.0.borrow_mut();
        state.step()?;
        let inode = state.names.get(path).ok_or(ErrorCode::NoEntry)?;
        Ok(Opened(self.clone(), *inode))
    }

    fn create(&self, path: &str) -> Result<Opened, ErrorCode> {
        let mut state = self.0.borrow_mut();
        state.step()?;
        let inode = state.inodes.len();
        if state.names.contains_key(path) {
            return Err(ErrorCode::Exist);
        }
        state.inodes.push(Inode::default());
        state.names.insert(path.into(), inode);
        Ok(Opened(self.clone(), inode))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), ErrorCode> {
        let mut state = self.0.borrow_mut();
        state.step()?;
        let inode = *state.names.get(from).ok_or(ErrorCode::NoEntry)?;
        if state.names.contains_key(to) {
            return Err(ErrorCode::Exist);
        }
        state.names.insert(to.into(), inode);
        Ok(())
    }

    fn rename(&self, _: &str, _: &str) -> Result<(), ErrorCode> {
        unreachable!("it has links")
    }

    fn remove(&self, path: &str) -> Result<(), ErrorCode> {
        let mut state = self.0.borrow_mut();
        state.step()?;
        state.names.remove(path).map(drop).ok_or(ErrorCode::NoEntry)
    }

    fn make_folder(&self, _: &str) -> Result<(), ErrorCode> {
        self.0.borrow_mut().step()
    }

    fn flush_folder(&self, folder: &str) -> Result<(), ErrorCode> {
        let mut state = self.0.borrow_mut();
        state.step()?;
        let in_folder =
            |path: &str| path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder);
        let names = state.names.clone();
        state.names_on_disk.retain(|path, _| !in_folder(path));
        state.names_on_disk.extend(names.into_iter().filter(|(path, _)| in_folder(path)));
        Ok(())
    }
}

impl File for Opened {
    fn read(&self, bytes_max: usize, offset: usize) -> Result<Vec<u8>, ErrorCode> {
        let mut state = self.0.0.borrow_mut();
        let bytes_max = match state.fault() {
            Fault::None => bytes_max,
            Fault::Short(bytes) => bytes_max.min(bytes),
            Fault::Fail | Fault::Kill => return Err(ErrorCode::Io),
        };
        let content = &state.inodes[self.1].cached;
        Ok(content.iter().skip(offset).take(bytes_max).copied().collect())
    }

    fn write(&self, bytes: &[u8], offset: usize) -> Result<usize, ErrorCode> {
        let mut state = self.0.0.borrow_mut();
        let written = match state.fault() {
            Fault::None => bytes.len(),
            Fault::Short(written) => bytes.len().min(written),
            Fault::Fail | Fault::Kill => return Err(ErrorCode::Io),
        };
        state.is_torn = written < bytes.len();
        let inode = &mut state.inodes[self.1];
        let end = offset + written;
        inode.cached.resize(inode.cached.len().max(end), 0);
        inode.cached[offset..end].copy_from_slice(&bytes[..written]);
        inode.is_dirty = true;
        Ok(written)
    }

    fn flush(&self) -> Result<(), ErrorCode> {
        let mut state = self.0.0.borrow_mut();
        let step = state.step();
        let inode = &mut state.inodes[self.1];
        if step.is_ok() && inode.is_dirty {
            inode.on_disk = inode.cached.clone();
        }
        inode.is_dirty = false;
        step
    }
}

impl Disk {
    fn files(&self) -> Files<Disk> {
        Files { directory: self.clone(), shown: "dir".into(), flush: true }
    }

    /// From now on these things go wrong, in a process that was just started.
    fn plan(&self, faults: Vec<Fault>) {
        let mut state = self.0.borrow_mut();
        state.faults = faults.into_iter();
        (state.in_a_row, state.is_torn, state.is_killed) = (0, false, false);
    }

    fn content(&self) -> String {
        let state = self.0.borrow();
        String::from_utf8(state.inodes[state.names[PATH]].cached.clone()).unwrap()
    }

    fn put(&self, content: &str) {
        let mut state = self.0.borrow_mut();
        let (cached, on_disk) = (content.into(), content.into());
        let inode = state.inodes.len();
        state.inodes.push(Inode { cached, on_disk, is_dirty: false });
        state.names.insert(PATH.into(), inode);
        state.names_on_disk.insert(PATH.into(), inode);
    }
}

fn increment(files: &Files<Disk>) -> Result<i64, Error> {
    if let Some(file) = files.open(PATH)? {
        file.write(file.value() + 1)?;
        return Ok(file.value() + 1);
    }
    assert!(files.make(PATH, 1)?, "nobody else makes it");
    // Others see it already.
    files
        .settle(&[PATH.into()])
        .map(|()| 1)
        .map_err(|_| Error::OutcomeUnknown("not settled".into()))
}

fn value(files: &Files<Disk>) -> i64 {
    files.open(PATH).unwrap().map_or(0, |file| file.value())
}

#[test]
fn what_is_read_and_written_byte_by_byte_is_whole() {
    for content in ["99", "99\n", "  99  \n", "99                  \n"] {
        let disk = Disk::default();
        disk.put(content);
        disk.plan([Fault::None, Fault::Short(1), Fault::Short(1)].repeat(100));
        assert_eq!(increment(&disk.files()).ok(), Some(100), "{content:?}");
        assert_eq!(disk.content(), format!("{:<20}\n", 100));
    }
}

#[test]
fn a_write_that_fails_after_its_first_byte_is_taken_back() {
    let disk = Disk::default();
    disk.put(&record::format(99));
    // Opened, read, written.
    disk.plan(vec![Fault::None, Fault::None, Fault::Short(1), Fault::Fail]);
    assert!(matches!(increment(&disk.files()), Err(Error::Unavailable(_))));
    disk.plan(vec![]);
    assert_eq!(value(&disk.files()), 99);
    assert_eq!(increment(&disk.files()).ok(), Some(100));
}

#[test]
fn a_flush_that_failed_is_told_and_made_up_for_by_whoever_comes_next() {
    let disk = Disk::default();
    disk.put(&record::format(7));
    disk.plan(vec![Fault::None, Fault::None, Fault::None, Fault::Fail]);
    assert!(matches!(increment(&disk.files()), Err(Error::OutcomeUnknown(_))));
    disk.plan(vec![]);
    let files = disk.files();
    let file = files.open(PATH).unwrap().unwrap();
    assert!(file.is_marked());
    file.settle().unwrap();
    disk.0.borrow_mut().lose_power(WrittenBack::Nothing);
    assert_eq!((value(&files), disk.content()), (8, record::format(8)));
}

#[test]
fn the_name_of_a_new_file_is_flushed_by_whoever_finds_that_it_was_not() {
    for process in ["the same", "the next"] {
        let disk = Disk::default();
        let files = disk.files();
        assert!(files.make(PATH, 1).unwrap());
        // The folder's parent, the folder.
        disk.plan(vec![Fault::None, Fault::Fail]);
        assert!(files.settle(&[PATH.into()]).is_err(), "{process}");
        disk.plan(vec![]);
        let files = if process == "the same" { files } else { disk.files() };
        assert_eq!(increment(&files).ok(), Some(2), "{process}");
        disk.0.borrow_mut().lose_power(WrittenBack::Nothing);
        assert_eq!(value(&disk.files()), 2, "{process}");
    }
}

#[test]
fn a_file_that_a_process_left_half_made_is_no_part_of_another() {
    let disk = Disk::default();
    assert_eq!(increment(&disk.files()).ok(), Some(1));
    // Its second name stays behind, and somebody moves the file away.
    let moved = disk.0.borrow_mut().names.remove(PATH).unwrap();
    disk.0.borrow_mut().names.insert(format!("{PATH}.tmp"), moved);
    assert_eq!(increment(&disk.files()).ok(), Some(1));
    increment(&disk.files()).unwrap();
    assert_eq!(disk.0.borrow().inodes[moved].cached, record::format(1).as_bytes());
}

fn a_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        2 => (1..25usize).prop_map(Fault::Short),
        2 => Just(Fault::Fail),
        1 => Just(Fault::Kill),
    ]
}

fn a_loss_of_power() -> impl Strategy<Value = Option<WrittenBack>> {
    let before = vec![WrittenBack::Nothing, WrittenBack::All, WrittenBack::AllButLengths];
    prop::option::of(prop::sample::select(before))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_there_whatever_goes_wrong(
        start in prop::option::of(prop::sample::select(vec![0, 8, 9, 98, 99, 998, 999, 12_345])),
        lives in prop::collection::vec(
            (prop::collection::vec(a_fault(), 0..60), 1..8u32, a_loss_of_power()), 1..5),
    ) {
        let disk = Disk::default();
        if let Some(start) = start {
            disk.put(&start.to_string());
        }
        // What was acknowledged, and what is there unless a loss of power takes it back.
        let mut least = start.unwrap_or(0);
        let mut most = least;
        for (faults, increments, power) in lives {
            disk.plan(faults);
            let files = disk.files();
            for _ in 0..increments {
                match increment(&files) {
                    Ok(answered) => {
                        prop_assert!((least + 1..=most + 1).contains(&answered), "{answered}");
                        (least, most) = (answered, answered);
                    }
                    Err(Error::OutcomeUnknown(_)) => most += 1,
                    Err(Error::Unavailable(_)) => {}
                    Err(error) => prop_assert!(false, "{error:?}"),
                }
            }
            disk.plan(vec![]);
            if let Some(before) = power {
                disk.0.borrow_mut().lose_power(before);
            }
            let found = value(&disk.files());
            prop_assert!((least..=most).contains(&found), "{found} is not {least} to {most}");
            most = found;
            if power.is_some() {
                least = found;
            }
        }
    }
}
