use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use std::io::Write;

const SYSTEM: &[u8] = b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.";
const TENSOR: &[u8] = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\0.";

/// How a member is put into a zip.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Stored,
    Deflated,
    /// With its size behind it, of four or eight bytes.
    Described(usize),
    DeflatedAndDescribed,
}

#[derive(Default)]
struct Builder {
    bytes: Vec<u8>,
    directory: Vec<u8>,
}

impl Builder {
    fn member(mut self, name: &str, body: &[u8], how: How) -> Self {
        let offset = self.bytes.len();
        let packed = match how {
            How::Stored | How::Described(_) => body.to_vec(),
            How::Deflated | How::DeflatedAndDescribed => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
        };
        let is_described = matches!(how, How::Described(_) | How::DeflatedAndDescribed);
        let method = if matches!(how, How::Stored | How::Described(_)) { 0 } else { 8 };
        let size = u32::try_from(packed.len()).unwrap();
        let said = if is_described { 0 } else { size };
        self.bytes.extend(b"PK\x03\x04\x14\0");
        self.bytes.extend([if is_described { 8 } else { 0 }, 0, method, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.bytes.extend(said.to_le_bytes());
        self.bytes.extend(said.to_le_bytes());
        self.bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        self.bytes.extend([0, 0]);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(&packed);
        if is_described {
            self.bytes.extend(b"PK\x07\x08\0\0\0\0");
            let width = if how == How::Described(8) { 8 } else { 4 };
            for _ in 0..2 {
                self.bytes.extend(&u64::from(size).to_le_bytes()[..width]);
            }
        }
        self.entry(name, offset, 0)
    }

    fn entry(mut self, name: &str, offset: usize, mode: u32) -> Self {
        self.directory.extend(b"PK\x01\x02");
        self.directory.extend([0; 24]);
        self.directory.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        self.directory.extend([0; 8]);
        self.directory.extend((mode << 16).to_le_bytes());
        self.directory.extend(u32::try_from(offset).unwrap().to_le_bytes());
        self.directory.extend(name.as_bytes());
        self
    }

    fn finish(self) -> Vec<u8> {
        [self.bytes, self.directory, b"PK\x05\x06".to_vec(), vec![0; 18]].concat()
    }
}

fn tar_member(name: &str, kind: u8, target: &str, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
    header[156] = kind;
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header[257..262].copy_from_slice(b"ustar");
    seal(&mut header);
    let padding = body.len().next_multiple_of(512) - body.len();
    [header, body.to_vec(), vec![0; padding]].concat()
}

/// Puts a checksum that holds into a header.
fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn dangers(name: &str, file: &[u8], piece: usize) -> Vec<Danger> {
    let mut watch = Watch::new(name);
    file.chunks(piece).for_each(|bytes| watch.push(bytes));
    watch.end();
    watch.dangers().into_iter().cloned().collect()
}

fn check(name: &str, file: &[u8], expected: &[Danger]) {
    for piece in [1, 3, 700, usize::MAX] {
        assert_eq!(dangers(name, file, piece), expected, "{name} in pieces of {piece}");
    }
}

fn system() -> Danger {
    let threat = Threat::Malicious;
    Danger::Import(Import { module: "os".to_owned(), name: "system".to_owned(), threat })
}

#[test]
fn pickles_are_read_alone_and_in_archives() {
    check("", SYSTEM, &[system()]);
    check("model.pt", b"cos\nsystem\n.", &[system()]);
    check("notes.bin", b"cos\nsystem\n.", &[system()]);
    check("notes.txt", b"config\nvalue\nand more", &[]);
    check("model.joblib", &zlib(SYSTEM), &[system()]);
    check("", &array("'descr': '|O', 'fortran_order': False", SYSTEM), &[system()]);
    check("", &array("'descr': '<f4', 'fortran_order': False", SYSTEM), &[]);
    check(
        "",
        &Builder::default().member("a.npy", &array("'descr': '|O'", SYSTEM), How::Deflated).finish(),
        &[system()],
    );
    check("", &tar_member("pickle", b'0', "", SYSTEM), &[system()]);
    check("", &gzip(SYSTEM), &[system()]);
    check("", &tar_member("a/model.pkl", b'0', "", SYSTEM), &[system()]);
    check("", &gzip(&tar_member("a/model.pkl", b'0', "", SYSTEM)), &[system()]);
    for how in [How::Stored, How::Deflated, How::Described(4), How::Described(8), How::DeflatedAndDescribed] {
        let zip = Builder::default().member("m/version", b"3\nPK\x07\x08 and more", how);
        check(
            "",
            &zip.member("m/data.pkl", SYSTEM, how).member("m/data/0", &[7; 3000], how).finish(),
            &[system()],
        );
        let zip = Builder::default().member("m/data.pkl", TENSOR, how).member("m/data/0", &[7; 3000], how);
        check("", &zip.finish(), &[]);
        check("", &Builder::default().member("other", SYSTEM, how).finish(), &[system()]);
    }
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An array of numpy's first format, with these values.
fn array(header: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{{header}, 'shape': (1,), }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\0".as_slice(), &length, header.as_bytes(), values].concat()
}

#[test]
fn members_that_lead_elsewhere_are_dangers() {
    for name in ["../x", "a/../../x", "/etc/passwd", "..\\x", "C:\\x", "\\\\host\\x"] {
        check(
            "",
            &Builder::default().member(name, b"x", How::Stored).finish(),
            &[Danger::Path(name.to_owned())],
        );
        check("", &tar_member(name, b'0', "", b"x"), &[Danger::Path(name.to_owned())]);
    }
    for name in ["a/b", "a..b", "...", "ab:c/d", "x"] {
        check("", &Builder::default().member(name, b"x", How::Stored).finish(), &[]);
        check("", &tar_member(name, b'0', "", b"x"), &[]);
    }
    let long = [tar_member("x", b'L', "", b"../long\0"), tar_member("x", b'0', "", b"")].concat();
    check("", &long, &[Danger::Path("../long".to_owned())]);
    let pax = [tar_member("x", b'x', "", b"15 path=../pax\n"), tar_member("x", b'0', "", b"")].concat();
    check("", &pax, &[Danger::Path("../pax".to_owned())]);
    let pax = [tar_member("x", b'x', "", b"19 path=a\n18 b=../c\n"), tar_member("x", b'0', "", b"")].concat();
    check("", &pax, &[Danger::Unreadable("the records of a member of a tar cannot be read")]);
    let pax = [tar_member("x", b'x', "", b"19 path=a\n9 b/../c\n"), tar_member("x", b'0', "", b"")].concat();
    check("", &pax, &[Danger::Path("a\n9 b/../c".to_owned())]);
}

#[test]
fn what_readers_of_tars_take_differently_is_a_danger() {
    let device = tar_member("dev", b'3', "", b"");
    check("", &device, &[Danger::Device("dev".to_owned())]);
    let hidden = tar_member("m/data.pkl", b'0', "", SYSTEM);
    let folder = tar_member("folder", b'5', "", &hidden);
    check("", &folder, &[Danger::Unreadable("a member of a tar without bytes has a size")]);
    // The size of the records counts, not that of the header.
    let sized = [tar_member("x", b'x', "", b"9 size=0\n"), tar_member("notes", b'0', "", &hidden)].concat();
    check("", &sized, &[system()]);
    let plain = tar_member("notes", b'0', "", b"text");
    check("", &[&plain[..], &[7; 512]].concat(), &[Danger::Unreadable("a tar goes on with no header")]);
    check("", &[&plain[..], &[0; 1024], &[7; 512]].concat(), &[]);
    check("", &[&plain[..], &[0; 1024], &hidden].concat(), &[system()]);
    // Without the mark of POSIX, as the first tars were.
    let mut old = tar_member("../x", b'0', "", b"");
    old[257..262].fill(0);
    seal(&mut old[..512]);
    check("", &old, &[Danger::Path("../x".to_owned())]);
}

#[test]
fn links_are_dangers_and_worse_if_they_lead_elsewhere() {
    check("", &tar_member("a", b'2', "b", b""), &[Danger::Link("a -> b".to_owned())]);
    check("", &tar_member("a", b'2', "../b", b""), &[Danger::Path("a -> ../b".to_owned())]);
    check("", &tar_member("a", b'1', "/b", b""), &[Danger::Path("a -> /b".to_owned())]);
    let mut zip = Builder::default().member("a", b"/etc", How::Stored);
    zip.directory.clear();
    check("", &zip.entry("a", 0, 0o120_777).finish(), &[Danger::Link("a".to_owned())]);
}

#[test]
fn a_directory_that_differs_from_the_members_is_a_danger() {
    // A member inside of another's bytes, which only the directory knows of.
    let inner = Builder::default().member("m/data.pkl", SYSTEM, How::Stored).bytes;
    let zip = Builder::default().member("m/notes", &inner, How::Stored).entry("m/data.pkl", 37, 0);
    check("", &zip.finish(), &[Danger::Hidden("m/data.pkl".to_owned())]);
    // Another name for what looked harmless.
    let zip = Builder::default().member("m/notes", b"N.", How::Stored).entry("m/data.pkl", 0, 0);
    check("", &zip.finish(), &[Danger::Hidden("m/data.pkl".to_owned())]);
}

#[test]
fn an_archive_that_becomes_too_large_is_told_and_what_is_no_danger_is_known_early() {
    let mut bomb = Builder::default();
    for at in 0..3 {
        bomb = bomb.member(&format!("{at}"), &vec![0; 100 << 20], How::Deflated);
    }
    assert_eq!(dangers("", &bomb.finish(), usize::MAX), [Danger::Bomb]);
    let mut watch = Watch::new("model.gguf");
    watch.push(&[b"GGUF\x03\0\0\0".as_slice(), &[0; 504]].concat());
    assert!(watch.is_harmless());
    for head in [SYSTEM, b"PK\x03\x04", &gzip(SYSTEM), b"\x93NUMPY\x01\0"] {
        let mut watch = Watch::new("");
        watch.push(head);
        assert!(!watch.is_harmless(), "{}", head.escape_ascii());
    }
}

#[test]
fn what_cannot_be_followed_is_told() {
    let zip = Builder::default().member("m/data.pkl", TENSOR, How::Stored).finish();
    check("", &zip[..40], &[Danger::Unreadable("a zip ends in the middle")]);
    let mut other = zip.clone();
    other[8] = 93;
    check("", &other, &[Danger::Unreadable("a member of a zip is encrypted or compressed in another way")]);
    let zeros = Builder::default().member("a", &vec![0; 4 << 20], How::Deflated).finish();
    check("", &zeros, &[]);
    for file in [
        &b"BZh91AY&SY and so on"[..],
        b"\xfd7zXZ\0\0",
        b"7z\xbc\xaf\x27\x1c\0",
        b"Rar!\x1a\x07\0",
        &gzip(&gzip(SYSTEM)),
    ] {
        check("", file, &[Danger::Unreadable("a packing that is not undone")]);
    }
    let two = [gzip(&tar_member("a", b'0', "", b"x")), gzip(b"more")].concat();
    check("", &two, &[Danger::Unreadable("its packing has several parts")]);
    check("", &[gzip(&[b'-'; 600]), gzip(b"more")].concat(), &[]);
    check("", &gzip(&vec![0; 4 << 20]), &[Danger::Bomb]);
    let broken = [&gzip(SYSTEM)[..12], b"\xff\xff\xff\xff"].concat();
    check("", &broken, &[Danger::Unreadable("it does not unpack")]);
}

/// A pickle in blocks of zlib that are whole, `filler` bytes behind it, then one of a kind that does not exist.
fn zlib_with_a_bad_end(filler: usize) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(SYSTEM).unwrap();
    encoder.write_all(&vec![b'-'; filler]).unwrap();
    encoder.flush().unwrap();
    let mut packed = encoder.get_ref().clone();
    packed.push(0b110);
    packed
}

#[test]
fn what_a_packing_held_before_it_broke_is_a_danger_however_split() {
    let broken = Danger::Unreadable("it does not unpack");
    check("", &zlib_with_a_bad_end(0), &[broken.clone(), system()]);
    check("", &zlib_with_a_bad_end(100_000), &[broken, system()]);
    // The same in a member of a zip, which goes by what its header says of its size.
    let packed = zlib_with_a_bad_end(70_000);
    let mut zip = Builder::default().member("m", &packed, How::Stored).bytes;
    zip.drain(31..33);
    zip[8] = 8;
    let size = u32::try_from(packed.len() - 2).unwrap().to_le_bytes();
    zip[18..22].copy_from_slice(&size);
    check("", &zip, &[system(), Danger::Unreadable("a member of a zip does not unpack")]);
}

proptest::proptest! {
    #[test]
    fn a_damaged_packing_is_read_the_same_however_split(
        which in 0..3,
        filler in 0usize..70_000,
        at in proptest::prelude::any::<proptest::sample::Index>(),
        change in 1u8..,
        piece in 1usize..600,
    ) {
        let plain = [SYSTEM.to_vec(), (0..filler).map(|at| u8::try_from(at * at % 251).unwrap()).collect()].concat();
        let mut file = match which {
            0 => zlib(&plain),
            1 => gzip(&plain),
            _ => Builder::default().member("m/data.pkl", &plain, How::Deflated).finish(),
        };
        let at = at.index(file.len());
        file[at] ^= change;
        proptest::prop_assert_eq!(dangers("", &file, piece), dangers("", &file, usize::MAX));
    }

    #[test]
    fn any_file_is_read_the_same_however_split(
        start in proptest::sample::select(vec![&b"PK\x03\x04"[..], b"\x80\x04", b"PK\x03\x04\x14\0\x08\0\x08\0", b"\x1f\x8b\x08\0\0\0\0\0\0\0"]),
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..900),
        piece in 1usize..60,
    ) {
        let file = [start, &bytes].concat();
        proptest::prop_assert_eq!(dangers("", &file, piece), dangers("", &file, usize::MAX));
    }
}
