//! Any bytes as a recording, whole and split: the same is read, and detectors take all of it.

use detect::Replay;
use detect::read::{Read, Recording};

fn read(bytes: &[u8], piece: usize) -> Read {
    let (mut recording, mut read) = (Recording::new("file"), Read::default());
    bytes.chunks(piece).for_each(|piece| recording.push(piece, &mut read));
    recording.finish(&mut read);
    read
}

pub(crate) fn run(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let (whole, split) = (read(bytes, usize::MAX), read(bytes, usize::from(*choice) + 1));
    assert_eq!(whole.events, split.events);
    assert_eq!(whole.unreadable, split.unreadable);
    let mut replay = Replay::default();
    whole.events.iter().for_each(|event| replay.observe(event));
    for finding in replay.findings() {
        assert!(finding.records.len() <= detect::finding::MAX_RECORDS);
    }
}
