//! Files of models and datasets by their first bytes.
//!
//! Enters: the head of a file, at most [`HEAD`] bytes. Leaves: what kind it is. Guarantees: no name or media type is
//! believed; a signature of fewer than four bytes counts only with structure behind it. Does not: prove that a file is whole.
//! Sources: the formats' own specifications; zip: APPNOTE 4.3.7; pickle: CPython `Lib/pickletools.py`.

/// Bytes of a file that are looked at.
pub const HEAD: usize = 4 * 1024;

/// Longest header of a safetensors file: what the format's own reader accepts.
const MAX_SAFETENSORS: u64 = 100_000_000;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// Hugging Face safetensors.
    Safetensors,
    /// GGUF, of llama.cpp.
    Gguf,
    /// What came before GGUF: ggml, ggmf, ggjt.
    Ggml,
    /// A zip with `data.pkl`, of `torch.save`.
    PyTorch,
    /// A pickle of protocol 2 or later.
    Pickle,
    /// HDF5, and so the older Keras files.
    Hdf5,
    /// The `.keras` zip.
    Keras,
    /// ONNX.
    Onnx,
    /// TensorFlow Lite.
    TfLite,
    /// One NumPy array.
    NumPy,
    /// A zip of NumPy arrays.
    Npz,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow's file format.
    Arrow,
    /// A serialized TensorRT engine.
    TensorRt,
}

impl FileKind {
    /// Every kind, with its rule's id.
    pub const ALL: [(&'static str, Self); 14] = [
        ("file-safetensors", Self::Safetensors),
        ("file-gguf", Self::Gguf),
        ("file-ggml", Self::Ggml),
        ("file-pytorch", Self::PyTorch),
        ("file-pickle", Self::Pickle),
        ("file-hdf5", Self::Hdf5),
        ("file-keras", Self::Keras),
        ("file-onnx", Self::Onnx),
        ("file-tflite", Self::TfLite),
        ("file-numpy", Self::NumPy),
        ("file-npz", Self::Npz),
        ("file-parquet", Self::Parquet),
        ("file-arrow", Self::Arrow),
        ("file-tensorrt", Self::TensorRt),
    ];

    /// Its rule's id.
    pub fn rule(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("file", |(rule, _)| rule)
    }

    /// For a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors file",
            Self::Gguf => "GGUF model",
            Self::Ggml => "GGML model",
            Self::PyTorch => "PyTorch model",
            Self::Pickle => "Python pickle",
            Self::Hdf5 => "HDF5 file",
            Self::Keras => "Keras model",
            Self::Onnx => "ONNX model",
            Self::TfLite => "TensorFlow Lite model",
            Self::NumPy => "NumPy array",
            Self::Npz => "NumPy archive",
            Self::Parquet => "Parquet file",
            Self::Arrow => "Arrow file",
            Self::TensorRt => "TensorRT engine",
        }
    }

    /// Whether it is what weights of models are kept in.
    pub fn is_model(self) -> bool {
        !self.is_dataset() || matches!(self, Self::Pickle | Self::Hdf5 | Self::NumPy | Self::Npz)
    }

    /// Whether it is what datasets are kept in. Some formats are for both.
    pub fn is_dataset(self) -> bool {
        match self {
            Self::Parquet | Self::Arrow | Self::NumPy | Self::Npz | Self::Pickle | Self::Hdf5 => true,
            Self::Safetensors
            | Self::Gguf
            | Self::Ggml
            | Self::PyTorch
            | Self::Keras
            | Self::Onnx
            | Self::TfLite
            | Self::TensorRt => false,
        }
    }
}

/// What kind of file begins with these bytes.
pub fn sniff(head: &[u8]) -> Option<FileKind> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let kinds: [(&[u8], FileKind); 10] = [
        (b"\x89HDF\r\n\x1a\n", FileKind::Hdf5),
        (b"\x93NUMPY", FileKind::NumPy),
        (b"PAR1", FileKind::Parquet),
        (b"ARROW1\0\0", FileKind::Arrow),
        (b"lmgg", FileKind::Ggml),
        (b"fmgg", FileKind::Ggml),
        (b"tjgg", FileKind::Ggml),
        (b"algg", FileKind::Ggml),
        (b"ftrt", FileKind::TensorRt),
        (b"ptrt", FileKind::TensorRt),
    ];
    if let Some((_, kind)) = kinds.iter().find(|(magic, _)| at(0, magic)) {
        return Some(*kind);
    }
    match () {
        () if at(0, b"GGUF") && matches!(head.get(4..8), Some([1..=9, 0, 0, 0] | [0, 0, 0, 1..=9])) => {
            Some(FileKind::Gguf)
        }
        () if at(4, b"TFL3") => Some(FileKind::TfLite),
        () if at(0, b"PK\x03\x04") => zip_kind(head),
        () if is_safetensors(head) => Some(FileKind::Safetensors),
        () if is_pickle(head) => Some(FileKind::Pickle),
        () if is_onnx(head) => Some(FileKind::Onnx),
        () => None,
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|part| part == word)
}

fn is_safetensors(head: &[u8]) -> bool {
    let Some(length) = head.first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    let json = head.get(8..).unwrap_or_default();
    let json = json.trim_ascii_start();
    // Last, for it looks at everything.
    let has_key = || {
        [b"\"dtype\"".as_slice(), b"\"data_offsets\"", b"\"__metadata__\""]
            .iter()
            .any(|key| contains(json, key))
    };
    (2..=MAX_SAFETENSORS).contains(&length)
        && json.first() == Some(&b'{')
        && (json.len() > 8 && json.starts_with(b"{\"") && head.len() < 128 || has_key())
}

/// `PROTO` of 2 to 5, and then an opcode with which pickles begin.
fn is_pickle(head: &[u8]) -> bool {
    let opcode = match head {
        // A frame of protocol 4, of at least one byte.
        [0x80, 4..=5, 0x95, length @ ..] => {
            return length
                .first_chunk::<8>()
                .is_some_and(|length| (1..1 << 40).contains(&u64::from_le_bytes(*length)));
        }
        [0x80, 2..=5, opcode, ..] => *opcode,
        _ => return false,
    };
    b"}](c)lNKXMJGBC\x8a\x8c\x8e\x8f\x88\x89U\x96".contains(&opcode)
}

/// A protobuf message that begins as ONNX's `ModelProto`: field 1, the version of its IR as a varint; then its producer
/// (2, 3), opset (8), graph (7) or domain (4) as texts or messages. The names `ai.onnx` or of a known producer, or a field of
/// a node, must follow, for nothing else here is sure.
fn is_onnx(head: &[u8]) -> bool {
    let [0x08, 1..=20, tag, rest @ ..] = head else { return false };
    match tag {
        // producer_name
        0x12 => {
            let length = rest.first().map_or(0, |length| usize::from(*length));
            let name = rest.get(1..1 + length).unwrap_or_default();
            let is_text =
                (2..64).contains(&length) && name.len() == length && name.iter().all(u8::is_ascii_graphic);
            let next = rest.get(1 + length).copied();
            is_text && matches!(next, Some(0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42))
        }
        // graph, opset_import
        0x3a | 0x42 => contains(head, b"onnx") || contains(head, b"Conv") || contains(head, b"MatMul"),
        _ => false,
    }
}

/// By the names of a zip's first members.
fn zip_kind(head: &[u8]) -> Option<FileKind> {
    let mut at = 0;
    let mut has_metadata = false;
    while let Some(header) = head.get(at..).filter(|rest| rest.starts_with(b"PK\x03\x04")) {
        let short = |offset: usize| match header.get(offset..offset + 2) {
            Some(&[low, high]) => Some(usize::from(u16::from_le_bytes([low, high]))),
            _ => None,
        };
        let packed = match header.get(18..22) {
            Some(&[a, b, c, d]) => usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX),
            _ => return None,
        };
        let (name_length, extra) = (short(26)?, short(28)?);
        let name = header.get(30..30 + name_length)?;
        match name {
            _ if name == b"data.pkl" || name.ends_with(b"/data.pkl") => return Some(FileKind::PyTorch),
            // TorchScript and newer writers put these first.
            _ if name.ends_with(b"/.format_version") || name.ends_with(b"/byteorder") => {
                return Some(FileKind::PyTorch);
            }
            _ if name.ends_with(b".npy") => return Some(FileKind::Npz),
            b"model.weights.h5" => return Some(FileKind::Keras),
            b"metadata.json" => has_metadata = true,
            b"config.json" if has_metadata => return Some(FileKind::Keras),
            _ => {}
        }
        at = at.checked_add(30 + name_length + extra)?.checked_add(packed)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, body: &[u8]) -> Vec<u8> {
        let mut out = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        out.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        out.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        out.extend([0, 0]);
        out.extend(name.as_bytes());
        out.extend(body);
        out
    }

    fn check(head: &[u8], expected: Option<FileKind>) {
        assert_eq!(sniff(head), expected, "{}", head.escape_ascii());
    }

    #[test]
    fn each_kind_is_known_by_its_head() {
        check(
            b"\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
            Some(FileKind::Safetensors),
        );
        check(b"GGUF\x03\0\0\0\x01\0\0\0", Some(FileKind::Gguf));
        check(b"tjgg\x03\0\0\0", Some(FileKind::Ggml));
        check(b"\x80\x02}q\0(X\x01\0\0\0aq", Some(FileKind::Pickle));
        check(b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c", Some(FileKind::Pickle));
        check(b"\x89HDF\r\n\x1a\n\0", Some(FileKind::Hdf5));
        check(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:", Some(FileKind::Onnx));
        check(b"\x1c\0\0\0TFL3\0\0", Some(FileKind::TfLite));
        check(b"\x93NUMPY\x01\0v\0{'descr'", Some(FileKind::NumPy));
        check(b"PAR1\x15\x04", Some(FileKind::Parquet));
        check(b"ARROW1\0\0\xff\xff", Some(FileKind::Arrow));
        check(b"ftrt\0\0", Some(FileKind::TensorRt));
        check(&member("archive/data.pkl", b"\x80\x02"), Some(FileKind::PyTorch));
        check(&member("arr_0.npy", b"\x93NUMPY"), Some(FileKind::Npz));
        check(
            &[member("metadata.json", b"{}"), member("config.json", b"{}")].concat(),
            Some(FileKind::Keras),
        );
    }

    #[test]
    fn what_merely_resembles_one_is_none() {
        for head in [
            b"".as_slice(),
            b"GGUF is a format",
            b"TFL3",
            b"\x80\x03",
            b"\x80\x02hello",
            b"\x08\x08\x12\x07",
            b"\x08\x01\x10\x02",
            b"{\"dtype\":\"F32\"}",
            b"PK\x03\x04",
            b"The quick brown fox",
        ] {
            check(head, None);
        }
        check(&member("word/document.xml", b"<xml/>"), None);
        check(&member("config.json", b"{}"), None);
    }

    #[test]
    fn each_kind_has_its_own_rule_and_is_for_something() {
        for (rule, kind) in FileKind::ALL {
            assert_eq!(kind.rule(), rule);
            assert!(kind.is_model() || kind.is_dataset(), "{rule}");
        }
        assert!(!FileKind::Parquet.is_model() && !FileKind::Safetensors.is_dataset());
    }
}
