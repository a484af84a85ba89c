//! Any bytes as a list of parts: where it is split changes nothing, and nothing is listed twice where it must rise.

use inspect::operation::part_list::{ListKind, MOST_LISTED, PartList};

pub(crate) fn run(bytes: &[u8]) {
    for kind in [ListKind::Azure, ListKind::S3, ListKind::OpenAi] {
        let whole = read(kind, bytes, bytes.len().max(1));
        assert_eq!(whole, read(kind, bytes, 1), "{kind:?}");
        let Ok(names) = whole else { continue };
        assert!(names.len() <= MOST_LISTED);
        assert!(kind != ListKind::S3 || names.is_sorted_by(|one, next| one < next), "{names:?}");
    }
}

fn read(kind: ListKind, bytes: &[u8], size: usize) -> Result<Vec<Vec<u8>>, &'static str> {
    let (mut list, mut names) = (PartList::new(kind), Vec::new());
    bytes.chunks(size).for_each(|piece| list.push(piece, &mut |name| names.push(name.to_vec())));
    list.end().map(|()| names)
}
