use super::*;

fn imports(pickle: &[u8], piece: usize) -> Vec<(String, Threat)> {
    let mut reader = Pickles::new();
    pickle.chunks(piece).for_each(|bytes| reader.push(bytes));
    reader
        .imports()
        .iter()
        .map(|import| (format!("{}.{}", import.module, import.name), import.threat))
        .collect()
}

fn check(pickle: &[u8], expected: &[(&str, Threat)]) {
    for piece in [1, 2, 5, usize::MAX] {
        let found = imports(pickle, piece);
        let found: Vec<_> = found.iter().map(|(name, threat)| (name.as_str(), *threat)).collect();
        assert_eq!(found, expected, "{} in pieces of {piece}", pickle.escape_ascii());
    }
}

#[test]
fn what_runs_something_is_malicious_in_every_protocol() {
    let expected = [("posix.system", Threat::Malicious)];
    // As `pickle.dumps` writes an object whose `__reduce__` is `(os.system, ("id",))`, protocols 0, 2 and 4.
    check(b"cposix\nsystem\np0\n(Vid\np1\ntp2\nRp3\n.", &expected);
    check(b"\x80\x02cposix\nsystem\nq\0X\x02\0\0\0idq\x01\x85q\x02Rq\x03.", &expected);
    check(
        b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
        &expected,
    );
    check(b"(S'id'\nios\nsystem\n.", &[("os.system", Threat::Malicious)]);
    check(b"\x80\x02cbuiltins\neval\nX\x01\0\0\0\x31\x85R.", &[("builtins.eval", Threat::Malicious)]);
}

#[test]
fn names_are_followed_through_stack_and_memo() {
    let os_system = [("os.system", Threat::Malicious)];
    check(b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94NN00\x93.", &os_system);
    check(b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94]}h\0h\x01\x93.", &os_system);
    check(b"\x80\x04\x8c\x06system\x940\x8c\x02os\x940h\x01h\0\x930.", &os_system);
    check(b"\x80\x04U\x02osr\x07\0\0\0S'system'\n\x93.", &os_system);
    check(b"\x80\x04(\x8c\x02osNNN10\x8c\x02os\x8c\x06system\x93.", &os_system);
}

#[test]
fn names_that_cannot_be_read_are_malicious() {
    let unreadable = [("?.?", Threat::Malicious)];
    check(b"\x80\x04V\\u006fs\n\x8c\x06system\x93.", &unreadable);
    check(b"\x80\x04S'\\x6fs'\n\x8c\x06system\x93.", &unreadable);
    check(b"\x80\x04NN\x93.", &unreadable);
    check(b"\x80\x04\x93.", &unreadable);
    check(b"\x80\x02\x82\x01.", &unreadable);
    check(&[b"c".as_slice(), &[b'a'; 2000], b"\nsystem\n."].concat(), &unreadable);
    check(&[b"(".repeat(1 << 16), b".".to_vec()].concat(), &unreadable);
}

#[test]
fn tensors_and_arrays_are_harmless_and_the_rest_is_suspicious() {
    check(b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01.", &[]);
    check(
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\0((X\x07\0\0\0storagectorch\nFloatStorage\ntQtR.",
        &[],
    );
    check(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\0.", &[]);
    check(b"\x80\x02csklearn.svm\nSVC\n)\x81.", &[("sklearn.svm.SVC", Threat::Suspicious)]);
}

#[test]
fn a_way_round_a_harmless_name_is_malicious() {
    for (module, name) in [
        ("collections", "OrderedDict.__init__.__globals__"),
        ("torch.serialization", "os.system"),
        ("numpy.distutils.exec_command", "subprocess.Popen"),
        ("torch.storage", "_load_from_bytes"),
        ("builtins", "getattr"),
        ("__builtin__", "eval"),
    ] {
        assert_eq!(threat(module, name), Threat::Malicious, "{module}.{name}");
    }
}

#[test]
fn it_acts_before_it_breaks_and_later_pickles_are_read() {
    check(b"\x80\x02cos\nsystem\n\xff\xff", &[("os.system", Threat::Malicious), ("?.?", Threat::Suspicious)]);
    check(b"\x80\x02N.\x80\x02cos\nsystem\n.", &[("os.system", Threat::Malicious)]);
    check(b"\x80\x02N.\0\x01cos\nsystem\n.", &[]);
}

fn guessed(file: &[u8], piece: usize) -> Vec<String> {
    let mut reader = Pickles::guess();
    file.chunks(piece).for_each(|bytes| reader.push(bytes));
    reader.imports().iter().map(|import| format!("{}.{}", import.module, import.name)).collect()
}

#[test]
fn what_does_not_say_that_it_is_a_pickle_is_read_as_one_as_far_as_nothing_else_would_look_so() {
    for (file, expected) in [
        (&b"cposix\nsystem\n(Vid\ntR."[..], &["posix.system"][..]),
        (b"Vo\\u0073\nVsystem\n\x93)R.", &["?.?"]),
        (b"csklearn.svm\nSVC\n)\x81.", &["sklearn.svm.SVC"]),
        (b"\x80\x04csklearn.svm\nSVC\n", &["sklearn.svm.SVC"]),
        (b"\x80\x02N.cposix\nsystem\n)R.", &["posix.system"]),
        // Cut short, and texts that begin as pickles do.
        (b"csklearn.svm\nSVC\n)", &[]),
        (b"config\nvalue\n", &[]),
        (b"copyright (c) somebody\n\nRedistribution is allowed.", &[]),
        (b"import os\nos.system('x')\n.", &[]),
        (b"(c) somebody\nos\nsystem\n.", &[]),
        (b"{\"a\": 1}", &[]),
        (b"\x80\x7fcos\nsystem\n.", &[]),
        (b"GGUF\x03\0\0\0\x01\0\0\0", &[]),
    ] {
        for piece in [1, 3, usize::MAX] {
            assert_eq!(guessed(file, piece), expected, "{} {piece}", file.escape_ascii());
        }
    }
    let line = [b"c".as_slice(), &[b'a'; 4000], b"\nb\n."].concat();
    assert!(guessed(&line, 7).is_empty(), "a text with long lines");
}

#[test]
fn noise_does_not_hide_what_is_worse() {
    let many: String = (0..200).map(|at| format!("cmodule{at}\nname\n")).collect();
    let found = imports(format!("{many}cos\nsystem\n.").as_bytes(), usize::MAX);
    assert_eq!(found.len(), MAX_IMPORTS);
    assert!(found.contains(&("os.system".to_owned(), Threat::Malicious)));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_the_same_however_split(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), piece in 1usize..40) {
        proptest::prop_assert_eq!(imports(&bytes, piece), imports(&bytes, usize::MAX));
        proptest::prop_assert_eq!(guessed(&bytes, piece), guessed(&bytes, usize::MAX));
    }
}
